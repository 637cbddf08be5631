"""Batches taken in parts, and gradients cut to a length: against loops written out here."""

import pytest
import torch
from fitting import images, masked, model, noisy_loss, pictures
from several import run_in
from torch.optim import SGD
from torch.utils.data import DataLoader

from mmlite import Checkpointing, LookaheadMetaMask, MetaMask, distributed, fit
from mmlite.training import CheckpointError


def plain(parameters):
    return SGD(parameters, lr=0.05)


def constant(optimizer, steps):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def trained(loss=noisy_loss, source=None, **options):
    net = model()
    options = {"epochs": 2, "batch_size": 8, "progress": False, "optimizer": plain,
               "schedule": constant} | options  # fmt: skip
    history = fit(net, loss, images() if source is None else source, **options)
    return [p.detach() for p in net.parameters()], history.loss


def by_hand(parts=1, most=None, epochs=2, size=8):
    """Return weights and losses of SGD on the mean gradient of a batch's parts, cut to a length."""
    net, generator, losses = model(), torch.Generator().manual_seed(0), []
    pixels, optimizer = images().images, plain(net.parameters())
    for _ in range(epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for batch in order[: len(pixels) // size * size].split(size):
            total = 0
            for part in batch.chunk(parts):
                total = total + noisy_loss(net, pixels[part], generator) / parts
            optimizer.zero_grad()
            total.backward()
            if most is not None:
                length = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
                for p in net.parameters():
                    p.grad *= min(1.0, most / float(length))
            optimizer.step()
            losses.append(total.item())
    return [p.detach() for p in net.parameters()], losses


def close(found, wanted):
    for a, b in zip(found[0], wanted[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # float32 sums in another order
    assert found[1] == pytest.approx(wanted[1], rel=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_batch_in_parts_steps_along_the_mean_of_their_gradients(parts):
    close(trained(accumulate=parts), by_hand(parts))


def test_parts_of_a_loader():
    loader = DataLoader(images(), 8, shuffle=True)
    close(trained(source=loader, batch_size=None, accumulate=2), by_hand(2))
    sizes = []

    def loss(model, batch, generator):
        sizes.append(len(batch))
        return noisy_loss(model, batch, generator)

    trained(loss, DataLoader(images(), 8), batch_size=None, epochs=1, accumulate=2)
    assert sizes == [4, 4, 4, 4, 2, 2]


def test_a_part_takes_the_memory_and_the_batch_the_step():
    sizes, steps = [], []

    def loss(model, batch, generator):
        sizes.append(len(batch))
        return noisy_loss(model, batch, generator)

    history = fit(model(), loss, images(), epochs=1, batch_size=10, accumulate=5, progress=False,
                  after_step=steps.append)  # fmt: skip
    assert sizes == [2] * 10
    assert len(steps) == len(history.loss) == history.steps_per_epoch == 2


@pytest.mark.parametrize("most", [0.05, 0.4, 1e9])
def test_a_long_gradient_is_cut_to_its_length(most):
    wanted = by_hand(most=most)
    close(trained(clip_norm=most), wanted)
    same = torch.equal(wanted[0][0], by_hand()[0][0])
    assert same == (most == 1e9)  # else nothing would have been cut


def test_parts_are_cut_together():
    close(trained(accumulate=2, clip_norm=0.1), by_hand(2, 0.1))


def _mean_square(model, batch, generator):
    return model(batch.float() / 255).square().mean()  # each process would draw noise of its own


def _weights(rank, sizes, accumulate):
    net = model()
    fit(net, _mean_square, images(), epochs=2, batch_size=8, accumulate=accumulate, clip_norm=0.1,
        progress=False)  # fmt: skip
    return net.state_dict()


def test_several_processes_cut_and_accumulate_as_one_does(tmp_path):
    wanted = _weights(0, [1], 2)
    for found in run_in([1, 1], _weights, tmp_path, 2):
        for name, one in wanted.items():
            torch.testing.assert_close(found[name], one, rtol=1e-5, atol=1e-6)
    assert distributed.world_size() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1, got 0"),
        ({"accumulate": 1.5}, "accumulate must be a whole number"),
        ({"accumulate": 3}, "divide batch_size into equal parts .* got 3 for a batch_size of 8"),
        ({"accumulate": 8}, "parts of 2 images or more, got 8 for a batch_size of 8"),
        ({"clip_norm": 0}, "clip_norm must be a finite number greater than 0"),
        ({"clip_norm": "1"}, "clip_norm must be a finite number greater than 0"),
        ({"clip_norm": float("nan")}, "clip_norm must be a finite number greater than 0"),
    ],
)
def test_a_wrong_number_is_refused_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        trained(**options)


@pytest.mark.parametrize("change", [{"accumulate": 2}, {"clip_norm": 0.1}])
def test_a_checkpoint_of_other_parts_or_length_is_refused(change, tmp_path):
    trained(checkpoint=Checkpointing(tmp_path / "last.pt"))
    with pytest.raises(CheckpointError, match=f"{next(iter(change))} is 'not set' there and"):
        trained(checkpoint=Checkpointing(tmp_path / "last.pt", resume=True), **change)


@pytest.mark.parametrize("wrap", [lambda hook: hook, lambda hook: lambda o: hook(o)])
@pytest.mark.parametrize("kind", [MetaMask, LookaheadMetaMask])
def test_a_method_with_a_mask_refuses_what_it_would_not_know_of(kind, wrap):
    net, loss, hooks = masked(kind)
    hooks = {name: wrap(hook) for name, hook in hooks.items()}
    options = {"epochs": 1, "batch_size": 8, "progress": False, **hooks}
    with pytest.raises(ValueError, match=f"{kind.__name__} takes its own step on one batch as a"):
        fit(net, loss, pictures(), accumulate=2, **options)
    if kind is LookaheadMetaMask:
        with pytest.raises(ValueError, match="give it clip_norm, not fit"):
            fit(net, loss, pictures(), clip_norm=0.1, **options)
    else:
        fit(net, loss, pictures(), clip_norm=0.1, **options)
