"""`mmlite grade`: its options."""

import pytest

from mmlite import cli
from mmlite.cli import arguments, grade
from mmlite.course.notebooks import LessonError


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--due", "tomorrow", "'tomorrow' is not a time; write it as 2026-11-30T18:00"),
        ("--due", "0001-01-01T00:00+14:00", "is not a time"),
        ("--timeout", "0.5", "'0.5' is not a whole number of at least 1"),
        ("--jobs", "two", "'two' is not a whole number"),
        ("--memory", "0", "'0' is not a whole number"),
    ],
)
def test_grades_options_say_what_they_take(capsys, option, value, message):
    with pytest.raises(SystemExit):
        cli.main(["grade", "class", "--out", "marks", option, value])
    assert message in capsys.readouterr().err


def test_a_day_is_over_at_its_end_and_a_lesson_has_one_name():
    assert arguments.local_time("2026-11-30").isoformat() == "2026-11-30T23:59:59"
    for text in ("1", "01", "01_contrastive"):
        assert grade._lesson_number(text, {"01": "contrastive"}) == "01"
    with pytest.raises(LessonError, match="no exercises of lesson '01_nonsense', only of: 01"):
        grade._lesson_number("01_nonsense", {"01": "contrastive"})
