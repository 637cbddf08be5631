"""A study's report: every number in it is one of the lines', and what is missing is said."""

import re
from statistics import fmean

import studies

from mmlite.experiments.study.cells import MAIN, TUNING, Results
from mmlite.experiments.study.report import named, outcomes, report


def spread(cell, reader, reading) -> float:
    """Score everything by another number, with three digits of percent."""
    places = ["whole", "standardized", "whitened", "masked", "shuffled", "whitened, masked"]
    readers = ["kNN", "probe", "1 % labels", "10 % labels"]
    arms = ["untrained", "joint", "mask", "frozen"]
    tenths = 60 * arms.index(cell.arm) + 10 * places.index(reading) + readers.index(reader)
    return round(0.3 + tenths / 1000 + (cell.seed % 10) / 500, 5)


def test_the_tables_hold_the_means_of_the_lines(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = studies.complete(protocol, spread)
    lines = report(results).splitlines()
    for reader in ("kNN", "probe", "1 % labels", "10 % labels"):
        start = next(i for i, line in enumerate(lines) if line.startswith(f"  {reader} "))
        for row, arm in zip(lines[start + 1 : start + 5], protocol.arms, strict=True):
            name, *cells = row.split()
            assert name == arm
            means = [
                fmean(
                    line["readings"][reader][reading]
                    for cell, line in results.lines.items()
                    if (cell.stage, cell.arm) == (MAIN, arm)
                )
                for reading in protocol.arms[arm].readings
            ]
            assert cells == [f"{100 * mean:.1f}" for mean in means]


def test_what_tuning_chose_is_shown_with_its_accuracy(tmp_path):
    results = studies.complete(studies.protocol(tmp_path), spread)
    row = next(line for line in report(results).splitlines() if line.startswith("  joint "))
    seeds = [
        line["readings"]["kNN"]["whole"]
        for cell, line in results.lines.items()
        if (cell.stage, cell.arm, cell.configuration) == (TUNING, "joint", 0)
    ]
    assert len(seeds) == 3
    assert row.split() == ["joint", f"{100 * fmean(seeds):.1f}", "0.002", "0.2"]


def test_the_differences_are_those_of_the_verdict_with_signs_and_worlds(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = studies.complete(protocol, spread)
    found = outcomes(results)
    assert [one.difference for one in found] == [*protocol.primary, *protocol.secondary]
    text = report(results)
    # by `spread`, whitened is 1 point below masked on every seed
    assert re.search(r"mask whitened − masked, kNN +−1\.00 \(−1\.00 to −1\.00\)", text)
    assert named(found[2].difference) == "clean: mask whitened − masked, kNN"


def test_of_what_is_not_complete_it_says_what_is_missing_and_nothing_of_a_difference(tmp_path):
    protocol = studies.protocol(tmp_path)
    whole = studies.complete(protocol, spread)
    assert len(whole.lines) == 40
    some = [line for line in whole.lines.values() if (line["arm"], line["seed"]) != ("mask", 13)]
    text = report(Results(protocol, some))
    assert "39 of 40 runs are done" in text
    assert "No verdict yet: 1 of the 4 runs of mask in world clean are missing." in text
    assert "No secondary differences yet" in text
    assert "Verdict:" not in text
    assert "  mask " not in text[text.index("World clean") :]
    assert outcomes(Results(protocol, some)) == []
    nothing = report(Results(protocol))
    assert "0 of 40 runs are done" in nothing
    assert "no arm is complete yet (0 runs are done)" in nothing


def test_a_failed_run_is_named(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = studies.complete(protocol, spread)
    cell = next(cell for cell in results.lines if cell.stage == MAIN and cell.arm == "joint")
    results.lines[cell] = {**results.lines[cell], "failed": "the loss is NaN"}
    text = report(results)
    assert "failed: joint, main, seed 10, configuration 0: the loss is NaN" in text
    assert "No verdict yet: joint has failed in world clean with seed 10" in text


def test_below_zero_is_said_beside_undecided(tmp_path):
    def score(cell, reader, reading):
        lower = cell.arm == "mask" and reading == "masked" and cell.stage == MAIN
        return 0.7 + cell.seed / 1000 - (0.03 + cell.seed % 2 / 1000) * lower

    text = report(studies.complete(studies.protocol(tmp_path), score))
    assert "Verdict: undecided." in text
    assert "mask masked − joint whole, kNN: below 0, by the 95 % interval" in text
