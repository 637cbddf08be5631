"""`mmlite study`: its report and picture, going on, and what it refuses."""

from pathlib import Path

import pytest
import studies
from running import run_without

from mmlite import cli
from mmlite.experiments.study.lines import writing


def done(tmp_path, score=studies.flat) -> Path:
    """Return a folder in which all runs are done."""
    folder = tmp_path / "out"
    with writing(folder, studies.written(tmp_path)) as write:
        for line in studies.complete(studies.protocol(tmp_path), score).lines.values():
            write(line)
    return folder


def noisy(cell, reader, reading) -> float:
    return 0.7 + (cell.seed * 7 % 5 + len(reading) * cell.seed % 3) / 100


def test_a_report_has_tables_and_a_picture(tmp_path, capsys):
    folder = done(tmp_path, noisy)
    assert cli.main(["study", "--report", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Does it help? Protocol 1, ")
    assert "40 of 40 runs are done" in said
    assert said.endswith(f"The differences are drawn in {folder / 'forest.png'}.\n")
    assert (folder / "forest.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_course_s_packages_there_is_no_picture(tmp_path):
    folder = done(tmp_path, noisy)
    found = run_without(["matplotlib"], "study", "--report", str(folder))
    assert found.returncode == 0, found.stderr
    assert "Verdict" in found.stdout
    assert "forest.png" not in found.stdout


def test_a_study_is_run_and_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")
    path, folder = studies.written(tmp_path), tmp_path / "runs"
    assert cli.main(["study", str(path), "--out", str(folder), "--only", "untrained"]) == 0
    said = capsys.readouterr()
    assert "4 of 40 runs are done" in said.out
    assert "No verdict yet: 4 of the 4 runs of mask in world clean are missing." in said.out
    assert "runs" in said.err  # the progress bar
    assert (folder / "protocol.toml").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "give a PROTOCOL and --out DIR, or --report DIR"),
        (["{protocol}"], "give a PROTOCOL and --out DIR"),
        (["{protocol}", "--report", "{folder}"], "--report DIR stands alone"),
        (["{nowhere}", "--out", "{folder}"], "nowhere cannot be read"),
        (["{protocol}", "--out", "{new}", "--only", "nobody"], "an arm of only must be one of"),
        (["--report", "{nowhere}"], "protocol.toml cannot be read"),
        (["{other}", "--out", "{folder}"], "is the folder of another protocol"),
    ],
)
def test_what_cannot_be_run_is_a_sentence_and_two(tmp_path, capsys, command, message):
    folder = done(tmp_path)
    other = tmp_path / "other.toml"
    other.write_text(studies.TEXT.replace("margin = 0.01", "margin = 0.02"))
    places = {"protocol": tmp_path / "small.toml", "folder": folder, "other": other}
    places |= {"nowhere": tmp_path / "nowhere", "new": tmp_path / "new"}
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert cli.main(["study", *(word.format(**places) for word in command)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("mmlite: ")
    assert said.out == ""
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_damaged_line_is_a_sentence(tmp_path, capsys):
    folder = done(tmp_path)
    main = folder / "main.jsonl"
    main.write_text(main.read_text()[:-30])
    assert cli.main(["study", "--report", str(folder)]) == 0
    said = capsys.readouterr()
    assert "mmlite: " in said.err
    assert "main.jsonl, line 16 is damaged and left out" in said.err
    assert "39 of 40 runs are done" in said.out


def test_ctrl_c_is_a_sentence(tmp_path, capsys, monkeypatch):
    from mmlite.experiments.study import run

    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_study", interrupted)
    path = studies.written(tmp_path)
    assert cli.main(["study", str(path), "--out", str(tmp_path / "runs")]) == 1
    assert "stopped; the same command goes on" in capsys.readouterr().err
