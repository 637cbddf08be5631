"""Several processes train one model."""

import itertools
import shutil
from pathlib import Path

import several
import torch
from fitting import equal, images, model, noisy_loss
from torch import nn

from mmlite import DimensionalMask, LookaheadMetaMask, MetaMask, TwoViews, projector, small_conv
from mmlite.data import ImageSet
from mmlite.distributed.batch_norm import convert_sync_batchnorm
from mmlite.training import Checkpointing, fit


def run_on_shares(rank: int, sizes: list[int], folder: str, method: str, stop: int | None) -> dict:
    """Train in float64 with a checkpoint every 2 steps, or go on; stop within the step `stop`."""
    torch.manual_seed(rank)  # processes need not begin with the same weights
    parts = [small_conv(1, 6), projector(6, 8, 4), projector(6, 8, 4), DimensionalMask(6)]
    encoder, *heads, mask = (part.double() for part in parts)
    views = TwoViews(crop=(0.4, 1.0))
    meta = {"metamask": MetaMask, "lookahead": LookaheadMetaMask}[method](
        encoder,
        *heads,
        mask,
        torch.optim.Adam(mask.parameters(), 0.05),
        lambda images, generator: tuple(x.double() for x in views(images, generator)),
    )
    convert_sync_batchnorm(meta.model)
    pixels = torch.randint(0, 256, (30, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    steps = itertools.count(1)

    def loss(*arguments):
        if next(steps) == stop:
            raise KeyboardInterrupt
        return meta.loss(*arguments)

    try:
        history = fit(
            meta.model,
            loss,
            ImageSet(pixels.to(torch.uint8), torch.zeros(30, dtype=torch.int64), ("a",)),
            epochs=2,
            batch_size=sum(sizes),
            before_step=meta.before_step,
            after_step=meta.after_step,
            progress=False,
            checkpoint=Checkpointing(
                Path(folder) / "last.pt", every=2, resume=True, extra_state={"trainer": meta}
            ),
        )
    except KeyboardInterrupt:
        return {}
    return {
        "model": meta.model.state_dict(),
        "mask": mask.state_dict(),
        "loss": torch.tensor(history.loss),
    }


def both_methods(rank: int, sizes: list[int], folder: str) -> dict:
    found = {}
    for method in ("metamask", "lookahead"):
        found[method] = run_on_shares(rank, sizes, f"{folder}/{method}", method, None)
        stopped = f"{folder}/{method}-stopped"
        run_on_shares(rank, sizes, stopped, method, 6)
        if rank == 0:
            shutil.copytree(stopped, f"{stopped}-for-one")
        found[f"{method} again"] = run_on_shares(rank, sizes, stopped, method, None)
    return found


def close(a, b) -> bool:
    """Whether two nests of dictionaries and tensors differ by no more than rounding."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[name], b[name]) for name in a)
    # in float64 sums in another order differ by 1e-15, which Adam enlarges where a gradient is
    # near zero; a wrong share or an average left out moves weights by the learning rate, 1e-3
    return torch.allclose(a, b, rtol=1e-7, atol=1e-7)


def test_processes_train_one_model_and_each_number_of_them_can_go_on(tmp_path):
    both, each = several.run_in([4, 3], both_methods, tmp_path, str(tmp_path / "both"))
    for method in ("metamask", "lookahead"):
        alone = run_on_shares(0, [7], str(tmp_path / f"alone-{method}"), method, None)
        assert len(alone["loss"]) == 8
        assert close(both[method], alone)
        assert equal(both[method], each[method])
        assert equal(both[method], both[f"{method} again"])
        resumed = tmp_path / "both" / f"{method}-stopped-for-one"
        assert close(run_on_shares(0, [7], str(resumed), method, None), alone)


def refusals(rank: int) -> list[str]:
    found = []
    for wrong in (
        {"learning_rate": 1e-3 * (1 + rank)},
        {"batch_size": 1},
        {"checkpoint": "last.pt"},
    ):
        options = {"epochs": 1, "batch_size": 4, "progress": False} | wrong
        try:
            fit(model(), noisy_loss, images(), **options)
        except ValueError as error:
            found.append(str(error))
    return found


def means_of_shares(rank: int, sizes: list[int]) -> dict:
    """Without synchronized BatchNorm, processes still end with the same weights and buffers."""
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    fit(network, noisy_loss, images(), epochs=2, batch_size=sum(sizes), progress=False)
    return network.state_dict() | {"messages": refusals(rank)}


def test_processes_agree_and_must_be_told_the_same(tmp_path):
    first, second = several.run_in([3, 2], means_of_shares, tmp_path)
    messages = first.pop("messages"), second.pop("messages")
    assert equal(first, second)
    assert float(first["1.running_mean"].abs().max()) > 0
    assert messages[0][0].startswith("learning_rate is 0.001 in process 0 and 0.002 in process 1;")
    assert messages[1][0].startswith("learning_rate is 0.002 in process 1 and 0.001 in process 0;")
    for said in messages:
        assert said[1].startswith("batch_size must be a whole number from 2")
        assert said[2].startswith("checkpoint must be a Checkpointing or None")
