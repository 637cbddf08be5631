"""The loop: what it repeats, what it stops at, and that it learns."""

import itertools
import math
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import interrupted
import pytest
import several
import torch
import tqdm.auto
from torch import nn

from mmlite import (
    DimensionalMask,
    LookaheadMetaMask,
    MetaMask,
    TwoViews,
    load,
    nt_xent,
    projector,
    small_conv,
)
from mmlite.contrastive import NotFiniteError
from mmlite.data import ImageSet
from mmlite.distributed.batch_norm import convert_sync_batchnorm
from mmlite.training import Checkpointing, History, TrainingError, fit, warmup_cosine
from mmlite.training.checkpoints import CheckpointError
from mmlite.training.watch import LossWatch


def images(count: int = 20) -> ImageSet:
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 2)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), ("a",))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def noisy_loss(model, batch, generator):
    noise = torch.rand(len(batch), 1, 2, 2, generator=generator)
    return model(batch.float() / 255 + noise).square().mean()


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
        ({"images": torch.zeros(3)}, "images must be an ImageSet, as load returns, got a tensor"),
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
    on_cpu = fit(model(), noisy_loss_on_device, images(), epochs=2, batch_size=4, progress=False)
    on_gpu = fit(network, noisy_loss_on_device, images(), epochs=2, batch_size=4, progress=False)
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-3)


def noisy_loss_on_device(model, batch, generator):
    noise = torch.rand(len(batch), 1, 2, 2, generator=generator).to(batch.device)
    return model(batch.float() / 255 + noise).square().mean()


# precision and compilation


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


class Logged(nn.Module):
    """Notes whether it is run by Python or by compiled code."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.eager = 0

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.eager += 1
        return self.inner(x)


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


def pictures() -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.zeros(24, dtype=torch.int64), ("a",))


needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="no C++ compiler; install g++ or let CXX name one",
)


@needs_compiler
def test_a_compiled_run_has_the_same_losses_and_leaves_the_model_as_it_was():
    def build():
        network = Logged(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 3)))
        return network, noisy_pictures, {}

    (compiled, network), (plain, twin) = compiled_and_plain(build)
    assert network.eager == 0
    assert twin.eager == 6
    # float32 sums in another order, through six steps of AdamW
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-4)
    assert list(network.state_dict()) == list(twin.state_dict())
    network(torch.zeros(1, 64))
    assert network.eager == 1


def noisy_pictures(model, batch, generator):
    noise = torch.rand(len(batch), 1, 8, 8, generator=generator)
    return model(batch.float() / 255 + noise).square().mean()


def masked(kind):
    """Return what `compiled_and_plain` trains of a mask's method, with its encoder logged.

    In float64, where rounding stays far below what a wrong pass would change.
    """
    encoder, mask = Logged(small_conv(1, 8)).double(), DimensionalMask(8).double()
    heads = projector(8, 8, 4).double(), projector(8, 8, 4).double()
    make_views = TwoViews(crop=(0.4, 1.0))

    def views(images, generator):
        return tuple(view.double() for view in make_views(images, generator))

    method = kind(encoder, *heads, mask, torch.optim.Adam([mask.w], 0.05), views)
    hooks = {"before_step": method.before_step, "after_step": method.after_step}
    return method.model, method.loss, hooks


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
        "import test_fit as t\n"
        "network = t.Logged(t.nn.Sequential(t.model(), t.nn.GELU()))\n"
        "try:\n"
        "    t.fit(network, t.noisy_loss, t.images(), epochs=1, batch_size=4, compile=True)\n"
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
    from mmlite import nt_xent
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
        noisy_loss_on_device,
        images(),
        epochs=60,
        batch_size=10,
        learning_rate=0.05,
        precision="bfloat16",
        compile=True,
        progress=False,
    )
    assert history.epoch_loss[-1] < 0.05 * history.epoch_loss[0]


# checkpoints


def equal(a, b) -> bool:
    """Whether two nests of dictionaries and tensors are the same bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("method", ["metamask", "lookahead"])
def test_a_run_in_bfloat16_goes_on_bit_by_bit(tmp_path, method):
    wanted = interrupted.run(method, tmp_path / "whole", every=3, precision="bfloat16")
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(method, tmp_path / "stopped", every=3, stop=8, precision="bfloat16")
    found = interrupted.run(method, tmp_path / "stopped", every=3, precision="bfloat16")
    assert equal(found, wanted)
    assert not equal(found, interrupted.run(method, tmp_path / "float32"))


@pytest.mark.parametrize("method", ["metamask", "lookahead"])
@pytest.mark.parametrize("stop", [1, 6, 8, 20])
def test_a_run_stopped_at_a_step_ends_bit_by_bit_as_one_that_was_not(tmp_path, method, stop):
    wanted = interrupted.run(method, tmp_path / "whole", every=3)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(method, tmp_path / "stopped", every=3, stop=stop)
    torch.manual_seed(99)  # what a new process begins with must not matter
    found = interrupted.run(method, tmp_path / "stopped", every=3)
    assert len(wanted["loss"]) == 20
    assert equal(found, wanted)
    assert equal(interrupted.run(method, tmp_path / "stopped", every=3), wanted)  # it is done


def test_a_process_killed_at_random_moments_ends_bit_by_bit_as_one_that_was_not(tmp_path):
    command = [sys.executable, interrupted.__file__, "lookahead"]
    whole = subprocess.run(
        [*command, str(tmp_path / "whole"), "1"], capture_output=True, text=True, check=True
    )
    seconds, draw = float(whole.stdout.split()[1]), random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed"), "1"], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"begin\n"
        time.sleep(draw.uniform(0, 0.6 * seconds))
        process.kill()
        process.wait(timeout=60)
        process.stdout.close()
    subprocess.run([*command, str(tmp_path / "killed"), "1"], capture_output=True, check=True)
    found, wanted = (torch.load(tmp_path / name / "final.pt") for name in ("killed", "whole"))
    assert equal(found, wanted)


def test_a_damaged_checkpoint_falls_back_with_a_warning_and_the_run_ends_alike(tmp_path):
    wanted = interrupted.run("metamask", tmp_path / "whole", every=3)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run("metamask", tmp_path / "stopped", every=3, stop=12)
    last = tmp_path / "stopped" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"last.pt is damaged .*going on from the one before it"):
        found = interrupted.run("metamask", tmp_path / "stopped", every=3)
    assert equal(found, wanted)


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "last.pt"
    options = {"epochs": 2, "batch_size": 4, "progress": False, "checkpoint": Checkpointing(path)}
    fit(model(), noisy_loss, images(), **options)
    before = path.read_bytes()
    options["checkpoint"] = Checkpointing(path, resume=True)
    more = Checkpointing(path, resume=True, extra_state={"more": model()})
    with pytest.raises(CheckpointError, match=r"at .*last.pt already; resume=True goes on from it"):
        fit(model(), noisy_loss, images(), **options | {"checkpoint": Checkpointing(path)})
    for change, message in (
        ({"epochs": 3}, "another run: epochs is 2 there and 3 here"),
        ({"description": {"method": "x"}}, "method is 'not set' there and 'x' here"),
        ({"precision": "bfloat16"}, "precision is 'float32' there and 'bfloat16' here"),
        ({"images": images(24)}, "images is 'images 20×1×2×2 .*' there and 'images 24×1×2×2 .*'"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(4, 5))}, "another model or method"),
        ({"checkpoint": more}, "holds another model or method than this run"),
    ):
        arguments = {"model": model(), "loss": noisy_loss, "images": images()} | options | change
        with pytest.raises(CheckpointError, match=message):
            fit(**arguments)
    assert path.read_bytes() == before


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_do_not_share_a_checkpoint_at_one_time(tmp_path, resume):
    refused = []

    def another(epoch):
        if epoch == 1:  # the first checkpoint is not there yet
            with pytest.raises(CheckpointError, match="another run is going on") as error:
                run(model(), lambda epoch: None, resume)
            refused.append(error)

    def run(network, on_epoch, resume):
        options = {"epochs": 2, "batch_size": 4, "progress": False, "on_epoch": on_epoch}
        checkpoint = Checkpointing(tmp_path / "last.pt", resume=resume)
        return fit(network, noisy_loss, images(), checkpoint=checkpoint, **options)

    history = run(model(), another, resume)
    assert len(refused) == 1
    assert run(model(), lambda epoch: None, True).loss == history.loss


def test_a_history_without_a_run_can_be_looked_at():
    assert repr(History()) == "History(0 steps)"
    assert History().epoch_loss == []
    assert History([1.0, 2.0]).epoch_loss == [1.5]  # one epoch, as far as is known


def test_a_history_can_be_watched_after_each_epoch():
    history, seen = History(), []
    fit(
        model(),
        noisy_loss,
        images(),
        epochs=3,
        batch_size=4,
        history=history,
        on_epoch=lambda epoch: seen.append((epoch, len(history.loss), len(history.epoch_loss))),
        progress=False,
    )
    assert seen == [(1, 5, 1), (2, 10, 2), (3, 15, 3)]


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_with_its_own_random_state(tmp_path):
    network = nn.Sequential(model(), nn.Dropout(0.5)).cuda()
    torch.cuda.manual_seed(0)
    options = {"epochs": 2, "batch_size": 4, "progress": False}
    whole = fit(network, noisy_loss_on_device, images(), **options)

    def stop(epoch):
        if epoch == 2:
            raise KeyboardInterrupt

    network = nn.Sequential(model(), nn.Dropout(0.5)).cuda()
    torch.cuda.manual_seed(0)
    options["checkpoint"] = Checkpointing(tmp_path / "last.pt", resume=True)
    with pytest.raises(KeyboardInterrupt):
        fit(network, noisy_loss_on_device, images(), on_epoch=stop, **options)
    torch.cuda.manual_seed(99)
    again = fit(network, noisy_loss_on_device, images(), **options)
    assert again.loss == pytest.approx(whole.loss, rel=1e-3)


# several processes


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
