"""A student's copies of the lessons: none is lost, and untouched ones follow their lesson."""

import pytest

from mmlite.course.notebooks import LessonError
from mmlite.course.own_copies import ORIGINS, copy_lessons, start_over


@pytest.fixture
def course(tmp_path):
    (tmp_path / "lessons").mkdir()
    for name in ("01_a", "02_b"):
        (tmp_path / "lessons" / f"{name}.ipynb").write_text(f"{name}, first edition")
    return tmp_path


def test_lessons_are_copied_once(course):
    copies = copy_lessons(course)
    assert copies == (course / "work", [])
    mine = copies.folder / "01_a.ipynb"
    assert mine.read_text() == "01_a, first edition"
    mine.write_text("my answers")
    assert copy_lessons(course).outdated == []
    assert mine.read_text() == "my answers"


def test_a_copy_that_nobody_touched_follows_its_lesson_and_one_with_answers_stays(course):
    work = copy_lessons(course).folder
    (work / "02_b.ipynb").write_text("my answers")
    for name in ("01_a", "02_b"):
        (course / "lessons" / f"{name}.ipynb").write_text("second edition")
    for _ in range(2):
        assert copy_lessons(course).outdated == ["02_b"]
        assert (work / "01_a.ipynb").read_text() == "second edition"
        assert (work / "02_b.ipynb").read_text() == "my answers"


@pytest.mark.parametrize("damage", ["", "{", "[]", "null"])
def test_without_a_record_no_copy_is_replaced(course, damage):
    work = copy_lessons(course).folder
    (work / ORIGINS).write_text(damage)
    (course / "lessons" / "01_a.ipynb").write_text("second edition")
    assert "01_a" in copy_lessons(course).outdated
    assert (work / "01_a.ipynb").read_text() == "01_a, first edition"


def test_a_lesson_is_started_over_and_the_old_copies_are_kept(course):
    lesson = course / "lessons" / "01_a.ipynb"
    assert start_over(course, lesson) is None
    mine = copy_lessons(course).folder / "01_a.ipynb"
    kept = []
    for answer in ("one", "two", "three"):
        mine.write_text(answer)
        kept.append(start_over(course, lesson))
        copy_lessons(course)
        assert mine.read_text() == "01_a, first edition"
    assert [path.read_text() for path in kept] == ["one", "two", "three"]


def test_a_course_without_lessons_is_told(tmp_path):
    with pytest.raises(LessonError, match="there are no lessons"):
        copy_lessons(tmp_path)
