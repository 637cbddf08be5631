"""The trial's own results: of its protocol, whole, and with the settings that it names."""

import json
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mmlite.experiments.study.cells import MAIN, STAGES, TUNING
from mmlite.experiments.study.lines import file_of, read_results
from mmlite.experiments.study.protocol_file import read_protocol

TRIAL = Path(__file__).parents[3] / "benchmarks" / "trial"
WRITTEN = datetime(2026, 11, 28, 1, 49, tzinfo=UTC)  # when the protocol was committed


@pytest.fixture(scope="module")
def results():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a damaged line would be one
        return read_results(TRIAL, read_protocol(TRIAL / "protocol.toml"))


def test_no_run_is_older_than_the_protocol_and_none_stands_twice(results):
    lines = [
        json.loads(text)
        for stage in STAGES
        if file_of(TRIAL, stage).exists()
        for text in file_of(TRIAL, stage).read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == len(results.lines) > 100
    for line in lines:
        assert datetime.fromisoformat(line["date"]) >= WRITTEN
        assert line["threads"] == 1


def test_each_run_has_the_settings_of_its_configuration_and_arm(results):
    protocol = results.protocol
    for cell, line in results.lines.items():
        arm = protocol.arms[cell.arm]
        tuned = protocol.tuning.configurations[cell.configuration] if arm.trains else {}
        assert line["settings"] == {**tuned, **arm.numbers}


def test_each_reading_is_a_share_of_the_images_that_were_read(results):
    images = {TUNING: results.protocol.validation, MAIN: 2000}
    for cell, line in results.lines.items():
        if "failed" in line:
            continue
        for value in line["readings"]["kNN"].values():
            # five digits after the point
            assert abs(value * images[cell.stage] - round(value * images[cell.stage])) < 0.02


def test_the_main_run_used_what_tuning_chose(results):
    for cell in results.lines:
        if cell.stage == MAIN and results.protocol.arms[cell.arm].trains:
            assert cell.configuration == results.chosen(cell.arm)


def test_the_lines_are_small_enough_to_travel():
    for stage in STAGES:
        path = file_of(TRIAL, stage)
        assert not path.exists() or path.stat().st_size < 1e6
