"""One run of a study: which images it gets, what is trained, and its line."""

import pytest
import studies
import torch

import mmlite
from mmlite.experiments import parts
from mmlite.experiments.study import arms
from mmlite.experiments.study.arms import images_of, run_cell, train_arm
from mmlite.experiments.study.cells import MAIN, TUNING, Cell
from mmlite.experiments.study.protocol import Arm, World
from mmlite.training import TrainingError

IMAGES = [*mmlite.load("fashion", "train").images.flatten(1)]
PLACES = {image.numpy().tobytes(): place for place, image in enumerate(IMAGES)}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")


def places(images) -> list[int]:
    """Return where images stand in the training split."""
    return [PLACES[image.numpy().tobytes()] for image in images.images.flatten(1)]


def test_tuning_reads_images_that_its_seed_did_not_train_on(tmp_path):
    protocol = studies.protocol(tmp_path)
    recipe = protocol.recipe_of("clean", "joint", 0)
    cell = Cell(TUNING, "clean", "joint", 3, 0)
    train_set, read_on = images_of(recipe, cell, protocol.validation)
    assert (len(train_set), len(read_on)) == (96, 64)
    assert not {*places(train_set)} & {*places(read_on)}
    other, _ = images_of(recipe, Cell(TUNING, "clean", "joint", 4, 0), protocol.validation)
    assert {*places(train_set)} != {*places(other)}


def test_the_main_run_reads_the_test_split_and_trains_on_what_tuning_would(tmp_path):
    protocol = studies.protocol(tmp_path)
    recipe = protocol.recipe_of("clean", "joint", 0)
    train_set, read_on = images_of(recipe, studies.main_cell("joint", 3), protocol.validation)
    test = mmlite.load("fashion", "test")
    assert torch.equal(read_on.images, test.images)
    assert torch.equal(read_on.labels, test.labels)
    tuned, _ = images_of(recipe, Cell(TUNING, "clean", "joint", 3, 0), protocol.validation)
    assert torch.equal(train_set.images, tuned.images)


def test_each_seed_has_backgrounds_of_its_own(tmp_path):
    protocol = studies.protocol(
        tmp_path, ("numbers = { jitter", "numbers = { background = 0.5, jitter")
    )
    recipe = protocol.recipe_of("clean", "joint", 0)
    found = [images_of(recipe, studies.main_cell("joint", seed), 1) for seed in (3, 4, 3)]
    tests = [test for _, test in found]
    assert torch.equal(tests[0].images, tests[2].images)
    assert not torch.equal(tests[0].images, tests[1].images)
    train_set, test = found[0]
    rows = [{tuple(row) for row in images.nuisance.tolist()} for images in (train_set, test)]
    assert not rows[0] & rows[1]


def test_too_few_images_are_refused(tmp_path):
    protocol = studies.protocol(tmp_path)
    recipe = protocol.recipe_of("clean", "joint", 0).replace(images=9990)
    with pytest.raises(ValueError, match=r"has 10000 images, and 9990 .* 64 .* are 10054"):
        images_of(recipe, Cell(TUNING, "clean", "joint", 3, 0), protocol.validation)


def trained(arm: Arm, tmp_path, world: World | None = None, **options):
    protocol = studies.protocol(tmp_path)
    recipe = protocol.recipe_of("clean", "mask", 0)
    images, _ = images_of(recipe, studies.main_cell("mask"), 1)
    world = world or protocol.worlds["clean"]
    return train_arm(arm, recipe, world, images, seed=10, **options)


def test_a_frozen_mask_is_the_learned_one_shuffled_and_does_not_move(tmp_path):
    logits = torch.linspace(-2, 2, 8).tolist()
    _, w = trained(Arm("", "metamask", shuffled_mask_of="mask"), tmp_path, logits=logits)
    assert sorted(w.tolist()) == pytest.approx(logits)
    assert w.tolist() != pytest.approx(logits)


def test_a_mask_is_learned_where_none_is_given(tmp_path):
    _, w = trained(Arm("", "metamask"), tmp_path)
    assert bool((w != 0).all())
    encoder, none = trained(Arm("", "joint"), tmp_path)
    assert none is None
    untrained, none = trained(Arm("", "untrained"), tmp_path)
    assert none is None
    first = [one.state_dict()["1.weight"] for one in (encoder, untrained)]
    assert not torch.equal(*first)


def weights(arm: Arm, tmp_path, world: World | None = None) -> torch.Tensor:
    encoder, w = trained(arm, tmp_path, world)
    parts = [p.detach().flatten() for p in encoder.parameters()]
    return torch.cat([*parts, torch.zeros(0) if w is None else w])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Arm("", "metamask"), Arm("", "metamask", gradient="first-order")),
        (Arm("", "metamask"), Arm("", "metamask", gradient="finite-difference")),
        (Arm("", "metamask"), Arm("", "metamask", schedule="lookahead")),
        (Arm("", "metamask"), Arm("", "metamask", judged_on="outer")),
        (Arm("", "joint"), Arm("", "joint", trained_on="outer")),
        (Arm("", "joint"), Arm("", "simclr")),
    ],
)
def test_what_an_arm_says_changes_what_is_trained(tmp_path, one, other):
    assert not torch.equal(weights(one, tmp_path), weights(other, tmp_path))


def test_training_on_the_outer_views_is_training_with_their_numbers(tmp_path):
    outer = World("", {}, {"jitter": 0.5, "gray": 0.1})
    as_inner = trained_with(tmp_path, jitter=0.5, gray=0.1)
    assert torch.equal(weights(Arm("", "joint", trained_on="outer"), tmp_path, outer), as_inner)


def trained_with(tmp_path, **numbers) -> torch.Tensor:
    protocol = studies.protocol(tmp_path)
    recipe = protocol.recipe_of("clean", "mask", 0).replace(**numbers)
    images, _ = images_of(recipe, studies.main_cell("mask"), 1)
    encoder, _ = train_arm(Arm("", "joint"), recipe, protocol.worlds["clean"], images, seed=10)
    return torch.cat([p.detach().flatten() for p in encoder.parameters()])


def test_a_line_says_what_was_run_and_where(tmp_path):
    protocol = studies.protocol(tmp_path)
    line = run_cell(protocol, Cell(TUNING, "clean", "mask", 1, 2))
    assert Cell.of(line) == Cell(TUNING, "clean", "mask", 1, 2)
    assert line["protocol"] == protocol.checksum
    assert line["settings"] == {"learning_rate": 0.001, "temperature": 0.4}
    assert list(line["readings"]) == ["kNN"]
    assert len(line["logits"]) == 8
    assert line["versions"]["mmlite"] == mmlite.__version__
    assert line["seconds"]["training"] > 0
    assert "torch" in line["machine"]
    assert "failed" not in line
    assert run_cell(protocol, Cell(MAIN, "clean", "joint", 10, 1))["settings"]["epochs"] == 2


def test_a_training_that_fails_is_a_line_that_says_so(tmp_path, monkeypatch):
    protocol = studies.protocol(tmp_path)

    def fails(*arguments, **named):
        raise TrainingError("the loss is NaN in step 3\nand so on")

    monkeypatch.setattr(parts, "fit", fails)
    line = run_cell(protocol, Cell(TUNING, "clean", "joint", 1, 0))
    assert line["failed"] == "the loss is NaN in step 3"
    assert "readings" not in line
    assert line["seconds"]["training"] >= 0


def test_a_representation_that_has_collapsed_is_a_line_that_says_so(tmp_path, monkeypatch):
    protocol = studies.protocol(tmp_path)

    def collapsed(*arguments):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 8, bias=False)), None

    def zeros(*arguments):
        encoder, _ = collapsed()
        torch.nn.init.zeros_(encoder[1].weight)
        return encoder, None

    monkeypatch.setattr(arms, "train_arm", zeros)
    line = run_cell(protocol, studies.main_cell("joint"))
    assert line["failed"].startswith("the representation has collapsed")
