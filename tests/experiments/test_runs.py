"""A recipe trained into a folder: its checkpoint, its log, its table, and going on with it."""

import json

import pytest
import several
import torch

from mmlite.evaluation import knn_accuracy
from mmlite.experiments import parts as of_parts, runs
from mmlite.experiments.log import Log
from mmlite.experiments.recipes import RECIPES
from mmlite.training import run
from mmlite.training.checkpoints import (
    CheckpointError,
    CheckpointWarning,
    WriteError,
    load_checkpoint,
    save_checkpoint,
)

SMALL = RECIPES["fashion-laptop"].replace(
    images=96, epochs=3, batch_size=32, dim=8, hidden=8, projection=4
)
WAYS = [("simclr", "paper"), ("barlow-twins", "paper"), ("joint", "paper")]
WAYS += [("metamask", "paper"), ("metamask", "lookahead")]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("method", "schedule"), WAYS)
def test_each_method_trains_and_its_checkpoint_says_the_same(tmp_path, method, schedule):
    run = runs.train(SMALL, method, tmp_path, schedule=schedule, progress=False)
    assert [line["epoch"] for line in log_of(tmp_path)] == [1, 2, 3]
    assert [line["loss"] for line in log_of(tmp_path)] == run.history.epoch_loss
    told = []
    again = runs.evaluate(tmp_path / "last.pt", told.append)
    assert again == run.accuracies
    named = f"metamask ({schedule})" if method == "metamask" else method
    assert told == [f"fashion-laptop, {named}, seed 0, after 9 steps"]
    readings = ["whole", "masked", "permuted mask"] if method == "metamask" else ["whole"]
    assert list(again.rows) == readings
    if method == "metamask":
        assert float(run.parts.mask.entries.detach().std()) > 0
        assert log_of(tmp_path)[-1]["mask_greatest"] == float(run.parts.mask.entries.detach().max())


def test_the_table_holds_what_the_readers_say(tmp_path):
    run = runs.train(SMALL, "metamask", tmp_path, progress=False)
    train_set, test_set = (of_parts.images_of(SMALL, split) for split in ("train", "test"))
    encoder = run.parts.encoder.eval()
    with torch.no_grad():
        h, fresh = (encoder(images.images.float() / 255) for images in (train_set, test_set))
    mask = torch.sigmoid(run.parts.mask.w.detach())
    wanted = knn_accuracy(h * mask, train_set.labels, fresh * mask, test_set.labels)
    # the batches that `encode` takes round differently, which may turn a vote
    assert run.accuracies.rows["masked"]["kNN"] == pytest.approx(wanted, abs=2e-3)
    lines = run.table().splitlines()
    assert lines[0].split() == ["kNN", "linear", "probe"]
    assert [line[:16].strip() for line in lines[1:]] == ["whole", "masked", "permuted mask"]
    assert lines[2].endswith(f"{run.accuracies.rows['masked']['kNN']:.3f}")


def test_a_stopped_run_goes_on_and_its_log_has_each_epoch_once(tmp_path, monkeypatch):
    wanted = runs.train(SMALL, "metamask", tmp_path / "a", schedule="lookahead", progress=False)
    save = run.save_checkpoint

    def stop_after_two(path, state, description):
        if state["step"] == 6 and state["told"] == 2:
            raise KeyboardInterrupt  # epoch 2 is in the log; the checkpoint does not know it yet
        save(path, state, description)

    monkeypatch.setattr(run, "save_checkpoint", stop_after_two)
    options = {"schedule": "lookahead", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        runs.train(SMALL, "metamask", tmp_path / "b", **options)
    assert [line["epoch"] for line in log_of(tmp_path / "b")] == [1, 2]
    monkeypatch.undo()
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")
    found = runs.train(SMALL, "metamask", tmp_path / "b", resume=True, **options)
    assert [line["epoch"] for line in log_of(tmp_path / "b")] == [1, 2, 3]
    assert found.history.loss == wanted.history.loss
    assert found.accuracies == wanted.accuracies
    assert torch.equal(found.parts.mask.w, wanted.parts.mask.w)


@pytest.mark.parametrize("damage", [b"no json", b'{"loss": 1}', b"\xff", b'{"epoch": 1'])
def test_a_damaged_log_is_set_aside_and_the_run_goes_on(tmp_path, damage):
    log = tmp_path / "run" / "log.jsonl"
    Log(log).write({"epoch": 1})
    log.write_bytes(log.read_bytes() + damage)
    before = log.read_bytes()
    with pytest.warns(CheckpointWarning, match=r"kept as log\.jsonl\.damaged"):
        Log(log).write({"epoch": 2})
    assert log_of(log.parent) == [{"epoch": 2}]
    assert log.with_name("log.jsonl.damaged").read_bytes() == before


def test_a_log_that_cannot_be_written_stops_the_run_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"log\.jsonl cannot be written \(.+\); make room"):
        Log(tmp_path / "file" / "log.jsonl").write({"epoch": 1})


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    runs.train(SMALL.replace(epochs=1), "simclr", tmp_path, progress=False)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"there is a run in .* already; resume"):
        runs.train(SMALL.replace(epochs=1), "simclr", tmp_path, progress=False)
    with pytest.raises(CheckpointError, match="seed is 0 there and 1 here"):
        runs.train(SMALL.replace(epochs=1), "simclr", tmp_path, seed=1, resume=True, progress=False)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_run_in_bfloat16_is_evaluated_and_refuses_to_go_on_in_float32(tmp_path):
    recipe = SMALL.replace(epochs=1, precision="bfloat16")
    run = runs.train(recipe, "metamask", tmp_path, progress=False)
    assert {p.dtype for p in run.parts.model.parameters()} == {torch.float32}
    assert runs.evaluate(tmp_path) == run.accuracies
    other = recipe.replace(precision="float32")
    with pytest.raises(CheckpointError, match="precision is 'bfloat16' there and 'float32' here"):
        runs.train(other, "metamask", tmp_path, resume=True, progress=False)


def test_compile_reaches_the_loop(monkeypatch):
    seen = []

    def fit(*arguments, **options):
        seen.append((options["compile"], options["precision"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(of_parts, "fit", fit)
    for compile in (False, True):
        with pytest.raises(KeyboardInterrupt):
            runs.train(SMALL, "simclr", compile=compile)
    assert seen == [(False, "float32"), (True, "float32")]


def test_a_checkpoint_without_a_recipe_is_refused(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"step": 1}, {"method": "simclr"})
    with pytest.raises(CheckpointError, match="was not written by `mmlite train`"):
        runs.evaluate(tmp_path)
    assert load_checkpoint(tmp_path / "last.pt").state == {"step": 1}


def in_a_process(rank: int, sizes: list[int], folder: str, schedule: str, sync: bool) -> dict:
    recipe, how = (
        SMALL.replace(batch_size=sum(sizes)),
        {"schedule": schedule, "sync_batch_norm": sync},
    )
    run = runs.train(recipe, "metamask", folder, progress=False, **how)
    assert (run.accuracies is None) == (rank > 0)
    state = load_checkpoint(f"{folder}/last.pt").description
    return {"loss": run.history.loss, "sync": state["sync_batch_norm"]}


@pytest.mark.parametrize(("schedule", "sync"), [("paper", True), ("lookahead", False)])
def test_processes_write_one_folder(tmp_path, schedule, sync):
    sizes, folder = [17, 15], tmp_path / "run"
    found = several.run_in(sizes, in_a_process, tmp_path, str(folder), schedule, sync)
    assert found[0] == found[1]
    assert found[0]["sync"] == sync
    assert len(log_of(folder)) == 3
    evaluated = runs.evaluate(folder)
    assert list(evaluated.rows) == ["whole", "masked", "permuted mask"]
    alone = runs.train(SMALL, "metamask", schedule=schedule, progress=False)
    # the first loss comes before rounding has moved a weight; shares' own moments change it
    assert (found[0]["loss"][0] == pytest.approx(alone.history.loss[0], rel=1e-5)) == sync


def downloads(rank: int, sizes: list[int]) -> dict:
    try:
        runs.train(SMALL, "simclr", download=True)
    except ValueError as error:
        return {"said": str(error)}
    return {}


def test_processes_do_not_download(tmp_path):
    for one in several.run_in([1, 1], downloads, tmp_path):
        assert one["said"].endswith("mmlite.load('fashion', 'train', download=True)")


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = runs.train(SMALL.replace(epochs=1), "simclr", progress=False)
    assert len(run.history.loss) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_seed_draws_the_first_weights():
    first, same, other = (
        of_parts.build(SMALL, "simclr", seed=seed).model.state_dict()["1.0.weight"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="method must be one of simclr, barlow-twins"):
        of_parts.build(SMALL, "byol")
    with pytest.raises(ValueError, match="schedule must be one of paper, lookahead"):
        of_parts.build(SMALL, "metamask", "fast")


def test_gray_garments_have_one_channel():
    assert of_parts.channels_of(SMALL) == 3
    plain = SMALL.replace(background=None)
    assert of_parts.images_of(plain, "train").images.shape[1] == of_parts.channels_of(plain) == 1


@pytest.mark.gpu
@pytest.mark.parametrize(("method", "schedule"), WAYS)
def test_each_method_trains_on_a_gpu_and_goes_on(tmp_path, monkeypatch, method, schedule):
    monkeypatch.setenv("MMLITE_DEVICE", "cuda")
    options = {"schedule": schedule, "progress": False}
    run = runs.train(SMALL, method, tmp_path, **options)
    assert next(run.parts.encoder.parameters()).is_cuda
    again = runs.train(SMALL, method, tmp_path, resume=True, **options)
    assert again.history.loss == run.history.loss
    assert runs.evaluate(tmp_path).rows.keys() == run.accuracies.rows.keys()


def test_a_checkpoint_whose_weights_do_not_fit_its_recipe_is_refused(tmp_path):
    description = runs.describe(SMALL, "simclr", "paper", 0)
    parts = of_parts.build(SMALL.replace(hidden=SMALL.hidden + 1), "simclr")
    for state in ({"parts": {"model": parts.model.state_dict()}, "step": 1}, {}):
        save_checkpoint(tmp_path / "last.pt", state, description)
        with pytest.raises(CheckpointError, match="other weights than its recipe's network"):
            runs.evaluate(tmp_path)
