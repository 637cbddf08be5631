"""Classes as learning platforms give them, with names from many scripts."""

import io
import os
import re
import unicodedata
import zipfile
from datetime import UTC, datetime

import pytest
from classes import LESSONS, make, names

from mmlite.grading.host.platforms import gradescope, named
from mmlite.grading.host.submissions import find_submissions

NAMES = [
    "Ada Lovelace",
    "José Núñez",
    "李雷",
    "Ольга Ильина",
    "محمد علي",
    "Seán Ó Briain",
    "さくら",
]
METADATA = """---
submission_101:
  :submitters:
  - :name: José Núñez
    :sid: '7'
    :email: jose@example.org
  :created_at: 2026-09-03 11:05:33.000000000 Z
submission_102:
  :submitters:
  - :name: Ada Lovelace
    :sid: '8'
  - :name: 李雷
    :sid: '9'
  :created_at: 2026-09-04 09:00:00.000000000 Z
"""


def moodle(name: str, n: int) -> str:
    return f"{name}_{n}_assignsubmission_file_/01_contrastive.ipynb"


def moodle_flat(name: str, n: int) -> str:
    return f"{name}_{n}_assignsubmission_file_01_contrastive.ipynb"


def moodle_newer(name: str, n: int) -> str:
    return f"{name}_{n}_assignsubmission_file/01_contrastive (1).ipynb"


def canvas(name: str, n: int) -> str:
    return f"{name.replace(' ', '').lower()}_{n}_77{n}_01_contrastive-1.ipynb"


def brightspace(name: str, n: int) -> str:
    return f"12345-{n} - {name} - Sep 3, 2026 905 AM/01_contrastive.ipynb"


def blackboard(name: str, n: int) -> str:
    return f"Lesson 1_{name}_attempt_2026-09-03-09-05-00_01_contrastive.ipynb"


@pytest.mark.parametrize(
    "layout", [moodle, moodle_flat, moodle_newer, canvas, brightspace, blackboard]
)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_a_class_as_a_platform_gives_it(tmp_path, layout, zipped):
    files = {layout(name, n): b"1" for n, name in enumerate(NAMES, start=1)}
    # what platforms put beside it
    receipt = "Lesson 1_Ada Lovelace_attempt_2026-09-03-09-05-00.txt"
    files |= {"index.html": b"", receipt: b"", "roster.csv": b""}
    found = find_submissions(make(tmp_path, files, zipped), LESSONS)
    wanted = [n.replace(" ", "").lower() for n in NAMES] if layout is canvas else NAMES
    assert {one.student for one in found.submissions} == set(wanted)
    assert {one.lesson for one in found.submissions} == {"01"}
    assert all(one.folder for one in found.submissions)
    if layout in (brightspace, blackboard):
        assert {one.modified for one in found.submissions} == {datetime(2026, 9, 3, 9, 5)}
        assert {one.clock for one in found.submissions} == {"the learning platform's time"}
    assert "passed over, for it is nobody's: roster.csv" in found.remarks


def test_one_student_alone_keeps_the_name(tmp_path):
    for n, layout in enumerate([moodle, moodle_newer, brightspace]):
        (one,) = names(make(tmp_path / str(n), {layout("Ada Lovelace", 5): b"1"}))
        assert one == ("Ada Lovelace", "01")


def test_gradescopes_metadata_name_who_handed_in(tmp_path):
    files = {
        "assignment_5_export/submission_metadata.yml": METADATA.encode(),
        "assignment_5_export/submission_101/01_contrastive.ipynb": b"1",
        "assignment_5_export/submission_102/answers/02.ipynb": b"2",
    }
    found = find_submissions(make(tmp_path, files, True), LESSONS)
    told = [(one.student, one.number, one.lesson, one.folder) for one in found.submissions]
    assert told == [
        ("Ada Lovelace and 李雷", "8+9", "02", "submission_102"),
        ("José Núñez", "7", "01", "submission_101"),
    ]
    time = datetime(2026, 9, 3, 11, 5, 33, tzinfo=UTC).astimezone().replace(tzinfo=None)
    assert found.submissions[1].modified == time


@pytest.mark.parametrize("text", ["", "a", "- 1", "submission_1: 3", "{", "submission_1:\n  :x: 1"])
def test_metadata_that_are_none_name_nobody(text):
    assert gradescope(text) == {}


def test_a_platforms_mark_of_lateness_counts(tmp_path):
    files = {
        "adalovelace_LATE_12_34_01_contrastive.ipynb": b"1",
        "bob_13_35_01_contrastive.ipynb": b"1",
    }
    ada, bob = find_submissions(make(tmp_path, files), LESSONS).submissions
    assert (ada.late, ada.clock) == (True, "the learning platform's mark")
    assert (bob.late, bob.clock) == (None, "the file's own time")


@pytest.mark.parametrize(
    "text", ["2026-09-03 11:05:33.123456 UTC", "2026-09-03T13:05:33.123456+02:00"]
)
def test_nbgraders_timestamp_counts_before_the_files_time(tmp_path, text):
    files = {"ada/01/01.ipynb": b"1", "ada/01/timestamp.txt": text.encode(), "bob/01/01.ipynb": b""}
    ada, bob = find_submissions(make(tmp_path, files), LESSONS).submissions
    utc = datetime(2026, 9, 3, 11, 5, 33, 123456, tzinfo=UTC)
    assert ada.modified == utc.astimezone().replace(tzinfo=None)
    assert (ada.clock, bob.clock) == ("timestamp.txt", "the file's own time")


@pytest.mark.parametrize(
    ("path", "student", "lesson"),
    [
        ("mia 2026-09-03.ipynb", "mia 2026-09-03", None),
        ("mia_03.09.2026.ipynb", "mia_03.09.2026", None),
        ("mia 3 Sep 2026.ipynb", "mia 3 Sep 2026", None),
        ("mia September 03, 2026.ipynb", "mia September 03, 2026", None),
        ("mia 20260903.ipynb", "mia 20260903", None),
        ("mia 2026-09-03 02.ipynb", "mia 2026-09-03", "02"),
        ("Marta 01.ipynb", "Marta", "01"),
        ("mia (1).ipynb", "mia", None),
        ("mia_01_contrastive (2).ipynb", "mia", "01"),
        ("mia_01-Copy1.ipynb", "mia", "01"),
        ("mia_01 - Copy.ipynb", "mia", "01"),
        ("Copy of mia_01.ipynb", "mia", "01"),
        ("Kopie von mia_01.ipynb", "mia", "01"),
        ("mia_contrastive.ipynb", "mia", "01"),
        ("mia/Copy of answers (1).ipynb", "mia", None),
    ],
)
def test_dates_are_no_lessons_and_copies_no_students(tmp_path, path, student, lesson):
    source = make(tmp_path, {path: b"1", "zoe/01.ipynb": b"2"})
    assert names(source) == [(student, lesson), ("zoe", "01")]


def test_a_copy_is_the_same_students(tmp_path):
    files = {"mia_01.ipynb": b"old", "mia_01 (1).ipynb": b"new"}
    source = make(tmp_path, files)
    os.utime(source / "mia_01.ipynb", (0, 0))
    found = find_submissions(source, LESSONS)
    assert [one.read() for one in found.submissions] == [b"new"]
    assert found.remarks == ["passed over, for another file counts: mia_01.ipynb"]


@pytest.mark.parametrize(
    ("paths", "students"),
    [
        (["submitted/ada/solutions/01.ipynb"], ["ada"]),
        (["ada/solutions/01.ipynb"], ["ada"]),
        (["ada/lessons/01.ipynb", "ada/mmlite/x.py", "ada/README.md"], ["ada"]),
        (["ada/answer.ipynb"], ["ada"]),
        (["ada/01_contrastive.ipynb", "ada/notes.ipynb"], ["ada"]),
        (["week 3/ada.ipynb", "week 3/bob.ipynb"], ["ada", "bob"]),
        (["submissions/ada/01.ipynb"], ["ada"]),
        (["x/ada/01.ipynb", "x/bob/01.ipynb"], ["ada", "bob"]),
    ],
)
def test_a_folder_that_may_be_a_students_stays(tmp_path, paths, students):
    found = find_submissions(make(tmp_path, dict.fromkeys(paths, b"1")), LESSONS)
    assert sorted({one.student for one in found.submissions}) == students
    told = any("was taken for the folder of the class" in remark for remark in found.remarks)
    assert told == paths[0].startswith("x/")


def test_names_of_macos_and_of_other_systems_are_the_same(tmp_path):
    source = tmp_path / "class.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name in ("José", "李雷"):  # decomposed, as macOS writes them
            archive.writestr(unicodedata.normalize("NFD", f"{name}_01.ipynb"), b"1")
    # and without the flag that says that they are UTF-8, in both heads of each file
    data = re.sub(rb"(PK\x03\x04..)\x00\x08", rb"\1\0\0", source.read_bytes(), flags=re.S)
    data = re.sub(rb"(PK\x01\x02....)\x00\x08", rb"\1\0\0", data, flags=re.S)
    source.write_bytes(data)
    with zipfile.ZipFile(source) as archive:
        assert "José" not in archive.namelist()[0]
    assert names(source) == [("José", "01"), ("李雷", "01")]


def test_who_could_be_one_is_told(tmp_path):
    found = find_submissions(make(tmp_path, {"Ada_01.ipynb": b"", "ada_02.ipynb": b""}), LESSONS)
    assert found.remarks == ["Ada and ada are taken for two students"]


def test_a_zip_that_a_student_handed_in_is_read(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("work/01_contrastive.ipynb", b"inside")
    files = {
        "ada.zip": inner.getvalue(),
        "Bob B_5_assignsubmission_file_/work.zip": inner.getvalue(),
        "eve.zip": b"no zip",
        "zoe_01.ipynb": b"1",
    }
    ada, bob, eve, zoe = sorted(
        find_submissions(make(tmp_path, files), LESSONS).submissions,
        key=lambda s: s.student.lower(),
    )
    assert [ada.student, bob.student, eve.student, zoe.student] == ["ada", "Bob B", "eve", "zoe"]
    assert ada.read() == bob.read() == b"inside"
    assert ada.lesson == bob.lesson == "01"
    with pytest.raises(Exception, match="the zip cannot be read"):
        eve.read()


def test_a_path_of_no_platform_is_none():
    assert named("ada/01.ipynb", {}) is None
