"""A run that `on_epoch` ends: its epoch is kept, and it stays ended."""

import pytest
import torch
from fitting import images, model, noisy_loss

from mmlite import Checkpointing, fit
from mmlite.training import StopTraining


def run(net, stop_after, seen, **more):
    def on_epoch(epoch):
        seen.append((epoch, [p.detach().clone() for p in net.parameters()]))
        if epoch == stop_after:
            raise StopTraining

    return fit(net, noisy_loss, images(), epochs=5, batch_size=5, progress=False,
               on_epoch=on_epoch, **more)  # fmt: skip


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_the_run_ends_with_the_weights_that_a_longer_one_had_there(stop_after):
    whole, stopped = model(), model()
    every, seen = [], []
    run(whole, None, every)
    history = run(stopped, stop_after, seen)
    assert [epoch for epoch, _ in seen] == list(range(1, stop_after + 1))
    assert len(history.loss) == 4 * stop_after
    assert len(history.epoch_loss) == stop_after
    for wanted, found in zip(every[stop_after - 1][1], stopped.parameters(), strict=True):
        assert torch.equal(wanted, found)


def test_resuming_leaves_it_ended(tmp_path):
    first, again, seen = model(), model(), []
    run(first, 2, seen, checkpoint=Checkpointing(tmp_path / "last.pt"))
    history = run(again, 2, seen, checkpoint=Checkpointing(tmp_path / "last.pt", resume=True))
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert len(history.loss) == 8
    for wanted, found in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(wanted, found)


def test_any_other_error_goes_on_to_the_caller():
    def on_epoch(epoch):
        raise StopIteration

    with pytest.raises(StopIteration):
        fit(model(), noisy_loss, images(), epochs=2, batch_size=5, on_epoch=on_epoch,
            progress=False)  # fmt: skip
