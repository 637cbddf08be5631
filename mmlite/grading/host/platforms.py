"""How learning platforms name what students handed in: each one as a pattern.

The patterns are those of the platforms' own downloads: Moodle's "Download all submissions", Canvas'
"Download Submissions", Brightspace's, Blackboard's "Assignment File Download" and Gradescope's
"Export Submissions".
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Named:
    """What a path says of a submission.

    Attributes:
        student: the name.
        number: that the platform gave the student, or "".
        folder: under which the platform takes feedback back, or "".
        file: the name of the student's own file, for the lesson.
        late: the platform says so; None where it says nothing.
        time: when it was handed in, as the platform has it, or None.
    """

    student: str
    number: str = ""
    folder: str = ""
    file: str = ""
    late: bool | None = None
    time: datetime | None = None


# of a path's first part, a folder or a file's name without its ending
PATTERNS = {
    "Moodle": r"""(?P<folder>(?P<student>.+)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)_?)
        (?P<file>.*)""",
    "Brightspace": r"""(?P<folder>(?P<number>\d+-\d+)[ ]-[ ](?P<student>.+?)[ ]-[ ]
        (?P<time>\w{3}[ ]\d{1,2},[ ]\d{4}[ ]\d{3,4}[ ][AP]M))""",
    "Blackboard": r"""(?P<folder>.+?_(?P<student>[^_]+)_attempt_(?P<time>\d{4}(?:-\d\d){5}))
        _?(?P<file>.*)""",
    "Canvas": r"""(?P<folder>(?P<student>[^_]+)(?P<late>_LATE)?_(?P<number>\d+)_\d+)
        _(?P<file>.+?)(?:-\d+)?""",
}
TIMES = ("%b %d, %Y %I%M %p", "%Y-%m-%d-%H-%M-%S")


def named(path: str, submitters: dict[str, Named]) -> Named | None:
    """Return what a path says by one platform's pattern, or None if none fits.

    Args:
        path: with / between its parts.
        submitters: what Gradescope's metadata say of its folders.
    """
    first, _, rest = path.partition("/")
    if first in submitters:
        return submitters[first]
    stem = first if rest and not first.endswith(".zip") else re.sub(r"\.\w{1,5}$", "", first)
    matches = (re.fullmatch(one, stem, re.VERBOSE) for one in PATTERNS.values())
    return next((_of(match) for match in matches if match), None)


def _of(match: re.Match) -> Named:
    said = match.groupdict()
    return Named(
        said["student"].strip(),
        said.get("number") or "",
        said["folder"],
        said.get("file") or "",
        True if said.get("late") else None,
        _time(said.get("time")),
    )


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    for form in TIMES:
        try:
            # 1105 AM is eleven; 905 AM wants its zero
            return datetime.strptime(re.sub(r" (\d{3}) ([AP]M)$", r" 0\1 \2", text), form)
        except ValueError:
            continue
    return None


def gradescope(text: str) -> dict[str, Named]:
    """Return who handed in which folder, by Gradescope's submission_metadata.yml; {} if it is none.

    Several submitters of one submission are one student here, named by all of them.
    """
    import yaml

    try:
        said = yaml.safe_load(text)
        return {str(key): _submitters(str(key), one) for key, one in said.items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        return {}


def _submitters(key: str, one: dict[str, Any]) -> Named:
    people = one[":submitters"]
    names = [str(person.get(":name") or person.get(":email")) for person in people]
    time = one.get(":created_at")
    if isinstance(time, datetime):
        time = time.astimezone().replace(tzinfo=None)
    number = "+".join(str(person.get(":sid") or "") for person in people).strip("+")
    time = time if isinstance(time, datetime) else None
    return Named(" and ".join(names), number, key, time=time)
