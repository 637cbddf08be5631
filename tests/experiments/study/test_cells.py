"""Which runs are to do, what tuning makes of their results, and when there is nothing left."""

import random

import studies

from mmlite.experiments.study.cells import MAIN, TUNING, Cell, Results


def tuning_cell(arm: str, seed: int, configuration: int) -> Cell:
    return Cell(TUNING, "clean", arm, seed, configuration)


def scores(**by_arm: list[float]):
    """Return a score: by arm and configuration in tuning, 0.5 elsewhere."""

    def score(cell, reader, reading):
        tuned = cell.stage == TUNING and cell.arm in by_arm
        return by_arm[cell.arm][cell.configuration] if tuned else 0.5

    return score


def test_tuning_runs_all_configurations_first_and_the_best_of_them_on_more_seeds(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = Results(protocol)
    first = [cell for cell in results.to_do() if cell.arm == "joint"]
    assert first == [tuning_cell("joint", seed, c) for seed in (0, 1) for c in (0, 1, 2)]
    assert results.finalists("joint") is None
    score = scores(joint=[0.3, 0.6, 0.5])
    for cell in first:
        results.add(studies.line(protocol, cell, score))
    assert results.finalists("joint") == [1, 2]
    assert results.chosen("joint") is None
    rest = [cell for cell in results.to_do() if cell.arm == "joint"]
    assert rest == [tuning_cell("joint", 2, 1), tuning_cell("joint", 2, 2)]


def test_the_chosen_configuration_has_the_best_mean_over_all_seeds_of_tuning(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = Results(protocol)
    by_seed = {0: [0.5, 0.6, 0.1], 1: [0.5, 0.6, 0.1], 2: [0.9, 0.6, 0.0]}

    def score(cell, reader, reading):
        return by_seed[cell.seed][cell.configuration] if cell.stage == TUNING else 0.5

    for cell in studies.every(results):
        results.add(studies.line(protocol, cell, score))
    assert results.finalists("joint") == [1, 0]
    assert results.chosen("joint") == 0  # (0.5 + 0.5 + 0.9) / 3 is more than 0.6
    main = [
        cell.configuration for cell in results.lines if (cell.stage, cell.arm) == (MAIN, "joint")
    ]
    assert main == [0] * 4


def test_an_arm_with_a_mask_is_chosen_through_it_and_any_other_by_the_whole(tmp_path):
    protocol = studies.protocol(tmp_path)

    def score(cell, reader, reading):
        best = {"whole": 1, "masked": 2}.get(reading)
        return 0.9 if cell.configuration == best else 0.4

    results = studies.complete(protocol, score)
    assert [results.chosen(arm) for arm in ("joint", "mask", "frozen")] == [1, 2, 2]


def test_of_equal_configurations_the_first_is_chosen_and_a_failed_one_never(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = Results(protocol)
    for cell in studies.every(results):
        line = studies.line(protocol, cell, studies.flat)
        if cell.stage == TUNING and cell.arm == "joint" and cell.configuration == 0:
            del line["readings"]
            line["failed"] = "the loss is NaN"
        results.add(line)
    assert results.chosen("joint") == 1
    assert results.chosen("mask") == 0


def test_a_frozen_arm_waits_for_the_mask_that_the_other_learned_with_the_same_seed(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = Results(protocol)
    assert not [cell for cell in results.to_do() if cell.arm == "frozen"]
    for cell in studies.every(results):
        if cell.arm == "frozen":
            assert results.mask(cell) == [0.0, 1.0]
            assert (
                Cell(cell.stage, "clean", "mask", cell.seed, results.chosen("mask"))
                in results.lines
            )
        results.add(studies.line(protocol, cell, studies.flat))


def test_only_some_arms_are_run_with_those_whose_mask_they_need(tmp_path):
    results = Results(studies.protocol(tmp_path))
    assert {cell.arm for cell in results.to_do(["frozen"])} == {"mask"}
    assert set(results.left(["frozen"])) == {"mask", "frozen"}
    assert {cell.arm for cell in results.to_do(["untrained"])} == {"untrained"}


def test_all_cells_are_done_once_in_whatever_order_they_come(tmp_path):
    protocol = studies.protocol(tmp_path)
    expected = set(studies.complete(protocol, studies.flat).lines)
    # 3 arms: 3 configurations · 2 seeds + 2 · 1; and 4 arms · 4 seeds
    assert len(expected) == 3 * 8 + 16
    draw = random.Random(0)
    results = Results(protocol)
    while to_do := results.to_do():
        left = sum(results.left().values())
        cell = draw.choice(to_do)
        assert cell not in results.lines
        results.add(studies.line(protocol, cell, studies.flat))
        assert sum(results.left().values()) == left - 1
    assert set(results.lines) == expected
    assert not any(results.left().values())


def test_the_worlds_of_the_main_run_come_one_after_another(tmp_path):
    planted = '[worlds.planted]\nabout = ""\nnumbers = { background = 0.25 }\n'
    protocol = studies.protocol(
        tmp_path,
        ("[arms.untrained]", planted + "[arms.untrained]"),
        ('worlds = ["clean"]', 'worlds = ["planted", "clean"]'),
    )
    results = Results(protocol)
    cells = [cell for cell in results.to_do() if cell.stage == MAIN]
    assert [cell.world for cell in cells] == ["planted"] * 4 + ["clean"] * 4
    assert {cell.arm for cell in cells} == {"untrained"}  # which has nothing to tune
