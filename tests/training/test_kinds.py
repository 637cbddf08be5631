"""What users bring to `fit`: hooks that fail, generators of their own, layers that not all use."""

import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import several
import torch
from torch import nn

from mmlite.data import ImageSet
from mmlite.training import CheckpointError, Checkpointing, History, fit, state
from mmlite.training.watch import LossWatch


def images(count=20):
    pixels = torch.randint(0, 256, (count, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels.to(torch.uint8), torch.zeros(count, dtype=torch.int64), ("a",))


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def plain_loss(network, batch, generator):
    return network(batch.float() / 255).square().mean()


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


OPTIONS = {"epochs": 3, "batch_size": 5, "progress": False}


# hooks


def test_an_epoch_is_kept_before_its_hook_and_the_hook_is_called_again(tmp_path):
    whole = model()
    fit(whole, plain_loss, images(), **OPTIONS)
    told, network = [], model()

    def fails(epoch):
        told.append(epoch)
        if epoch == 2:
            raise RuntimeError("the evaluation broke")

    options = OPTIONS | {"checkpoint": Checkpointing(tmp_path / "last.pt", resume=True)}
    with pytest.raises(RuntimeError, match="broke"):
        fit(network, plain_loss, images(), on_epoch=fails, **options)
    steps, network = [], model()

    def counted(*arguments):
        steps.append(1)
        return plain_loss(*arguments)

    again = fit(network, counted, images(), on_epoch=told.append, **options)
    assert told == [1, 2, 2, 3]
    assert len(steps) == 4
    assert len(again.loss) == 12
    assert torch.equal(weights(network), weights(whole))
    fit(network, counted, images(), on_epoch=told.append, **options)
    assert told == [1, 2, 2, 3]  # a run that has ended tells nothing anew


class Counter:
    """What a hook moves and a checkpoint keeps."""

    def __init__(self):
        self.drawn = []

    def state_dict(self):
        return {"drawn": list(self.drawn)}

    def load_state_dict(self, state):
        self.drawn = state["drawn"]


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_hook_draws_and_keeps_is_the_same_after_a_stop_within_it(tmp_path, stop, when):
    def run(path, stop=None):
        counter = Counter()

        def on_epoch(epoch):
            if epoch == stop and when == "before":
                raise KeyboardInterrupt
            counter.drawn.append([float(torch.rand(1)), random.random()])
            if epoch == stop:
                raise KeyboardInterrupt

        torch.manual_seed(1)
        random.seed(1)
        saved = Checkpointing(path, resume=True, extra_state={"counter": counter})
        fit(model(), plain_loss, images(), on_epoch=on_epoch, checkpoint=saved, **OPTIONS)
        return counter.drawn

    whole = run(tmp_path / "whole.pt")
    assert len(whole) == 3
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped.pt", stop)
    torch.manual_seed(99)
    assert run(tmp_path / "stopped.pt") == whole


@pytest.mark.parametrize("hook", ["before_step", "after_step", "on_epoch"])
def test_a_parameter_group_that_a_hook_adds_is_refused(hook):
    held = []

    def keep_optimizer(optimizer):
        held.append(optimizer)

    def add(argument):
        held[0].add_param_group({"params": [nn.Parameter(torch.ones(2))]})

    hooks = {"before_step": keep_optimizer} | {hook: add}
    if hook == "before_step":
        hooks = {hook: lambda optimizer: keep_optimizer(optimizer) or add(optimizer)}
    with pytest.raises(ValueError, match="a hook added a parameter group"):
        fit(model(), plain_loss, images(), **OPTIONS, **hooks)


@pytest.mark.parametrize("waits", [False, True])
def test_a_hook_sees_the_loss_of_its_step_on_every_device(waits, monkeypatch):
    watch = LossWatch.__init__

    def slow(self, *arguments):
        watch(self, *arguments)
        self.waits = waits  # as on a device that is not the CPU

    monkeypatch.setattr(LossWatch, "__init__", slow)
    history, seen = History(), []
    hooks = {name: lambda optimizer: seen.append(len(history.loss)) for name in ("after_step",)}
    fit(model(), plain_loss, images(), history=history, **OPTIONS, **hooks)
    assert seen == list(range(1, 13))
    assert history.arrive is None


# generators


class OwnGenerators:
    def __init__(self):
        self.numpy, self.python = np.random.default_rng(0), random.Random(0)
        self.torch = torch.Generator().manual_seed(0)

    def __call__(self, x):
        x = x + torch.from_numpy(self.numpy.standard_normal(x.shape)).float() * self.python.random()
        return x * torch.rand(x.shape, generator=self.torch)


def drawn_from(kind):
    own = OwnGenerators()
    return {
        "random": lambda x: x * random.random(),
        "NumPy": lambda x: x + torch.from_numpy(np.random.randn(*x.shape)).float(),  # noqa: NPY002
        "torch": lambda x: x + torch.randn_like(x),
        "generators of its own": own,
        "a method": own.__call__,
    }[kind]


@pytest.mark.parametrize("kind", ["random", "NumPy", "torch", "generators of its own", "a method"])
@pytest.mark.parametrize("stop", [2, 6])
def test_a_resumed_run_draws_what_one_without_a_stop_draws(tmp_path, kind, stop):
    def run(path, stop=None):
        change, steps, network = drawn_from(kind), [], model()

        def loss(network, batch, generator):
            steps.append(1)
            if len(steps) == stop:
                raise KeyboardInterrupt
            return network(change(batch.float() / 255)).square().mean()

        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        torch.manual_seed(3)
        saved = Checkpointing(path, every=1, resume=True)
        fit(network, loss, images(), checkpoint=saved, **OPTIONS)
        return weights(network)

    whole = run(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped.pt", stop)
    assert torch.equal(run(tmp_path / "stopped.pt"), whole)


# places


def test_a_checkpoints_place_is_a_file_and_may_begin_with_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # on Windows
    there = Checkpointing("~/run/last.pt")
    fit(model(), plain_loss, images(), checkpoint=there, **OPTIONS)
    assert (tmp_path / "run" / "last.pt").exists()
    assert not Path("~").exists()
    with pytest.raises(ValueError, match="run is a folder; name a file in it"):
        Checkpointing(tmp_path / "run")
    with pytest.raises(ValueError, match="path must be a path"):
        Checkpointing(3)
    with pytest.raises(CheckpointError, match="there is a checkpoint"):
        fit(model(), plain_loss, images(), checkpoint=there, **OPTIONS)


# memory


def test_the_checksum_of_images_takes_no_copy_of_them(monkeypatch):
    given = images(50)
    wanted = zlib.crc32(given.images.numpy().tobytes())
    for piece in (1, 7, 2**22):
        monkeypatch.setattr(state, "PIECE", piece)
        assert state.fingerprint(given).endswith(f" {wanted:08x}")
    odd = ImageSet(given.images.transpose(2, 3), given.labels, given.classes)
    assert state.fingerprint(odd).endswith(
        f" {zlib.crc32(odd.images.contiguous().numpy().tobytes()):08x}"
    )
    code = """
import resource, torch
from mmlite.data import ImageSet
from mmlite.training.state import fingerprint
pixels = torch.zeros(200_000, 1, 32, 32, dtype=torch.uint8).fill_(1)
set_ = ImageSet(pixels, torch.zeros(200_000, dtype=torch.int64), ("a",))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fingerprint(set_)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # in kB on Linux, bytes on macOS; the images are 205 MB
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 40e6


# several processes


class Branches(nn.Module):
    """Layers of which each process uses its own, and one that nobody uses."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 3 + width) for width in range(3)])
        self.spare = nn.Linear(4, 2)
        self.shared = nn.Linear(4, 4)

    def forward(self, x, chosen):
        return self.layers[chosen](self.shared(x.flatten(1).double() / 255)).square().sum(1)


def train_branches(rank, sizes, whole):
    """Train two steps; alone, one process takes each shard through the layer of its process."""
    torch.manual_seed(0)
    network = Branches().double()
    chosen = [0, 2]  # by rank: a layer between them is nobody's

    def loss(network, batch, generator):
        if not whole:
            # the mean over the processes of what each gives is what one would compute
            return network(batch, chosen[rank]).sum() * len(sizes) / sum(sizes)
        parts = zip(batch.split(sizes), chosen, strict=True)
        return sum(network(part, layer).sum() for part, layer in parts) / sum(sizes)

    fit(network, loss, images(14), epochs=1, batch_size=sum(sizes), progress=False, warmup=0)
    return {name: p.detach() for name, p in network.named_parameters()}


def test_layers_that_not_every_process_uses_train_as_in_one_process(tmp_path):
    found = several.run_in([4, 3], train_branches, tmp_path, False)
    alone = train_branches(0, [4, 3], True)
    torch.manual_seed(0)
    start = dict(Branches().double().named_parameters())
    for one in found:
        for name, value in alone.items():
            # float64 sums in another order differ by 1e-16 times a few; AdamW's first steps enlarge
            torch.testing.assert_close(one[name], value, rtol=1e-9, atol=1e-12, msg=name)
    assert torch.equal(alone["spare.weight"], start["spare.weight"])
    assert torch.equal(found[0]["layers.1.weight"], start["layers.1.weight"])
    assert not torch.equal(alone["layers.2.weight"], start["layers.2.weight"])


def differing_models(rank, sizes):
    said = []
    for width in (3 + rank, 3):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, width))
        network[1].bias.requires_grad_(rank == 0 or width != 3)
        try:
            fit(network, plain_loss, images(), **OPTIONS | {"batch_size": sum(sizes)})
        except ValueError as error:
            said.append(str(error))
    return {"said": said}


def test_models_that_differ_between_processes_are_refused(tmp_path):
    for found in several.run_in([3, 2], differing_models, tmp_path):
        assert len(found["said"]) == 2
        assert all("the model is" in said and "in process" in said for said in found["said"])
