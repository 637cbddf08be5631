"""Training in bfloat16, compiled, and without waiting for a GPU."""

import itertools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fitting import Logged, images, masked, model, noisy_loss, pictures
from torch import nn

from mmlite import LookaheadMetaMask, MetaMask, TwoViews, nt_xent, projector, small_conv
from mmlite.training import fit


def test_bfloat16_computes_in_bfloat16_learns_and_keeps_everything_in_float32():
    network, seen = model(), set()

    def loss(model, batch, generator):
        z = model(batch.float() / 255 + torch.rand(len(batch), 1, 2, 2, generator=generator))
        seen.add(z.dtype)
        return z.float().square().mean()

    def hook(optimizer):
        seen.add((network[1](torch.ones(1, 4))).dtype)  # hooks compute alike
        states = [t for state in optimizer.state.values() for t in state.values()]
        assert {t.dtype for t in states} <= {torch.float32}
        assert {p.grad.dtype for p in network.parameters()} == {torch.float32}

    options = {"epochs": 60, "batch_size": 10, "learning_rate": 0.05, "progress": False}
    hooks = {"before_step": hook, "after_step": hook}
    history = fit(network, loss, images(), precision="bfloat16", **options, **hooks)
    assert seen == {torch.bfloat16}
    assert history.epoch_loss[-1] < 0.05 * history.epoch_loss[0]
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network[1](torch.ones(1, 4)).dtype == torch.float32  # outside of fit nothing changes
    wanted = fit(model(), noisy_loss, images(), **options).loss[0]
    # bfloat16 has 8 bits: a relative error of 2 ** -8 in each product, squared by the loss
    assert history.loss[0] == pytest.approx(wanted, rel=2**-6)


def compiled_and_plain(build):
    """Return history and model of a compiled run and of a plain one."""
    runs = []
    for compile in (True, False):
        torch.manual_seed(0)
        trained, loss, more = build()
        history = fit(
            trained,
            loss,
            pictures(),
            epochs=2,
            batch_size=8,
            progress=False,
            compile=compile,
            **more,
        )
        runs.append((history, trained))
    return runs


needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="no C++ compiler; install g++ or let CXX name one",
)


@needs_compiler
def test_a_compiled_run_has_the_same_losses_and_leaves_the_model_as_it_was():
    def build():
        network = Logged(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 3)))
        return network, noisy_loss, {}

    (compiled, network), (plain, twin) = compiled_and_plain(build)
    assert network.eager == 0
    assert twin.eager == 6
    # float32 sums in another order, through six steps of AdamW
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-4)
    assert list(network.state_dict()) == list(twin.state_dict())
    network(torch.zeros(1, 64))
    assert network.eager == 1


@needs_compiler
def test_a_compiled_encoder_trains_with_a_mask_whose_gradient_takes_it_as_it_is():
    (compiled, trained), (plain, twin) = compiled_and_plain(lambda: masked(MetaMask))
    # the three passes of six meta steps, and of the plain run six regular steps too
    assert (trained["encoder"].eager, twin["encoder"].eager) == (18, 24)
    # the history is float32, which rounds by 6e-8
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-6)
    assert list(trained.state_dict()) == list(twin.state_dict())


@needs_compiler
def test_a_lookahead_mask_refuses_a_compiled_encoder_before_it_is_compiled():
    trained, loss, more = masked(LookaheadMetaMask)
    with pytest.raises(ValueError, match="LookaheadMetaMask cannot train a compiled encoder"):
        fit(trained, loss, pictures(), epochs=1, batch_size=8, compile=True, **more)
    assert trained["encoder"].eager == 0
    fit(trained, loss, pictures(), epochs=1, batch_size=8, progress=False)  # as it was


def test_without_a_compiler_compile_is_refused_in_a_sentence(tmp_path):
    # The network is of a class outside torch.nn, which older versions of torch do not compile, and
    # needs a kernel: a GELU is written in C++, where a linear layer alone is a call of a library.
    code = (
        "import fitting as t\n"
        "from mmlite import fit\n"
        "network = t.Logged(t.nn.Sequential(t.model(), t.nn.GELU()))\n"
        "try:\n"
        "    fit(network, t.noisy_loss, t.images(), epochs=1, batch_size=4, compile=True)\n"
        "except ValueError as error:\n"
        "    print(error, f'({network.eager} steps)')\n"
    )
    here = Path(__file__).parent
    environment = os.environ | {
        "CXX": "no-such-compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("torch.compile cannot compile this model here (")
    assert "no-such-compiler" in done.stdout  # refused for want of it, and for nothing else
    assert done.stdout.endswith("leave compile out (0 steps)\n")


@pytest.mark.gpu
def test_the_loop_does_not_wait_for_the_gpu(monkeypatch):
    from mmlite.training import watch

    monkeypatch.setattr(watch, "REFRESH", math.inf)  # a look at the loss waits, and may
    network = nn.Sequential(small_conv(1, 8), projector(8, 8, 4)).cuda()
    views, steps = TwoViews(), itertools.count(1)

    def loss(model, batch, generator):
        # from the second step of the epoch to its last: its ends may wait
        torch.cuda.set_sync_debug_mode("error" if 2 <= next(steps) < 6 else "default")
        return nt_xent(*model(torch.cat(views(batch, generator))).chunk(2))

    try:
        history = fit(
            network, loss, pictures(), epochs=1, batch_size=4, precision="bfloat16", progress=False
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(history.loss) == 6


@pytest.mark.gpu
def test_a_compiled_run_in_bfloat16_learns_on_a_gpu():
    network = model().cuda()
    history = fit(
        network,
        noisy_loss,
        images(),
        epochs=60,
        batch_size=10,
        learning_rate=0.05,
        precision="bfloat16",
        compile=True,
        progress=False,
    )
    assert history.epoch_loss[-1] < 0.05 * history.epoch_loss[0]
