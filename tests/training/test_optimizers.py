"""`fit` with an optimizer and a schedule of the caller's own: against loops written out here."""

import pytest
import torch
from fitting import images, masked, model, noisy_loss, pictures
from torch import nn
from torch.optim import SGD, AdamW, lr_scheduler

from mmlite import Checkpointing, LookaheadMetaMask, MetaMask, fit
from mmlite.training import CheckpointError, parameter_groups
from mmlite.training.watch import TrainingError


class SignSGD(torch.optim.Optimizer):
    """As another package would bring it: p − lr · sign(g), with a count as its state."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["count"] = self.state[p].get("count", 0) + 1
                p.sub_(group["lr"] * p.grad.sign())


def momentum(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


def halving(optimizer, steps):
    return lr_scheduler.StepLR(optimizer, step_size=max(1, steps // 3), gamma=0.5)


def by_hand(net, make_optimizer, make_schedule, epochs, size):
    """Return the weights after the loop as PyTorch's tutorial has it, on fit's batches."""
    generator = torch.Generator().manual_seed(0)
    pixels = images().images
    steps = epochs * (len(pixels) // size)
    optimizer = make_optimizer(list(net.parameters()))
    schedule = make_schedule(optimizer, steps)
    for _ in range(epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for batch in order[: len(pixels) // size * size].split(size):
            optimizer.zero_grad()
            noisy_loss(net, pixels[batch], generator).backward()
            optimizer.step()
            schedule.step()
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize("make", [momentum, SignSGD, lambda p: AdamW(p, lr=0.05, betas=(0.5, 0.9))])
def test_it_is_the_loop_written_out(make):
    net = model()
    fit(net, noisy_loss, images(), epochs=3, batch_size=6, optimizer=make, schedule=halving,
        progress=False)  # fmt: skip
    wanted = by_hand(model(), make, halving, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), wanted, strict=True))


def test_what_adamw_is_by_default_can_be_written_as_ones_own():
    own, default = model(), model()
    common = {"epochs": 2, "batch_size": 5, "progress": False}
    fit(default, noisy_loss, images(), **common)
    fit(own, noisy_loss, images(), **common,
        optimizer=lambda p: AdamW(p, lr=2e-3, weight_decay=1e-4))  # fmt: skip
    assert all(
        torch.equal(a, b) for a, b in zip(own.parameters(), default.parameters(), strict=True)
    )


def test_norms_and_biases_are_not_decayed():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    decayed, rest = parameter_groups(net, 0.5)
    assert [list(p.shape) for p in decayed["params"]] == [[4, 3], [2, 4]]
    assert [list(p.shape) for p in rest["params"]] == [[4], [4], [4], [2]]
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.5, 0.0)
    assert len(parameter_groups(nn.Linear(3, 2, bias=False), 0.5)) == 1


def test_groups_of_ones_own_are_trained():
    net = model()
    before = [p.clone() for p in net.parameters()]

    def still(net, batch, generator):
        return 0 * net(batch.float()).sum()  # so that decay alone moves weights

    fit(net, still, images(), epochs=1, batch_size=20, progress=False,
        optimizer=lambda _: SGD(parameter_groups(net, 0.5), lr=0.1),
        schedule=lambda o, steps: lr_scheduler.ConstantLR(o, factor=1.0))  # fmt: skip
    weight, bias = net.parameters()
    torch.testing.assert_close(weight, before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(bias, before[1])


@pytest.mark.parametrize("make", [momentum, SignSGD])
def test_a_run_goes_on_to_the_same_weights(tmp_path, make):
    def run(net, path, stop):
        steps = []

        def after(optimizer):
            steps.append(1)
            if len(steps) == stop:
                raise KeyboardInterrupt

        fit(net, noisy_loss, images(), epochs=3, batch_size=5, optimizer=make, schedule=halving,
            after_step=after, progress=False,
            checkpoint=Checkpointing(path, every=1, resume=True))  # fmt: skip

    whole, stopped = model(), model()
    run(whole, tmp_path / "whole.pt", None)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path / "stopped.pt", 7)
    again = model()
    run(again, tmp_path / "stopped.pt", None)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"optimizer": SignSGD},
        {"optimizer": lambda p: SGD(p, lr=0.1, momentum=0.8, weight_decay=0.01)},
        {"optimizer": momentum, "schedule": lambda o, steps: lr_scheduler.StepLR(o, 1, 0.25)},
    ],
)
def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path, other):
    def run(**named):
        fit(model(), noisy_loss, images(), epochs=1, batch_size=5, progress=False, **named,
            checkpoint=Checkpointing(tmp_path / "last.pt", resume=True))  # fmt: skip

    run(optimizer=momentum, schedule=halving)
    with pytest.raises(CheckpointError, match=r"optimizer|schedule"):
        run(**({"schedule": halving} | other if other else other))


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"optimizer": SGD([nn.Parameter(torch.ones(1))], lr=1)}, "optimizer must be a function"),
        ({"optimizer": lambda p: None}, "what optimizer returns must be an Optimizer, got None"),
        ({"optimizer": lambda p: SGD(p[:1], lr=1)}, "optimizer leaves out 1 of the model's 2 "),
        (
            {"optimizer": lambda p: SGD([*p, nn.Parameter(torch.ones(1))], lr=1)},
            "optimizer holds 1 parameters that are not the model's",
        ),
        ({"optimizer": torch.optim.LBFGS}, "makes a LBFGS, whose step needs an argument"),
        ({"optimizer": momentum, "learning_rate": 0.1}, "learning_rate is the business of your"),
        ({"optimizer": momentum, "weight_decay": 0.0}, "weight_decay is the business of your"),
        ({"schedule": halving, "warmup": 0.2}, "warmup is the business of your own schedule"),
        ({"schedule": 3}, "schedule must be a function"),
        ({"schedule": lambda o, steps: None}, r"something with step\(\), got None"),
        (
            {"schedule": lambda o, steps: lr_scheduler.ReduceLROnPlateau(o)},
            "makes a ReduceLROnPlateau, whose step needs an argument",
        ),
    ],
)
def test_what_is_no_optimizer_or_schedule_is_told_before_the_first_step(named, told):
    net = model()
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(ValueError, match=told):
        fit(net, noisy_loss, images(), epochs=1, batch_size=5, progress=False, **named)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("kind", [MetaMask, LookaheadMetaMask])
def test_a_mask_is_trained_beside_sgd(kind):
    net, loss, hooks = masked(kind)
    history = fit(net, loss, pictures(), epochs=2, batch_size=8, optimizer=momentum,
                  progress=False, **hooks)  # fmt: skip
    assert len(history.loss) == 6


def test_a_step_whose_derivative_is_not_known_is_refused_by_lookahead():
    net, loss, hooks = masked(LookaheadMetaMask)
    with pytest.raises((ValueError, TrainingError), match="derivative is known for SGD, Adam"):
        fit(net, loss, pictures(), epochs=1, batch_size=8, optimizer=SignSGD, progress=False,
            **hooks)  # fmt: skip
