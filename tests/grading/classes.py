"""A small class of students, and what a run of the grader leaves behind."""

import contextlib
import zipfile
from pathlib import Path

import attacks
import corpus
import pytest

from mmlite.exercises import all_exercises
from mmlite.grading.host import batch
from mmlite.grading.host.remote import Settings
from mmlite.grading.host.submissions import find_submissions

ROOT = Path(__file__).resolve().parents[2]
LESSONS = {"01": "contrastive", "02": "redundancy", "03": "confounders"}
EXERCISES = list(all_exercises().values())
QUICK = Settings(attacks.LIMIT, attacks.MEMORY)


def make(folder: Path, files: dict[str, bytes], zipped: bool = False) -> Path:
    source = folder / ("class.zip" if zipped else "class")
    if zipped:
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    return source


def small_class(folder: Path) -> Path:
    right = corpus.notebook(corpus.SETUP, corpus.COSINE, corpus.PUSH)
    half = corpus.notebook(corpus.SETUP, corpus.body("return a @ b.T"), corpus.COLLAPSED)
    return make(folder, {"ada.ipynb": right, "bob.ipynb": half, "eve.ipynb": b"no notebook"})


def run_class(source: Path, out: Path, box, **more) -> batch.Summary:
    return batch.grade(source, out, LESSONS, box, QUICK, **more)


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def common_files() -> set[str]:
    return {str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("*")}


def sandbox_of(pid: int) -> int:
    """Return the process of the sandbox that a grader has started, which leads a session."""
    stats = (path / "stat" for path in Path("/proc").glob("[0-9]*"))
    for stat in stats:
        with contextlib.suppress(OSError, IndexError):
            name, _, rest = stat.read_bytes().rpartition(b")")
            parent, session = int(rest.split()[1]), int(rest.split()[3])
            if parent == pid and session == int(name.split()[0]):
                return session
    raise LookupError("no sandbox was started")


def leftovers(session: int, before_files: set[str], out: Path) -> list[str]:
    """Return what a sandbox has left: processes of its session, files where everybody may write.

    Others may run tests beside this one; theirs are of other sessions. A process that has ended
    and waits for the machine's process 1 to take its exit code (state Z) is no leftover.
    """
    ours = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (path / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session and fields[0] != b"Z":
                ours.append(f"process {path.name}")
    files = [
        f for f in common_files() - before_files if f"mmlite-{session}-" in f or "-by-a-worker" in f
    ]
    return ours + files + [str(path) for path in out.rglob("*") if path.name == "TOUCH"]


class Instead:
    """A sandbox that must not be used."""

    description = "nothing"

    def worker(self, *_):
        pytest.fail("this was marked before")

    def close(self):
        pass


def names(source: Path) -> list[tuple[str, str | None]]:
    return [(one.student, one.lesson) for one in find_submissions(source, LESSONS).submissions]
