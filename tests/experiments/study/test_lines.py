"""Results in files: what is read, what is put aside, what is refused."""

import json

import pytest
import studies

from mmlite.experiments.study.cells import TUNING, Cell, Results
from mmlite.experiments.study.lines import (
    ResultsError,
    ResultsWarning,
    file_of,
    read_results,
    writing,
)


@pytest.fixture
def study(tmp_path):
    """Return a protocol's file, the protocol, and a folder with its complete results."""
    path = studies.written(tmp_path)
    protocol = studies.protocol(tmp_path)
    folder = tmp_path / "out"
    with writing(folder, path) as write:
        for line in studies.complete(protocol, studies.flat).lines.values():
            write(line)
    return path, protocol, folder


def test_what_is_written_is_read(study):
    _, protocol, folder = study
    expected = studies.complete(protocol, studies.flat).lines
    found = read_results(folder, protocol).lines
    assert found == expected
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == [
        "main.jsonl",
        "protocol.toml",
        "tuning.jsonl",
    ]


def test_nothing_is_there_before_the_first_run(tmp_path):
    protocol = studies.protocol(tmp_path)
    assert read_results(tmp_path / "nowhere", protocol).lines == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-40],  # killed while it wrote
        lambda text: text[:-1],  # all but the line's end, which nobody can tell from a part
        lambda text: text + "{}\n",
        lambda text: text + "[1, 2]\n",
        lambda text: text.replace('"seed": 13', '"sed": 13', 1),
        lambda text: text + "\udcff\udcfe\n",
        lambda text: text + "\n",
    ],
)
def test_a_damaged_line_is_put_aside_and_no_other_is_lost(study, damage):
    path, protocol, folder = study
    main = file_of(folder, "main")
    before = main.read_text()
    main.write_text(damage(before), errors="surrogateescape")
    with pytest.warns(ResultsWarning, match=r"main\.jsonl, line \d+ is damaged and left out"):
        found = read_results(folder, protocol)
    assert 39 <= len(found.lines) <= 40
    with (
        pytest.warns(ResultsWarning, match=r"has 1 damaged line, kept in main\.damaged"),
        writing(folder, path),
    ):
        pass
    assert len(main.with_suffix(".damaged").read_text().splitlines()) == 1
    again = read_results(folder, protocol)  # and nothing is damaged now
    assert again.lines == found.lines
    with writing(folder, path) as write:
        for cell in again.to_do():
            write(studies.line(protocol, cell, studies.flat))
    assert read_results(folder, protocol).lines == studies.complete(protocol, studies.flat).lines


def test_results_of_another_protocol_are_refused(study, tmp_path):
    path, protocol, folder = study
    other = studies.written(tmp_path, ("margin = 0.01", "margin = 0.02"))
    changed = studies.protocol(tmp_path, ("margin = 0.01", "margin = 0.02"))
    with pytest.raises(ResultsError, match=f"is of protocol {protocol.checksum}, and this one is"):
        read_results(folder, changed)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with (
        pytest.raises(ResultsError, match="out is the folder of another protocol"),
        writing(folder, other),
    ):
        pass
    assert before == {file: file.read_bytes() for file in folder.iterdir()}
    assert path == other  # the same file, changed in between


def test_one_study_at_a_time_writes_in_a_folder(study):
    path, _, folder = study
    with (
        writing(folder, path),
        pytest.raises(ResultsError, match="another study is running in"),
        writing(folder, path),
    ):
        pass


def test_each_line_is_on_the_disk_before_the_next(tmp_path):
    path, protocol = studies.written(tmp_path), studies.protocol(tmp_path)
    cells = Results(protocol).to_do()
    with writing(tmp_path / "out", path) as write:
        for cell in cells:
            write(studies.line(protocol, cell, studies.flat))
            name = "tuning" if cell.stage == TUNING else "main"
            last = (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()[-1]
            assert Cell.of(json.loads(last)) == cell
    assert len(cells) > 10
