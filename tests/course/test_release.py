"""What a teacher hands out: every lesson, the library, and nothing else of a clone."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import links
import nbformat
import pytest
from masters import ANSWER, CHECK, write

from mmlite import cli
from mmlite.course import build, notebooks
from mmlite.course.notebooks import LessonError
from mmlite.course.release import release

ROOT = Path(__file__).resolve().parents[2]


def contents(target: Path) -> dict[str, bytes]:
    """Return the files of a release, from a folder or a zip."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as archive:
            return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*.*")}


@pytest.mark.parametrize("name", ["students", "students.zip"])
def test_a_release_holds_no_answers_hidden_tests_or_masters(tmp_path, name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    target = tmp_path / name
    assert cli.main(["lessons", "release", str(target)]) == 0
    assert "lessons without answers and hidden tests" in capsys.readouterr().out
    files = contents(target)
    lessons = sorted((ROOT / "lessons").glob("*.ipynb"))
    notebooks = [n for n in sorted(files) if n.endswith(".ipynb")]
    assert notebooks == [f"lessons/{path.name}" for path in lessons]
    assert {"README.md", "pyproject.toml", "mmlite/datasets/fashion.npz"} <= set(files)
    given_away = [b"BEGIN SOLUTION", b"BEGIN HIDDEN", b"exercises import grade", b"grade("]
    for lesson in lessons:
        text = files[f"lessons/{lesson.name}"]
        assert not [words for words in given_away if words in text]
        master = ROOT / "solutions" / lesson.name
        for line in answers(master):
            assert line in master.read_bytes()
            assert line not in text
    assert not any(n.startswith(("solutions", "tests", ".git")) for n in files)
    of_trial = {
        f"benchmarks/trial/{part}" for part in ("protocol.toml", "tuning.jsonl", "main.jsonl")
    }
    results = (f"benchmarks/results/{name}.json" for name in ("confirm", "trained_masks"))
    read_by_lessons = {*of_trial, *results}
    assert {n for n in files if n.startswith("benchmarks")} == read_by_lessons
    assert not any("__pycache__" in n for n in files)
    assert cli.main(["lessons", "release", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_links_of_lessons_lead_to_what_is_handed_out(tmp_path):
    target = tmp_path / "students"
    release(ROOT, target)
    for path in sorted((target / "lessons").glob("*.ipynb")):
        cells = notebooks.read_notebook(path).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert len(links.local(text)) >= 5
        assert links.leading_nowhere(text, path.parent) == []


def answers(master: Path) -> list[bytes]:
    """Return the lines of a master's answers that are long enough to tell, as JSON has them."""
    found = []
    for cell in notebooks.read_notebook(master).cells:
        for region in re.findall(r"### BEGIN SOLUTION\n(.*?)### END", cell.source, re.DOTALL):
            lines = [line.strip() for line in region.split("\n") if len(line) > 30]
            found += [json.dumps(line, ensure_ascii=False)[1:-1].encode() for line in lines]
    assert len(found) > 5
    return found


def test_a_release_of_a_stale_lesson_is_refused(tmp_path):
    for folder in ("solutions", "lessons"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "solutions" / "01_x.ipynb", ANSWER, CHECK)
    write(tmp_path / "lessons" / "01_x.ipynb", ANSWER, CHECK)
    with pytest.raises(LessonError, match="run mmlite lessons build first"):
        release(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_released_library_stands_alone(tmp_path):
    release(ROOT, tmp_path / "out")
    code = "import mmlite; print(mmlite.__file__, len(mmlite.load('fashion', 'test')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert done.stdout.split() == [str(tmp_path / "out" / "mmlite" / "__init__.py"), "2000"]


def clone(folder: Path) -> Path:
    """Make a course of one lesson, tracked by git, with what a teacher leaves about in it."""
    for name in ("solutions", "lessons", "mmlite"):
        (folder / name).mkdir()
    master = write(folder / "solutions" / "01_x.ipynb", ANSWER, CHECK)
    lesson = build.student_version(notebooks.read_notebook(master))
    nbformat.write(lesson, folder / "lessons" / "01_x.ipynb")
    (folder / "mmlite" / "__init__.py").write_text("")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *step], check=True)
    for stray in (
        "mmlite/.ipynb_checkpoints/answers-checkpoint.py", "mmlite/.DS_Store", "mmlite/answers.txt",
        "mmlite/__pycache__/answers.pyc", "lessons/.ipynb_checkpoints/01_x-checkpoint.ipynb",
    ):  # fmt: skip
        (folder / stray).parent.mkdir(exist_ok=True)
        (folder / stray).write_text("42")
    write(folder / "lessons" / "02_mine.ipynb", ANSWER)
    return folder


def test_only_what_git_tracks_is_released(tmp_path, monkeypatch, capsys):
    course = tmp_path / "course"
    course.mkdir()
    monkeypatch.chdir(clone(course))
    assert cli.main(["lessons", "release", str(tmp_path / "out")]) == 0
    assert sorted(contents(tmp_path / "out")) == ["lessons/01_x.ipynb", "mmlite/__init__.py"]
    said = capsys.readouterr().err
    assert "git does not track it: lessons/02_mine.ipynb" in said
    assert "git does not track it: mmlite/answers.txt" in said
    assert "DS_Store" not in said
    # a release is no clone: what is hidden stays out there too
    (tmp_path / "out" / "mmlite" / ".DS_Store").write_text("42")
    done = release(tmp_path / "out", tmp_path / "again.zip")
    assert done.files == ["lessons/01_x.ipynb", "mmlite/__init__.py"]


def test_a_lesson_without_a_master_that_shows_a_marker_is_refused(tmp_path):
    (tmp_path / "lessons").mkdir()
    write(tmp_path / "lessons" / "01_x.ipynb", "# BEGIN SOLUTION (short)\nx = 1")
    with pytest.raises(
        LessonError, match=r"01_x.ipynb, cell cell-0 holds an answer's marker: '# B"
    ):
        release(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_release_may_leave_out_what_shows_solutions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    without, with_them = tmp_path / "without", tmp_path / "with"
    assert cli.main(["lessons", "release", str(without), "--no-solutions"]) == 0
    release(ROOT, with_them)
    left = set(contents(with_them)) - set(contents(without))
    assert left == {"mmlite/exercises/solution.py"}
    code = "import mmlite; mmlite.check('01.1', lambda a, b: a @ b.T); mmlite.reveal('01.1')"
    said = {
        folder: subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        for folder in (without, with_them)
    }
    assert "no solutions to show" in said[without]
    assert "def cosine_similarity" in said[with_them]
