"""The loop: what it repeats, what it stops at, and that it learns."""

import itertools
import math
import time
from pathlib import Path

import pytest
import torch
import tqdm.auto
from fitting import images, model, noisy_loss
from torch import nn

from mmlite import load, nt_xent
from mmlite.contrastive import NotFiniteError
from mmlite.training import Checkpointing, History, TrainingError, fit, warmup_cosine
from mmlite.training.watch import LossWatch


def test_an_epoch_takes_every_image_once_in_a_new_order():
    seen = []

    def loss(model, batch, generator):
        assert batch.dtype == torch.uint8
        seen.append(batch[:, 0, 0, 0].tolist())
        return model(batch.float()).square().mean()

    fit(model(), loss, images(20), epochs=2, batch_size=5, progress=False)
    first, second = ([i for batch in epoch for i in batch] for epoch in (seen[:4], seen[4:]))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_the_last_batch_that_is_not_full_is_left_out():
    sizes = []

    def loss(model, batch, generator):
        sizes.append(len(batch))
        return model(batch.float()).square().mean()

    history = fit(model(), loss, images(20), epochs=3, batch_size=6, progress=False)
    assert sizes == [6] * 9
    assert history.steps_per_epoch == 3
    assert len(history.epoch_loss) == 3


def test_a_seed_repeats_a_run_bit_by_bit_whatever_the_global_state():
    def run(seed):
        network = model()
        torch.manual_seed(torch.seed() % 1000)
        history = fit(
            network, noisy_loss, images(), epochs=3, batch_size=4, seed=seed, progress=False
        )
        return network[1].weight, history.loss

    (weight, loss), (same_weight, same_loss), (_, other) = run(1), run(1), run(2)
    assert torch.equal(weight, same_weight)
    assert loss == same_loss
    assert loss != other


def test_it_learns():
    history = fit(
        model(), noisy_loss, images(), epochs=60, batch_size=10, learning_rate=0.05, progress=False
    )
    assert history.epoch_loss[-1] < 0.05 * history.epoch_loss[0]
    assert history.images_per_second > 0


def test_the_first_step_is_adamws():
    network, twin = model(), model()
    batch = images(4)

    def loss(model, batch, generator):
        return model(batch.float()).square().mean()

    fit(network, loss, batch, epochs=1, batch_size=4, learning_rate=0.1, warmup=0.0, progress=False)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=1e-4)
    loss(twin, batch.images, None).backward()
    optimizer.step()
    # the batch's order changes the float32 sum
    assert torch.allclose(network[1].weight, twin[1].weight, atol=1e-6)


def test_the_schedule_rises_and_falls():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(value):
    network, steps = model(), []

    def loss(model, batch, generator):
        steps.append(network[1].weight.detach().clone())
        factor = value if len(steps) == 7 else 1.0
        return model(batch.float()).square().mean() * factor

    with pytest.raises(
        TrainingError, match=f"the loss at step 7 is {value}; a lower learning_rate"
    ):
        fit(network, loss, images(), epochs=4, batch_size=4, progress=False)
    assert torch.equal(network[1].weight, steps[-1])  # the last good weights


def test_a_loss_that_finds_nan_itself_stops_the_run_too():
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 4))

    def loss(model, batch, generator):
        z = model(batch.float())
        return nt_xent(z, z + 0.1)

    with pytest.raises(TrainingError, match=r"step [2-9]: row 0 of z1 holds NaN .*learning rate"):
        fit(
            network,
            loss,
            load("fashion", "train", size=40),
            epochs=4,
            batch_size=10,
            learning_rate=1e30,
            warmup=0.0,
            progress=False,
        )


def with_a_bad_gradient(model, batch, generator):
    """Return a finite loss whose gradient is NaN: the root of 0 has no slope."""
    z = model(batch.float() / 255)
    return z.mean() + (z - z).square().sum().sqrt()


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(tmp_path):
    network, path = model(), tmp_path / "last.pt"
    options = {"epochs": 1, "batch_size": 5, "progress": False}
    fit(network, noisy_loss, images(), **options)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(
        TrainingError, match="loss at step 1 is finite, but the length of its gradient is nan"
    ):
        fit(network, with_a_bad_gradient, images(), checkpoint=Checkpointing(path), **options)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name]), name
    assert not path.exists()


def test_on_a_device_that_waits_a_bad_gradient_is_never_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(
        LossWatch, "waits", property(lambda self: True, lambda *_: None), raising=False
    )
    path, steps = tmp_path / "last.pt", itertools.count(1)

    def loss(model, batch, generator):
        bad = next(steps) == 3
        return (with_a_bad_gradient if bad else noisy_loss)(model, batch, generator)

    # the second epoch's first step is the bad one
    options = {"epochs": 3, "batch_size": 10, "progress": False}
    with pytest.raises(
        TrainingError, match="step 3 is finite, but the length of its gradient is nan"
    ):
        fit(model(), loss, images(), checkpoint=Checkpointing(path), **options)
    network = model()
    again = fit(
        network, noisy_loss, images(), checkpoint=Checkpointing(path, resume=True), **options
    )
    assert len(again.loss) == 6
    assert all(bool(p.isfinite().all()) for p in network.parameters())


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    path = tmp_path / "last.pt"
    with pytest.raises(TrainingError, match="length of the weights after step 1 is"):
        fit(
            model(),
            noisy_loss,
            images(),
            epochs=1,
            batch_size=20,
            learning_rate=1e30,
            weight_decay=1e30,
            warmup=0,
            checkpoint=Checkpointing(path),
            progress=False,
        )
    assert not path.exists()


@pytest.mark.parametrize("hook", ["before_step", "after_step"])
def test_a_hook_that_finds_nan_stops_the_run_with_its_step(hook):
    def find(optimizer):
        raise NotFiniteError("row 0 of z1 holds NaN")

    with pytest.raises(TrainingError, match="step 1: row 0 of z1 holds NaN"):
        fit(model(), noisy_loss, images(), epochs=1, batch_size=5, progress=False, **{hook: find})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, got 1.5"),
        ({"batch_size": 5.0}, "batch_size must be a whole number from 2 to 20, got 5.0"),
        ({"seed": None}, "seed must be a whole number from 0 to .*, got None"),
        ({"seed": 2**70}, "seed must be a whole number from 0 to"),
        ({"seed": -1}, "seed must be a whole number from 0 to .*, got -1"),
        ({"learning_rate": math.inf}, "learning_rate must be a number greater than 0"),
        ({"learning_rate": "x"}, "learning_rate must be a number greater than 0"),
        ({"weight_decay": math.nan}, "weight_decay must be a .*number .*, got nan"),
        ({"checkpoint": "last.pt"}, r"checkpoint must be .* Checkpointing\(.last.pt., resume=True"),
        ({"model": print}, "model must be a torch.nn.Module"),
        ({"loss": None}, "loss must be a function"),
        ({"after_step": 3}, "after_step must be a function or None, got 3"),
        ({"images": torch.zeros(3)}, "images must be an ImageSet, .*, or a DataLoader .*a tensor"),
        ({"description": {"seed": 5}}, "description has 'seed', which fit describes itself"),
        ({"loss": lambda m, b, g: torch.zeros(())}, "the loss does not depend on the model"),
        (
            {"loss": lambda m, b, g: torch.zeros((), requires_grad=True)},
            "the loss does not depend on the weights",
        ),
    ],
)
def test_what_fit_cannot_take_is_refused_in_a_sentence(change, message):
    options = {
        "model": model(),
        "loss": noisy_loss,
        "images": images(),
        "epochs": 1,
        "batch_size": 5,
        "progress": False,
    }
    with pytest.raises(ValueError, match=message):
        fit(**options | change)


def test_a_device_that_waits_is_looked_at_late_but_the_step_is_right():
    watch = LossWatch(History(), torch.device("cuda"))
    for value in (1.0, 2.0, math.nan, 4.0):
        watch.add(torch.tensor(value, requires_grad=True))
    with pytest.raises(TrainingError, match="step 3 is nan"):
        watch.look()
    assert watch.history.loss == [1.0, 2.0]


def test_on_epoch_is_called_after_each():
    calls = []
    fit(
        model(), noisy_loss, images(), epochs=3, batch_size=4, on_epoch=calls.append, progress=False
    )
    assert calls == [1, 2, 3]


def test_a_progress_bar_shows_the_loss(capsys):
    fit(model(), noisy_loss, images(), epochs=2, batch_size=4)
    assert "10" in capsys.readouterr().err


def test_a_progress_bar_says_which_training_it_is(capsys):
    fit(model(), noisy_loss, images(), epochs=2, batch_size=4, progress="no jitter")
    assert "no jitter: " in capsys.readouterr().err


def test_a_progress_bar_is_drawn_at_most_once_a_second(monkeypatch):
    """A notebook's client that reads late, as nbval does, holds 2,000 messages and drops the rest.

    Among them the one that says that the cell has ended.
    """
    drawn = []

    class Bar(tqdm.auto.tqdm):
        def display(self, *args, **kwargs):
            drawn.append(self.n)

    def loss(model, batch, generator):
        time.sleep(0.02)
        return noisy_loss(model, batch, generator)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    begun = time.perf_counter()
    fit(model(), loss, images(), epochs=20, batch_size=4)
    # and once at the beginning, once for the first loss, once at the end
    assert 2 <= len(drawn) <= 3 + (time.perf_counter() - begun)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"batch_size": 1}, "batch_size must be a whole number from 2 to 20"),
        ({"batch_size": 21}, "from 2 to 20, got 21"),
        ({"learning_rate": 0}, "learning_rate must be a number greater than 0"),
        ({"warmup": 1.0}, "warmup must be a number of at least 0 and less than 1, got 1.0"),
        (
            {"checkpoint": Checkpointing("x.pt", extra_state={"model": nn.Linear(1, 1)})},
            "extra_state has 'model', which fit saves itself",
        ),
        ({"description": {"folder": Path()}}, "folder is .* and a run is described by"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, got 'float16'"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        fit(model(), noisy_loss, images(), **({"epochs": 1, "batch_size": 4} | wrong))


def test_a_model_without_parameters_and_a_loss_that_is_no_scalar_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        fit(nn.Flatten(), noisy_loss, images(), epochs=1, batch_size=4)
    with pytest.raises(ValueError, match=r"must return a scalar tensor, got \[4\]"):
        fit(
            model(), lambda m, b, g: b[:, 0, 0, 0], images(), epochs=1, batch_size=4, progress=False
        )
    with pytest.raises(ValueError, match="must return a scalar tensor, got NoneType"):
        fit(model(), lambda m, b, g: None, images(), epochs=1, batch_size=4, progress=False)


@pytest.mark.gpu
def test_a_seed_draws_the_same_views_on_a_gpu():
    network = model().cuda()
    on_cpu = fit(model(), noisy_loss, images(), epochs=2, batch_size=4, progress=False)
    on_gpu = fit(network, noisy_loss, images(), epochs=2, batch_size=4, progress=False)
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-3)
