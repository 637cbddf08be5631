"""Who handed in what."""

import os
import zipfile

import pytest
from classes import LESSONS, ROOT, Instead, make, names, run_class, small_class

from mmlite.course.notebooks import LessonError
from mmlite.grading.host.files import SubmissionError
from mmlite.grading.host.submissions import find_submissions


@pytest.mark.parametrize(
    ("path", "student", "lesson"),
    [
        ("ada.ipynb", "ada", None),
        ("ada_01_contrastive.ipynb", "ada", "01"),
        ("01_contrastive_ada.ipynb", "ada", "01"),
        ("ada lovelace-02.ipynb", "ada lovelace", "02"),
        ("s0117_01.ipynb", "s0117", "01"),
        ("01_contrastive.ipynb", "01_contrastive", "01"),
        ("ada/01_contrastive/01_contrastive.ipynb", "ada", "01"),
        ("ada/02_redundancy.ipynb", "ada", "02"),
        ("ada/lesson 03/work.ipynb", "ada", "03"),
        ("team-01_03_confounders.ipynb", "team-01", "03"),
        ("ada-2026-02-03_confounders.ipynb", "ada-2026-02", "03"),
        ("Ada Byron_4711_assignsubmission_file_/01_contrastive.ipynb", "Ada Byron", "01"),
        ("Ada Byron_4711_assignsubmission_file_01_contrastive.ipynb", "Ada Byron", "01"),
        ("byronada_123_4567_01_contrastive-2.ipynb", "byronada", "01"),
        ("byronada_LATE_123_4567_01_contrastive.ipynb", "byronada", "01"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_names_tell_student_and_lesson(tmp_path, path, student, lesson, zipped):
    files = {path: b"1", "zoe/01_contrastive.ipynb": b"2"}
    source = make(tmp_path, files, zipped)
    assert names(source) == [(student, lesson), ("zoe", "01")]


def test_two_students_of_one_name_are_two(tmp_path):
    source = make(
        tmp_path,
        {
            "Ada Byron_1_assignsubmission_file_/01.ipynb": b"",
            "Ada Byron_2_assignsubmission_file_/01.ipynb": b"",
            "Bob_3_assignsubmission_file_/01.ipynb": b"",
        },
        zipped=True,
    )
    assert names(source) == [("Ada Byron (1)", "01"), ("Ada Byron (2)", "01"), ("Bob", "01")]


def test_a_folder_around_the_class_is_taken_off(tmp_path):
    source = make(tmp_path, {"week 3/ada.ipynb": b"", "week 3/bob/02.ipynb": b""}, True)
    assert names(source) == [("ada", None), ("bob", "02")]


def test_the_latest_file_counts_and_systems_files_do_not(tmp_path):
    source = make(
        tmp_path,
        {
            "ada/01.ipynb": b"old", "ada/01_contrastive.ipynb": b"new", "ada/notes.txt": b"",
            "ada/.ipynb_checkpoints/01.ipynb": b"", "bob/timestamp.txt": b"", ".DS_Store": b"",
        },
    )  # fmt: skip
    os.utime(source / "ada/01.ipynb", (0, 0))
    (one,) = find_submissions(source, LESSONS).submissions
    assert one.read() == b"new"


def test_what_is_not_a_notebook_is_told(tmp_path):
    source = make(tmp_path, {"ada/essay.docx": b"", "bob.ipynb": b""})
    ada = find_submissions(source, LESSONS).submissions[0]
    with pytest.raises(SubmissionError, match=r"essay.docx was handed in, which is not a notebook"):
        ada.read()


def test_links_and_pipes_are_not_read(tmp_path):
    source = make(tmp_path, {"ada.ipynb": b""})
    (source / "bob.ipynb").symlink_to("/etc/passwd")
    (source / "eve").symlink_to(ROOT / "solutions")
    os.mkfifo(source / "fay.ipynb")
    _, bob, eve, fay = find_submissions(source, LESSONS).submissions
    for one in (bob, eve, fay):
        with pytest.raises(SubmissionError, match=r"is a link|not a regular file|not a notebook"):
            one.read()


def test_tricks_in_a_zip_are_refused_and_cost_nobody_else_anything(tmp_path):
    source = tmp_path / "class.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../../ada.ipynb", "/etc/bob.ipynb", "C:\\eve.ipynb", "x/../../fay.ipynb"):
            archive.writestr(name, "{}")
        link = zipfile.ZipInfo("gus/01.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with archive.open("hal.ipynb", "w", force_zip64=True) as bomb:
            for _ in range(300):
                bomb.write(bytes(1 << 20))
        archive.writestr("ian.ipynb", b"fine")
        archive.writestr("=1+1/01.ipynb", b"fine")
    found = find_submissions(source, LESSONS).submissions
    read = {}
    for one in found:
        try:
            read[one.student] = one.read()
        except SubmissionError as error:
            read[one.student] = str(error)
    assert read.pop("ian") == read.pop("=1+1") == b"fine"
    assert len(read) == 6
    assert "is a link" in read.pop("gus")
    assert "has 315 MB; at most 268 MB" in read.pop("hal")
    assert all("it was not read" in said for said in read.values())
    assert [path.name for path in tmp_path.rglob("*")] == ["class.zip"]


def test_a_damaged_or_encrypted_zip_is_told(tmp_path):
    source = make(tmp_path, {"ada.ipynb": b"a" * 1000, "bob.ipynb": b"b" * 1000}, True)
    data = bytearray(source.read_bytes())
    data[data.index(b"aaaa")] ^= 1
    source.write_bytes(data)
    ada, bob = find_submissions(source, LESSONS).submissions
    with pytest.raises(SubmissionError, match="cannot be read: Bad CRC"):
        ada.read()
    assert bob.read() == b"b" * 1000
    source.write_bytes(data[:50])
    with pytest.raises(LessonError, match="not a zip that can be read"):
        find_submissions(source, LESSONS)


def test_one_notebook_is_a_class_of_one(tmp_path):
    path = tmp_path / "ada_01_contrastive.ipynb"
    path.write_bytes(b"{}")
    (one,) = find_submissions(path, LESSONS).submissions
    assert (one.student, one.lesson, one.read()) == ("ada", "01", b"{}")


def test_nothing_to_grade_is_said(tmp_path):
    with pytest.raises(LessonError, match="no folder, zip or notebook"):
        find_submissions(tmp_path / "none", LESSONS)
    with pytest.raises(LessonError, match="holds no submissions"):
        find_submissions(tmp_path, LESSONS)


@pytest.mark.parametrize("inside", ["out", "a/b/out", "."])
def test_marks_do_not_go_where_submissions_are_looked_for(tmp_path, inside):
    source = small_class(tmp_path)
    with pytest.raises(LessonError, match="choose a folder beside it"):
        run_class(source, source / inside, Instead())
    assert sorted(path.name for path in source.iterdir()) == ["ada.ipynb", "bob.ipynb", "eve.ipynb"]
