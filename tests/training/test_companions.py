"""What stands beside `fit` in a script: PyTorch's moving average of weights, and TensorBoard."""

import pytest
import torch
from fitting import StopHereError, images, masked, model, noisy_loss, pictures
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from mmlite import Checkpointing, LookaheadMetaMask, MetaMask, barlow_twins, fit, nt_xent


def averaged(path, stop_at=None, **kept):
    net = model()
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    seen = []

    def after_step(optimizer):
        average.update_parameters(net)
        seen.append([p.detach().clone() for p in net.parameters()])
        if len(seen) == stop_at:
            raise StopHereError

    checkpoint = Checkpointing(path, every=1, extra_state={"average": average}, **kept)
    fit(net, noisy_loss, images(), epochs=2, batch_size=5, progress=False, after_step=after_step,
        checkpoint=checkpoint)  # fmt: skip
    return list(average.module.parameters()), seen


def test_a_moving_average_of_the_weights_is_kept_and_goes_on(tmp_path):
    whole, seen = averaged(tmp_path / "whole.pt")
    wanted = seen[0]
    for weights in seen[1:]:
        wanted = [0.9 * a + 0.1 * p for a, p in zip(wanted, weights, strict=True)]
    for found, one in zip(whole, wanted, strict=True):
        torch.testing.assert_close(found, one)
    with pytest.raises(StopHereError):
        averaged(tmp_path / "last.pt", stop_at=6)
    again, _ = averaged(tmp_path / "last.pt", resume=True)
    assert all(map(torch.equal, again, whole))


@pytest.mark.parametrize("kind", [MetaMask, LookaheadMetaMask])
def test_tensorboard_shows_both_losses_and_the_mask(kind, tmp_path):
    net, loss, hooks = masked(kind)
    method = loss.__self__
    wanted = []

    def views(x, generator, make=method.views):
        wanted.append({"seen": make(x, generator)})
        return wanted[-1]["seen"]

    method.views = views

    def before_step(optimizer):  # the weights are still those that the loss was taken at
        with torch.no_grad():
            # both views as one batch, as in training
            z = method.heads(method.mask(net["encoder"](torch.cat(wanted[-1].pop("seen")))))
        z1, z2 = zip(*(one.chunk(2) for one in z), strict=True)
        wanted[-1]["contrastive"] = float(nt_xent(z1[0], z2[0]))
        wanted[-1]["redundancy"] = float(barlow_twins(z1[1], z2[1]))
        hooks["before_step"](optimizer)

    def after_step(optimizer):
        hooks["after_step"](optimizer)
        entries = method.mask.entries.detach()
        wanted[-1] |= {"mask mean": float(entries.mean()), "mask least": float(entries.min())}
        for name, value in method.statistics().items():
            writer.add_scalar(name, value, method.steps)

    with SummaryWriter(str(tmp_path)) as writer:
        fit(net, loss, pictures(), epochs=2, batch_size=8, progress=False,
            before_step=before_step, after_step=after_step)  # fmt: skip
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert len(wanted) == 6
    for name in ("contrastive", "redundancy", "mask mean", "mask least"):
        found = [(event.step, event.value) for event in board.Scalars(name)]
        assert [step for step, _ in found] == list(range(1, 7))
        assert [value for _, value in found] == pytest.approx([one[name] for one in wanted])
    assert {"mask greatest", "mask deviation", "mask gradient"} <= set(board.Tags()["scalars"])
    assert all(event.value > 0 for event in board.Scalars("mask gradient"))
