"""A longer run that goes on from a shorter one: against the schedule computed by hand."""

import math

import pytest
import torch
from fitting import StopHereError, images, model, noisy_loss
from torch.optim import SGD, lr_scheduler

from mmlite import Checkpointing, fit
from mmlite.training import CheckpointError, StopTraining

STEPS = 4  # of an epoch


def run(epochs, path, rates=None, **options):
    """Train, and note the learning rate of each step; return the weights."""
    net = model()

    def before_step(optimizer):
        if rates is not None:
            rates.append(optimizer.param_groups[0]["lr"])

    kept = {name: options.pop(name) for name in ("resume", "longer", "every") if name in options}
    fit(net, noisy_loss, images(), epochs=epochs, batch_size=5, progress=False,
        before_step=before_step, checkpoint=Checkpointing(path, **kept), **options)  # fmt: skip
    return [p.detach() for p in net.parameters()]


def warmup_and_cosine(step, steps, peak=2e-3, warmup=0.1):
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def longer(path, epochs, rates, **options):
    return run(epochs, path, rates, resume=True, longer=True, **options)


def test_its_schedule_is_the_longer_runs(tmp_path):
    all_rates, rates = [], []
    run(6, tmp_path / "whole.pt", all_rates)
    assert all_rates == pytest.approx([warmup_and_cosine(i, 24) for i in range(24)], rel=1e-6)
    run(2, tmp_path / "last.pt")
    longer(tmp_path / "last.pt", 6, rates)
    assert rates == pytest.approx(all_rates[2 * STEPS :])


@pytest.mark.parametrize(
    "schedule",
    [
        lr_scheduler.CosineAnnealingLR,
        lambda optimizer, steps: lr_scheduler.OneCycleLR(optimizer, 0.2, steps),
        lambda optimizer, steps: lr_scheduler.StepLR(optimizer, steps // 3, 0.5),
        lambda optimizer, steps: lr_scheduler.ExponentialLR(optimizer, 0.9),
    ],
    ids=["cosine", "one cycle", "steps", "exponential"],
)
def test_so_is_a_schedule_of_the_callers_own(schedule, tmp_path, recwarn):
    own = {"optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9), "schedule": schedule}
    all_rates, rates = [], []
    run(6, tmp_path / "whole.pt", all_rates, **own)
    run(2, tmp_path / "last.pt", **own)
    recwarn.clear()
    longer(tmp_path / "last.pt", 6, rates, **own)
    assert rates == pytest.approx(all_rates[2 * STEPS :], rel=1e-9)
    assert not [str(w.message) for w in recwarn]


def test_where_the_schedule_does_not_depend_on_the_length_it_is_the_longer_run(tmp_path):
    own = {"optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9),
           "schedule": lambda o, steps: lr_scheduler.ConstantLR(o, 1.0)}  # fmt: skip
    whole = run(5, tmp_path / "whole.pt", **own)
    run(2, tmp_path / "last.pt", **own)
    assert all(map(torch.equal, longer(tmp_path / "last.pt", 5, None, **own), whole))


def test_the_longer_run_goes_on_after_a_stop_of_its_own(tmp_path):
    def stop(epoch):
        if epoch == 4:
            raise StopHereError

    for name in ("a", "b"):
        run(2, tmp_path / f"{name}.pt")
    whole = longer(tmp_path / "a.pt", 6, None)
    with pytest.raises(StopHereError):
        longer(tmp_path / "b.pt", 6, None, on_epoch=stop)
    rates = []
    again = run(6, tmp_path / "b.pt", rates, resume=True)
    assert len(rates) == 2 * STEPS
    assert all(map(torch.equal, again, whole))


def test_a_run_that_was_ended_early_goes_on_if_asked(tmp_path):
    def stop(epoch):
        if epoch == 2:
            raise StopTraining

    rates = []
    run(6, tmp_path / "last.pt", on_epoch=stop)
    run(6, tmp_path / "last.pt", rates, resume=True)
    assert not rates  # it stays ended
    longer(tmp_path / "last.pt", 6, rates)
    assert len(rates) == 4 * STEPS


def test_what_is_not_asked_for_or_not_longer_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    run(3, path)
    with pytest.raises(CheckpointError, match="epochs is 3 there and 6 here"):
        run(6, path, resume=True)
    with pytest.raises(CheckpointError, match="epochs is 3 there and 2 here"):
        longer(path, 2, None)
    with pytest.raises(CheckpointError, match="seed is 0 there and 1 here"):
        longer(path, 6, None, seed=1)
    with pytest.raises(CheckpointError, match="schedule is 'not set' there"):
        longer(path, 6, None, schedule=lr_scheduler.CosineAnnealingLR)
    with pytest.raises(ValueError, match="longer says what resume=True may go on from; give both"):
        run(6, path, longer=True)
    with pytest.raises(ValueError, match="longer must be True or False"):
        run(6, path, resume=True, longer="yes")
