"""The training loop that every lesson shares.

`fit` keeps the whole data set on the model's device, draws batches and views there from one
seeded generator, and leaves to `loss` what is learned:

    def simclr(model, images, generator):
        x1, x2 = views(images, generator)
        z1, z2 = model(torch.cat([x1, x2])).chunk(2)
        return nt_xent(z1, z2)

    fit(nn.Sequential(encoder, head), simclr, train, epochs=8)

With `checkpoint=path` a run that is killed at any moment goes on with `resume=True` from the last
file, and on a CPU ends with the weights, bit by bit, of one that was never stopped.

Within `mmlite.distributed.process_group` the same call, made by every process, trains one model on
batches of which each process takes a share: with BatchNorms that are synchronized
(`mmlite.distributed.convert_sync_batchnorm`) to the weights of one process alone, up to rounding.

While `fit` runs on a CPU, what a step frees stays with the process (`mmlite.training.memory`).

`precision="bfloat16"` is for a GPU with tensor cores, or a CPU with bfloat16 units; `compile=True`
is for long runs: the first step waits for the compiler.
"""

import math
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mmlite import distributed
from mmlite.contrastive import NotFiniteError
from mmlite.data import ImageSet
from mmlite.support import checks
from mmlite.support.rng import Own, RngState, own_generators
from mmlite.training.checkpoints import (
    CheckpointError,
    CheckpointWarning,
    alone,
    exists,
    load_checkpoint,
    save_checkpoint,
)
from mmlite.training.memory import kept_memory
from mmlite.training.modes import TrainingModes
from mmlite.training.storable import alike, plain, to_file

Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}  # what autocast computes in
MOST = 1e30  # learning rate or weight decay: beyond it AdamW's arithmetic leaves float32
PIECE = 2**22  # bytes of images whose checksum is taken at a time
REFRESH = 0.5  # seconds between looks at the loss on a device where each look waits for it


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class Stateful(Protocol):
    """What a checkpoint can keep: a module, an optimiser, a `MetaMask`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


class History:
    """What a run of `fit` saw.

    Args:
        loss, steps_per_epoch, images_per_second: the attributes' first values.

    Attributes:
        loss: the loss of each step. While a run goes on, on a device that is not the CPU, reading
            it waits for the device.
        steps_per_epoch: steps in one epoch.
        images_per_second: images (not views) a second, over the whole run.
    """

    def __init__(
        self,
        loss: Iterable[float] = (),
        steps_per_epoch: int = 0,
        images_per_second: float = 0.0,
    ) -> None:
        self.known = list(loss)  # the losses that have arrived
        self.arrive: Callable[[], None] | None = None  # waits for the others
        self.steps_per_epoch = steps_per_epoch
        self.images_per_second = images_per_second

    @property
    def loss(self) -> list[float]:
        if self.arrive is not None:
            self.arrive()
        return self.known

    @property
    def epoch_loss(self) -> list[float]:
        """The mean loss of each epoch."""
        loss = self.loss
        size = self.steps_per_epoch or max(1, len(loss))
        starts = range(0, len(loss), size)
        return [sum(loss[i : i + size]) / len(loss[i : i + size]) for i in starts]

    def __repr__(self) -> str:
        last = f", last {self.epoch_loss[-1]:.3f}" if self.loss else ""
        return f"History({len(self.loss)} steps{last})"


def fit(
    model: nn.Module,
    loss: Loss,
    images: ImageSet,
    *,
    epochs: int,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    seed: int = 0,
    before_step: Callable[[torch.optim.Optimizer], None] | None = None,
    after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
    progress: bool = True,
    history: History | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    keep: Mapping[str, Stateful] | None = None,
    description: Mapping[str, Any] | None = None,
    precision: str = "float32",
    compile: bool = False,
) -> History:
    """Train `model` in place on `images` with AdamW and a warm-up and cosine schedule.

    Args:
        model: what is trained; it stays on its device, and the images are moved there.
        loss: called as loss(model, batch uint8 [B, C, H, W], generator) -> scalar. The generator
            is on the CPU, so that a seed draws the same views on every device. Of several
            processes each calls it with its share of the batch, within `distributed.sharded_batch`.
        images: the training images; their labels are not used.
        epochs: passes over the images. Each takes full batches only, in a new random order.
        batch_size: B, at most the number of images; of all processes together.
        learning_rate: AdamW's, at its peak.
        weight_decay: AdamW's.
        warmup: share of the steps over which the learning rate rises from 0; then it falls to 0
            along a cosine.
        seed: seeds the order of the images and, through the generator, the views. The model's
            first weights are the caller's (`torch.manual_seed` before building it).
        before_step, after_step: called with the optimiser around each of its steps: when the
            gradients are there, and when the step is taken (`mmlite.metamask`).
        on_epoch: called with the number of epochs done after each of them, in every process.
        progress: show a progress bar with the loss and images per second, in the first process.
        history: an empty one to fill in, for `on_epoch` to look at.
        checkpoint: the file that the run is kept in, written after each epoch: weights,
            optimiser, schedule, order of the images, random states, history. Of several
            processes the first reads and writes it, and another number of them may go on from it.
        checkpoint_every: write it after every k-th step too.
        resume: go on from `checkpoint` if it is there, else start. A damaged file is set aside
            with a warning for the one before it.
        keep: what else the checkpoint has to hold, by name, for instance {"method": method} for a
            `MetaMask`.
        description: what else tells this run from others; a checkpoint of another is refused.
        precision: what loss and hooks compute in: "float32", or "bfloat16" by autocast. Weights,
            the optimiser's state and the loss are float32 either way.
        compile: let torch.compile compile `model` (of a `MetaMask`'s model the encoder) for this
            run; the module and its state_dict stay as they are. Losses agree up to rounding.

    Returns:
        The history of the run.

    Raises:
        ValueError: an argument is out of its range or another than in another process, or
            torch.compile does not work here.
        CheckpointError: the checkpoint is damaged, another run's, written by another run at this
            moment or cannot be written; or it is there and `resume` is False.
        TrainingError: the loss, what it is computed from, its gradient or a weight is NaN or
            infinite; the message names the step. No checkpoint holds such weights, and on a CPU the
            model keeps those of the last step whose loss and gradient were finite.
        ProcessError: another process has stopped, or does not answer.
    """
    hooks = {"before_step": before_step, "after_step": after_step, "on_epoch": on_epoch}
    _check_parts(model, loss, images, history, **hooks)
    _check_named(keep, description)
    checks.flag("progress", progress)
    checks.flag("compile", compile)
    distributed.check_joined()
    epochs, batch_size, seed = _whole_numbers(images, epochs, batch_size, seed)
    learning_rate, weight_decay, warmup = _rates(learning_rate, weight_decay, warmup)
    own_shard = partial(
        distributed.sharded_batch, distributed.shard_sizes(batch_size, distributed.world_size())
    )
    checkpoint, checkpoint_every = _check_checkpoint(checkpoint, checkpoint_every, resume)
    checks.choice("precision", precision, PRECISIONS)
    parameters = list(model.parameters())  # the frozen ones too: a hook may release them
    if not any(p.requires_grad for p in parameters):
        raise ValueError("the model has no parameters to train")
    device = parameters[0].device
    pixels = images.images.to(device)
    optimizer = torch.optim.AdamW(
        parameters,
        lr=learning_rate,
        weight_decay=weight_decay,
        fused=device.type != "cpu",  # a launch for all weights; on a CPU there are none to save
    )
    steps_per_epoch = len(images) // batch_size
    total = epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, total, warmup)
    )
    history = History() if history is None else history
    history.steps_per_epoch = steps_per_epoch
    kept = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if taken := sorted(kept.keys() & (keep or {}).keys()):
        raise ValueError(f"keep has {taken[0]!r}, which fit keeps itself; give yours another name")
    kept |= keep or {}
    own = own_generators(model, loss, before_step, after_step, on_epoch)
    run = _Run(kept, torch.Generator().manual_seed(seed), history, device, own)
    settings = {
        "images": _fingerprint(images) if checkpoint or distributed.world_size() > 1 else "",
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup": warmup,
        "seed": seed,
        "precision": precision,
    }
    for name, value in (description or {}).items():
        if name in settings and settings[name] != value:
            raise ValueError(
                f"description has {name!r}, which fit describes itself; give yours another name"
            )
    settings = plain(settings | dict(description or {}))
    if distributed.world_size() > 1:
        _start_alike(model, settings)
    cast = partial(_autocast, device, precision)
    loss, before_step, after_step = (f and cast()(f) for f in (loss, before_step, after_step))

    def trained() -> list[nn.Parameter]:
        return [p for p in parameters if p.requires_grad]

    def save() -> None:
        with own_shard():
            state = run.state_dict()
        if distributed.rank() == 0:
            save_checkpoint(checkpoint, state, settings)

    def hook(function: Callable[[Any], None] | None, argument: Any) -> None:
        if function is None:
            return
        function(argument)
        modes.settle()
        if len(optimizer.param_groups) > 1:
            raise ValueError(
                "a hook added a parameter group to fit's optimizer, whose schedule and checkpoint "
                "do not know it; let the model hold all that is to be trained before fit begins"
            )

    def tell(epoch: int) -> None:
        """Call on_epoch. What it breaks, or a stop within it, costs nothing of the epoch."""
        if on_epoch is not None:
            if checkpoint is not None:
                save()
            hook(on_epoch, epoch)
        run.told = epoch
        if checkpoint is not None:
            save()

    with ExitStack() as stack:
        if checkpoint is not None:
            there = distributed.broadcast_result(lambda: _claim(stack, checkpoint, resume))
            with own_shard():
                to_file(run.state_dict(), "what fit keeps")  # before hours are spent
            if there:
                with own_shard(), cast():  # a `MetaMask` computes anew what a file cannot hold
                    run.resume(checkpoint, settings)
        watch = _LossWatch(history, device)
        history.arrive = watch.look
        stack.callback(setattr, history, "arrive", None)
        modes = TrainingModes(model)
        begun, started = run.step, time.perf_counter()
        bar = stack.enter_context(_bar(total, begun, not progress or distributed.rank() > 0))
        stack.enter_context(_compiled(model, compile))
        if device.type == "cpu":
            stack.enter_context(kept_memory())
        if run.step and not run.within_epoch and run.told < run.step // steps_per_epoch:
            tell(run.step // steps_per_epoch)  # stopped before, or within, the call
        while run.step < total:
            for batch in run.rest_of_epoch(len(images), batch_size):
                with own_shard(), _of_step(run.step + 1):
                    value = loss(model, pixels[distributed.local_shard(batch)], run.generator)
                    watch.add(value)
                    optimizer.zero_grad(set_to_none=True)
                    value.backward()
                    distributed.average_gradients(trained())
                    watch.add_gradients([p.grad for p in parameters if p.grad is not None])
                    hook(before_step, optimizer)
                    optimizer.step()
                    hook(after_step, optimizer)
                schedule.step()
                run.step += 1
                bar.update()
                if watch.due():
                    rate = (run.step - begun) * batch_size / (time.perf_counter() - started)
                    shown = f"loss {history.known[-1]:.3f}, {rate:,.0f} images/s"
                    bar.set_postfix_str(shown, refresh=False)
                if checkpoint_every and run.step % checkpoint_every == 0 and run.within_epoch:
                    watch.look()
                    _check_weights(trained(), run.step)
                    save()
            watch.look()
            _check_weights(trained(), run.step)
            # BatchNorms that are not synchronised have each seen the images of one process. `data`,
            # because a graph that waits for its meta step holds the buffers, but does not read them
            distributed.all_reduce_mean([b.data for b in model.buffers() if b.is_floating_point()])
            seconds = time.perf_counter() - started
            history.images_per_second = (run.step - begun) * batch_size / seconds
            tell(run.step // steps_per_epoch)
    return history


@dataclass
class _Run:
    """Everything that a run goes on from.

    Attributes:
        kept: the model, the optimiser, the schedule and what the caller adds, by name.
        generator: draws the order of the images and the views.
        history: its losses are kept; its times are of one sitting.
        device: the model's.
        own: generators of the model, the loss and the hooks beside the global ones.
        step: steps taken.
        told: epochs that `on_epoch` has been told of.
        order: of the images in this epoch, int64 [N].
    """

    kept: dict[str, Stateful]
    generator: torch.Generator
    history: History
    device: torch.device
    own: list[Own] = field(default_factory=list)
    step: int = 0
    told: int = 0
    order: Tensor | None = None

    @property
    def within_epoch(self) -> int:
        """Steps taken in this epoch; 0 between two epochs."""
        return self.step % self.history.steps_per_epoch

    def rest_of_epoch(self, count: int, batch_size: int) -> tuple[Tensor, ...]:
        """Return the batches, int64 [B], that this epoch has still to take."""
        if not self.within_epoch:
            self.order = torch.randperm(count, generator=self.generator)
        full = self.history.steps_per_epoch * batch_size
        order = self.order.to(self.device)
        return order[self.within_epoch * batch_size : full].split(batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {
            "kept": {name: thing.state_dict() for name, thing in self.kept.items()},
            "generator": self.generator.get_state(),
            "random": distributed.all_gather_objects(
                RngState.now(self.device, self.own).state_dict()
            ),
            "loss": torch.tensor(self.history.loss, dtype=torch.float64),
            "images_per_second": self.history.images_per_second,
            "step": self.step,
            "told": self.told,
            "order": self.order,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, thing in self.kept.items():
            thing.load_state_dict(state["kept"][name])
        self.generator.set_state(state["generator"])
        if distributed.rank() < len(state["random"]):  # more processes than there were draw anew
            random = state["random"][distributed.rank()]
            RngState.from_state_dict(random, self.device, self.own).restore()
        self.history.known[:] = state["loss"].tolist()
        self.history.images_per_second = state["images_per_second"]
        self.step, self.told, self.order = state["step"], state["told"], state["order"]

    def resume(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of this very run; warn if it is not the newest."""
        found = distributed.broadcast_result(lambda: load_checkpoint(path, set_aside=True))
        found.check(settings)
        if found.note and distributed.rank() == 0:
            warnings.warn(found.note, CheckpointWarning, stacklevel=3)
        try:
            self.load_state_dict(found.state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{found.path} holds another model or method than this run ({error})"
            ) from error


def _start_alike(model: nn.Module, settings: Mapping[str, Any]) -> None:
    """Give every process the first one's weights, or refuse processes that were told differently.

    Raises:
        ValueError: a setting, or the model's make, is not the same in all of them.
    """
    held = [*model.named_parameters(), *model.named_buffers()]
    make = "; ".join(f"{name} {list(t.shape)} {t.requires_grad}" for name, t in held)
    settings = dict(settings) | {"the model": make}
    for other, theirs in enumerate(distributed.all_gather_objects(settings)):
        for name, value in settings.items():
            if not alike(theirs[name], value):
                raise ValueError(
                    f"{name} is {value!r} in process {distributed.rank()} and {theirs[name]!r} in "
                    f"process {other}; fit needs the same arguments in each"
                )
    distributed.broadcast([*model.parameters(), *model.buffers()])


@contextmanager
def _autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute matrix products and convolutions in a precision within this context or function.

    The backward pass of `fit` stands outside, as PyTorch advises: each operation's gradient has
    the type that the operation ran in.
    """
    dtype = PRECISIONS[precision]
    with nullcontext() if dtype is None else torch.autocast(device.type, dtype):
        yield


@contextmanager
def _compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Let calls of the model run compiled within this context, if wanted.

    A `MetaMask` calls the parts of its model. Its heads stay as they are, for compiled code cannot
    be differentiated twice; the meta step sees the encoder as it is too (`uncompiled`).

    Raises:
        ValueError: the compiler fails.
    """
    if not wanted:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    part = model["encoder"] if isinstance(model, nn.ModuleDict) and "encoder" in model else model
    before = part._compiled_call_impl  # what `Module.compile` sets, and all that it sets
    part.compile(dynamic=False)  # each batch of a run has the same shape
    try:
        yield
    except TorchDynamoException as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"torch.compile cannot compile this model here ({reason}); it needs a C++ compiler "
            "(g++, or the one that CXX names) and on a GPU Triton. Install what is missing, or "
            "leave compile out"
        ) from error
    finally:
        part._compiled_call_impl = before


def _bar(total: int, begun: int, quiet: bool) -> tqdm:
    """Return a progress bar that is drawn once a second.

    In a notebook each drawing is several messages, and a client that does not read them while a
    cell runs (nbval, nbconvert) loses what comes after the first two thousand.
    """
    return tqdm(
        total=total, initial=begun, disable=quiet, unit="step", leave=False, mininterval=1.0
    )


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Return the factor on the learning rate: a linear rise, then a half cosine down to 0.

    Args:
        step: 0 to total.
        total: steps in the run.
        warmup: share of them that the rise takes.
    """
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


class _LossWatch:
    """Moves losses from the device to the history, and stops the run at one that is not finite.

    On a CPU each loss, and the gradient's length, is looked at before the step is taken. On other
    devices a look makes the host wait, so they are collected there and looked at every half
    second, after each epoch and before each checkpoint.
    """

    def __init__(self, history: History, device: torch.device) -> None:
        self.history = history
        self.waits = device.type != "cpu"
        self.pending: list[tuple[str, Tensor]] = []  # each step's loss, then its gradient's length
        self.looked = self.shown = time.perf_counter()

    def add(self, value: Tensor) -> None:
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"the loss function must return a scalar tensor, got {shape}")
        if not value.requires_grad:
            raise ValueError(
                "the loss does not depend on the model: was it computed under no_grad, or detached?"
            )
        self.pending.append(("loss", value.detach().reshape(())))
        if not self.waits or time.perf_counter() - self.looked > REFRESH:
            self.look()

    def add_gradients(self, gradients: list[Tensor]) -> None:
        if not gradients:
            raise ValueError("the loss does not depend on the weights that are to be trained")
        self.pending.append(("gradient", _length(gradients)))
        if not self.waits:
            self.look()

    def due(self) -> bool:
        """Whether it is time to show the loss again."""
        if not self.history.known or time.perf_counter() - self.shown < REFRESH:
            return False
        self.shown = time.perf_counter()
        return True

    def look(self) -> None:
        if not self.pending:
            return
        kinds, tensors = zip(*self.pending, strict=True)
        self.pending.clear()
        self.looked = time.perf_counter()
        for kind, value in zip(kinds, torch.stack(tensors).float().tolist(), strict=True):
            finite = math.isfinite(value)
            if kind == "loss" and finite:
                self.history.known.append(value)
            elif kind == "loss":
                _give_up(f"the loss at step {len(self.history.known) + 1} is {value}")
            elif not finite:
                step = len(self.history.known)
                _give_up(
                    f"the loss at step {step} is finite, but the length of its gradient is {value}"
                )


def _give_up(what: str) -> None:
    raise TrainingError(
        f"{what}; a lower learning_rate, a longer warmup or a higher temperature may help, and so "
        "may a look at the images"
    )


def _check_weights(parameters: list[nn.Parameter], step: int) -> None:
    """Raise a TrainingError if a weight is NaN or infinite: such weights are never kept."""
    length = _length([p.detach() for p in parameters]).item()
    if not math.isfinite(length):
        _give_up(f"the length of the weights after step {step} is {length}")


def _length(tensors: list[Tensor]) -> Tensor:
    """Return the norm of all entries: NaN if one is; in float32 it overflows where AdamW does."""
    return nn.utils.get_total_norm(tensors).detach()


@contextmanager
def _of_step(step: int) -> Iterator[None]:
    """Say in which step a projection was not finite."""
    try:
        yield
    except NotFiniteError as error:
        raise TrainingError(f"step {step}: {error}") from error


def _check_parts(model, loss, images, history, **hooks) -> None:
    checks.module("model", model)
    checks.function("loss", loss, "a function of model, batch and generator")
    checks.instance("images", images, ImageSet, "an ImageSet, as load returns")
    for name, hook in hooks.items():
        if hook is not None:
            checks.function(name, hook, "a function or None")
    if history is not None:
        checks.instance("history", history, History, "a History or None")


def _check_named(keep, description) -> None:
    for name, value in (("keep", keep), ("description", description)):
        if value is not None:
            checks.instance(name, value, Mapping, "a dictionary by name, or None")
    for name, thing in (keep or {}).items():
        if not all(hasattr(thing, one) for one in ("state_dict", "load_state_dict")):
            raise checks.wrong(
                f"keep[{name!r}]", "a thing with state_dict and load_state_dict", thing
            )


def _whole_numbers(images, epochs, batch_size, seed) -> tuple[int, int, int]:
    return (
        checks.whole("epochs", epochs, 1),
        checks.whole("batch_size", batch_size, 2, len(images)),
        checks.seed(seed),
    )


def _rates(learning_rate, weight_decay, warmup) -> tuple[float, float, float]:
    return (
        checks.real("learning_rate", learning_rate, above=0, most=MOST),
        checks.real("weight_decay", weight_decay, least=0, most=MOST),
        checks.real("warmup", warmup, least=0, below=1),
    )


def _check_checkpoint(
    path: str | Path | None, every: int | None, resume: bool
) -> tuple[Path | None, int | None]:
    checks.flag("resume", resume)
    if every is not None:
        every = checks.whole("checkpoint_every", every, 1)
    if path is None:
        if resume or every is not None:
            raise ValueError("resume and checkpoint_every need checkpoint, the file to keep")
        return None, None
    path = checks.path("checkpoint", path)
    if path.is_dir():
        raise ValueError(f"checkpoint {path} is a folder; name a file in it, such as last.pt")
    return path, every


def _claim(stack: ExitStack, path: str | Path, resume: bool) -> bool:
    """Keep a checkpoint's place to this run, and return if there is one to go on from.

    Raises:
        CheckpointError: another run is writing there, or there is one and `resume` is False.
    """
    stack.enter_context(alone(path))
    there = exists(path)
    if there and not resume:
        raise CheckpointError(
            f"there is a checkpoint at {path} already; resume=True goes on from it, another path "
            "starts another run"
        )
    return there


def _fingerprint(images: ImageSet) -> str:
    """Return the images' name, number, shape and checksum: what a run may be resumed on.

    In pieces, so that images that lie in a file stay there.
    """
    shape = "×".join(str(n) for n in images.images.shape)
    checksum = 0
    rows = max(1, PIECE // max(1, images.images[:1].numel()))
    for piece in images.images.split(rows):
        checksum = zlib.crc32(piece.cpu().contiguous().numpy(), checksum)
    return f"{images.name} {shape} {checksum:08x}"
