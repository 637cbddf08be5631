"""A study from end to end: the same in parts and at once, and going on after a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest
import studies

from mmlite.experiments.study.lines import ResultsError, StudyError, read_results
from mmlite.experiments.study.protocol_file import ProtocolError
from mmlite.experiments.study.run import run_study

LITTLE = (  # one configuration, so that there is little to tune
    ("[[0.002, 0.2], [0.004, 0.1], [0.001, 0.4]]", "[[0.002, 0.2]]"),
    ("finalists = 2", "finalists = 1"),
    ("first_seeds = [0, 1]", "first_seeds = [0]"),
    ("seeds = [10, 11, 12, 13]", "seeds = [10, 11]"),
)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")


def measured(results) -> dict:
    """Return the lines by cell, without when and how fast they were made."""
    return {
        cell: {key: value for key, value in line.items() if key not in ("seconds", "date")}
        for cell, line in results.lines.items()
    }


def test_a_study_is_the_same_in_parts_and_at_once(tmp_path):
    path, protocol = studies.written(tmp_path, *LITTLE), studies.protocol(tmp_path, *LITTLE)
    some = run_study(path, tmp_path / "parts", only=["joint"], progress=False)
    assert {cell.arm for cell in some.lines} == {"joint"}
    assert len(some.lines) == 4
    parts = run_study(path, tmp_path / "parts", jobs=1, progress=False)
    at_once = run_study(path, tmp_path / "at once", jobs=2, progress=False)
    assert len(at_once.lines) == 3 * 2 + 4 * 2
    assert measured(parts) == measured(at_once)
    assert not any(at_once.left().values())
    assert measured(read_results(tmp_path / "at once", protocol)) == measured(at_once)
    frozen = at_once.lines[studies.main_cell("frozen")]
    learned = at_once.lines[studies.main_cell("mask")]["mask"]
    assert frozen["mask"]["least"] == pytest.approx(learned["least"], abs=1e-4)  # 4 digits a logit
    before = (tmp_path / "parts" / "main.jsonl").read_bytes()
    run_study(path, tmp_path / "parts", progress=False)  # there is nothing left
    assert (tmp_path / "parts" / "main.jsonl").read_bytes() == before


def test_a_killed_study_goes_on_with_what_is_missing(tmp_path):
    path, protocol = studies.written(tmp_path, *LITTLE), studies.protocol(tmp_path, *LITTLE)
    code = (
        "import sys\nfrom mmlite.experiments.study.run import run_study\n"
        "if __name__ == '__main__':\n    run_study(sys.argv[1], sys.argv[2], progress=False)\n"
    )
    script, folder = tmp_path / "runs.py", tmp_path / "out"
    script.write_text(code)
    started = subprocess.Popen([sys.executable, script, path, folder], start_new_session=True)
    deadline = time.monotonic() + 120  # far more than a machine with other work needs
    while time.monotonic() < deadline and started.poll() is None:
        if len(read_results(folder, protocol).lines) >= 2:
            break
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    kept = read_results(folder, protocol).lines
    assert len(kept) >= 2
    whole = run_study(path, folder, progress=False)
    assert len(whole.lines) == 14
    assert kept.items() <= whole.lines.items()


def test_a_killed_process_is_said_and_what_is_done_stays(tmp_path, monkeypatch):
    path, protocol = studies.written(tmp_path, *LITTLE), studies.protocol(tmp_path, *LITTLE)
    from mmlite.experiments.study import run

    real, lines = run.wait, []

    def wait_and_kill(running, **options):
        if lines:
            for process in run.multiprocessing.active_children():
                process.kill()
        lines.append(1)
        return real(running, **options)

    monkeypatch.setattr(run, "wait", wait_and_kill)
    with pytest.raises(StudyError, match="a process of the study was killed"):
        run_study(path, tmp_path / "out", progress=False)
    assert len(read_results(tmp_path / "out", protocol).lines) == 1


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path):
    path = studies.written(tmp_path)
    folder = tmp_path / "out"
    with pytest.raises(ValueError, match="an arm of only must be one of untrained, joint"):
        run_study(path, folder, only=["nobody"])
    with pytest.raises(ValueError, match="jobs must be a whole number of at least 1"):
        run_study(path, folder, jobs=0)
    with pytest.raises(ProtocolError, match="cannot be read"):
        run_study(tmp_path / "nowhere.toml", folder)
    assert not folder.exists()


def test_a_folder_of_another_protocol_is_left_alone(tmp_path):
    path, folder = studies.written(tmp_path, *LITTLE), tmp_path / "out"
    run_study(path, folder, only=["untrained"], progress=False)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    other = studies.written(tmp_path, *LITTLE, ("margin = 0.01", "margin = 0.02"))
    with pytest.raises(ResultsError, match="is the folder of another protocol"):
        run_study(other, folder, progress=False)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
