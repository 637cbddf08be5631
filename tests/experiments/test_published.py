"""The published training: its parts by hand, and run on files of CIFAR-10's format."""

import json
import math

import pytest
import torch
from formats import write_cifar
from torch.nn import functional as F

from mmlite import Checkpointing, fit, small_conv
from mmlite.experiments import published

READINGS = {"epoch", "loss", "masked", "whole"}


@pytest.fixture
def method():
    return published.build()


def test_it_has_the_sizes_that_were_published(method):
    h = method.encoder(torch.rand(4, 3, 32, 32))
    contrastive, redundancy = method.heads(h)
    assert (h.shape[1], contrastive.shape[1], redundancy.shape[1]) == (512, 256, 2048)
    linear = [m for m in method.heads.modules() if isinstance(m, torch.nn.Linear)]
    assert [one.out_features for one in linear] == [2048, 256, 2048, 2048, 2048]
    assert method.mask.entries.tolist() == [0.5] * 512
    assert method.virtual_lr is None
    assert method.copy_optimizer
    assert method.method == "finite-difference"


def test_its_loss_is_barlow_twins_and_ten_times_nt_xent(method):
    x = torch.rand(6, 3, 32, 32)
    z1, z2 = (method.heads(method.encoder(x + 0.1 * torch.rand_like(x))) for _ in range(2))
    a, b = (F.normalize(z[0], dim=1) for z in (z1, z2))
    own = torch.eye(6) * 1e9
    rows = torch.cat([a @ b.T, a @ a.T - own], 1), torch.cat([b @ a.T, b @ b.T - own], 1)
    contrastive = sum(F.cross_entropy(row / 0.07, torch.arange(6)) for row in rows) / 2
    a, b = ((z[1] - z[1].mean(0)) / z[1].std(0, correction=0) for z in (z1, z2))
    c = a.T @ b / 6
    squares = (c - torch.eye(2048)).square()
    redundancy = squares.diagonal().sum() + 0.005 * (squares.sum() - squares.diagonal().sum())
    found = method.joint(z1, z2).item()
    # float32 sums over 2048² entries; ReLUs leave some columns all but constant
    assert found == pytest.approx((redundancy + 10 * contrastive).item(), rel=2e-3)
    assert method.losses["contrastive"].item() == pytest.approx(contrastive.item(), rel=1e-4)


def small(monkeypatch):
    """Let the networks be small, so that a test takes seconds."""
    for name, value in (("HIDDEN", 16), ("REDUNDANCY_WIDTH", 16), ("CONTRASTIVE_WIDTH", 8)):
        monkeypatch.setattr(published, name, value)
    monkeypatch.setattr(published, "resnet18", small_conv)


def test_it_runs_on_files_of_the_format_and_goes_on(tmp_path, monkeypatch, capsys):
    small(monkeypatch)
    monkeypatch.setattr(published, "NEIGHBORS", 2)
    write_cifar(tmp_path, "CIFAR10", monkeypatch)
    common = ["--root", str(tmp_path), "--epochs", "2", "--batch-size", "2"]
    published.main([*common, "--out", str(tmp_path / "whole")])
    said = capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line.keys() == READINGS for line in lines)
    assert f"after 2 epochs: {100 * lines[1]['masked']:.2f} through the mask" in said
    assert f"as published: {100 * max(line['masked'] for line in lines):.2f}" in said
    assert "chosen by the images that it is measured on" in said

    class StopHereError(Exception):
        pass

    reads = []

    def read(*arguments, real=published.read):
        reads.append(arguments)
        if len(reads) == 1:
            raise StopHereError
        return real(*arguments)

    monkeypatch.setattr(published, "read", read)
    with pytest.raises(StopHereError):
        published.main([*common, "--out", str(tmp_path / "stopped")])
    published.main([*common, "--out", str(tmp_path / "stopped")])
    again = [json.loads(line) for line in (tmp_path / "stopped" / "log.jsonl").open()]
    assert again == lines


def test_the_mask_steps_by_its_own_sgd_against_the_published_difference(monkeypatch):
    """A meta step by hand: the step with momentum and decay, then two passes to either side."""
    small(monkeypatch)
    method = published.build()
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    model, w = method.model, method.mask.w
    optimizer = torch.optim.SGD(model.parameters(), **published.SGD)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):  # so that there is momentum
        optimizer.zero_grad()
        method.loss(model, images, generator).backward()
        optimizer.step()
    seen = torch.cat(method.seen)

    def contrastive(mask):
        z1, z2 = method.heads[0](method.encoder(seen) * torch.sigmoid(mask)).chunk(2)
        return method.contrastive_loss(z1, z2)

    parts = [*method.encoder.parameters(), *method.heads[0].parameters()]
    start = [p.detach().clone() for p in parts]

    def at(values):
        with torch.no_grad():
            for p, value in zip(parts, values, strict=True):
                p.copy_(value)

    gradient = torch.autograd.grad(contrastive(w.detach()), parts)
    lr, momentum, decay = (published.SGD[name] for name in ("lr", "momentum", "weight_decay"))
    at([
        p - lr * (g + decay * p + momentum * optimizer.state[q]["momentum_buffer"])
        for p, g, q in zip(start, gradient, parts, strict=True)
    ])  # fmt: skip
    leaf = w.detach().clone().requires_grad_()
    of_w, *v = torch.autograd.grad(contrastive(leaf), [leaf, *parts])
    step = 0.01 / torch.cat([one.flatten() for one in v]).norm()
    sides = []
    for sign in (1, -1):
        at([p + sign * step * one for p, one in zip(start, v, strict=True)])
        sides.append(torch.autograd.grad(contrastive(leaf), leaf)[0])
    at(start)
    wanted = of_w - lr * (sides[0] - sides[1]) / (2 * step)
    method.after_step(optimizer)
    torch.testing.assert_close(method.mask_gradient, wanted, rtol=1e-3, atol=1e-6)
    # the mask's own SGD: no momentum yet, and decay finds logits of 0
    torch.testing.assert_close(w.detach(), -published.SGD["lr"] * wanted, rtol=1e-3, atol=1e-8)


def test_it_trains_by_sgd_with_its_momentum_and_decay(tmp_path, monkeypatch):
    small(monkeypatch)
    seen = {}

    def fitted(*arguments, **options):
        seen.update(options)
        return fit(*arguments, **options)

    monkeypatch.setattr(published, "fit", fitted)
    monkeypatch.setattr(published, "NEIGHBORS", 2)
    write_cifar(tmp_path, "CIFAR10", monkeypatch)
    sets = [published.load("cifar10", split, root=tmp_path) for split in ("train", "test")]
    published.train(*sets, tmp_path / "out", epochs=1, batch_size=2)
    assert isinstance(seen["checkpoint"], Checkpointing)
    made = seen["optimizer"]([torch.zeros(1, requires_grad=True)])
    group = made.param_groups[0]
    assert (type(made), group["lr"]) == (torch.optim.SGD, 1e-3)
    assert (group["momentum"], group["weight_decay"]) == (0.9, 5e-4)


def test_both_rates_fall_along_a_cosine_from_epoch_to_epoch(tmp_path, monkeypatch):
    small(monkeypatch)
    monkeypatch.setattr(published, "NEIGHBORS", 2)
    write_cifar(tmp_path, "CIFAR10", monkeypatch)
    sets = [published.load("cifar10", split, root=tmp_path) for split in ("train", "test")]
    rates = []

    def after_step(self, optimizer, real=published.PublishedMetaMask.after_step):
        real(self, optimizer)
        rates.append((optimizer.param_groups[0]["lr"], self.mask_optimizer.param_groups[0]["lr"]))

    monkeypatch.setattr(published.PublishedMetaMask, "after_step", after_step)
    published.train(*sets, tmp_path / "out", epochs=3, batch_size=2)
    # two steps an epoch
    wanted = [1e-3 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in (0, 0, 1, 1, 2, 2)]
    assert [one for one, _ in rates] == pytest.approx(wanted)
    assert [one for _, one in rates] == pytest.approx(wanted)
