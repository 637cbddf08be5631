"""What stands around the steps of a run: its optimizer and state, hooks, saves and progress."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmlite import distributed
from mmlite.support.progress import curve, progress_bar
from mmlite.support.rng import own_generators
from mmlite.training.arguments import Checkpointing, Hooks, Settings
from mmlite.training.checkpoints import CheckpointError, alone, exists, save_checkpoint
from mmlite.training.history import History
from mmlite.training.memory import kept_memory
from mmlite.training.modes import TrainingModes
from mmlite.training.optimizers import Updates, described
from mmlite.training.precision import autocast, compiled
from mmlite.training.state import RunState, Stateful
from mmlite.training.storable import alike, plain, to_file
from mmlite.training.watch import LossWatch, check_weights

Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]


class StopTraining(Exception):  # noqa: N818 (a wish and no fault, as StopIteration)
    """Raised by `on_epoch` to end the run here: `fit` saves the epoch and returns its history.

    Example:
        >>> def on_epoch(epoch):
        ...     if epoch >= 2:
        ...         raise mmlite.training.StopTraining
    """


class TrainingRun:
    """A run of `fit`: what its loop works on.

    Attributes:
        state: what a checkpoint keeps.
        optimizer, schedule: of this run.
        loss, hooks: in the run's precision.
        shards: how many images of a part of a batch each process takes.
        watch: over losses and gradients.

    Raises:
        ValueError: nothing is to be trained, a name is taken, there are more processes than images
            in a batch, or the processes were told differently.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        settings: Settings,
        updates: Updates,
        hooks: Hooks,
        checkpoint: Checkpointing | None,
        history: History,
        description: Mapping[str, Any] | None,
    ) -> None:
        self.model, self.settings, self.checkpoint, self.history = (
            model,
            settings,
            checkpoint,
            history,
        )
        self.shards = distributed.shard_sizes(max(1, settings.part), distributed.world_size())
        self.parameters = list(model.parameters())  # the frozen ones too: a hook may release them
        if not any(p.requires_grad for p in self.parameters):
            raise ValueError("the model has no parameters to train")
        self.device = self.parameters[0].device
        self.batches, self.updates = settings.batches, updates
        self.optimizer = updates.make_optimizer(self.parameters, self.device)
        self.groups = len(self.optimizer.param_groups)
        self.first_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.schedule = updates.make_schedule(self.optimizer, settings.steps)
        history.steps_per_epoch = self.batches.steps_per_epoch
        own: dict[str, Stateful] = {
            "model": model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        extra = dict(checkpoint.extra_state or {}) if checkpoint else {}
        if taken := sorted(own.keys() & extra.keys()):
            raise ValueError(
                f"extra_state has {taken[0]!r}, which fit saves itself; give yours another name"
            )
        self.state = RunState(
            own | extra,
            torch.Generator().manual_seed(settings.seed),
            history,
            self.device,
            own_generators(model, loss, *vars(hooks).values(), self.batches.source),
        )
        self.described = self._described(
            description or {}, described(self.optimizer, self.schedule, updates)
        )
        if distributed.world_size() > 1:
            _start_alike(model, self.described)
        self.cast = partial(autocast, self.device, settings.precision)
        self.loss = self.cast()(loss)
        before, after = (f and self.cast()(f) for f in (hooks.before_step, hooks.after_step))
        self.hooks = Hooks(before, after, hooks.on_epoch)
        self.watch = LossWatch(history, self.device)

    def _described(self, given: Mapping[str, Any], updates: dict[str, Any]) -> dict[str, Any]:
        """Return what tells this run from others."""
        read = self.checkpoint or distributed.world_size() > 1
        own = {"images": self.batches.described() if read else ""}
        own |= self.settings.described() | updates
        for name, value in given.items():
            if name in own and own[name] != value:
                raise ValueError(
                    f"description has {name!r}, which fit describes itself; give yours another name"
                )
        return plain(own | dict(given))

    def whole_batch(self) -> AbstractContextManager[None]:
        """Let losses see the batches of all processes as one."""
        return distributed.sharded_batch(self.shards)

    @contextmanager
    def going(self, progress: bool | str) -> Iterator[None]:
        """Hold a run's place, go on from its checkpoint, and undo at the end what it changed."""
        with ExitStack() as stack:
            if self.checkpoint is not None:
                self._open(stack, self.checkpoint)
            self.history.arrive = self.watch.look
            stack.callback(setattr, self.history, "arrive", None)
            self.modes = TrainingModes(self.model)
            self.begun, self.started = self.state.step, time.perf_counter()
            quiet = not progress or distributed.rank() > 0
            title = progress if isinstance(progress, str) else ""
            total = self.settings.steps
            bar = progress_bar("step", total, begun=self.begun, title=title, quiet=quiet)
            self.bar = stack.enter_context(bar)
            stack.enter_context(compiled(self.model, self.settings.compile))
            if self.device.type == "cpu":
                stack.enter_context(kept_memory())
            done = self.state.step // self.batches.steps_per_epoch
            if self.state.step and not self.state.within_epoch and self.state.told < done:
                self._tell(done)  # stopped before, or within, the call
            yield

    def _open(self, stack: ExitStack, checkpoint: Checkpointing) -> None:
        """Claim the checkpoint's place and go on from what lies there."""
        path, resume, longer = checkpoint.file, checkpoint.resume, checkpoint.longer
        there = distributed.broadcast_result(lambda: _claim(stack, path, resume))
        with self.whole_batch():
            to_file(self.state.state_dict(), "what fit saves")  # before hours are spent
        if there:
            # a `MetaMask` computes anew what a file cannot hold
            with self.whole_batch(), self.cast():
                self.state.resume(path, self.described, longer)
            if longer:
                self._restart_schedule()

    def _restart_schedule(self) -> None:
        """Let the schedule be the one of this run's length, at the step that has been reached."""
        for group, rate in zip(self.optimizer.param_groups, self.first_rates, strict=True):
            group["lr"] = rate
        self.schedule = self.updates.make_schedule(self.optimizer, self.settings.steps)
        self.state.stateful["schedule"] = self.schedule
        with warnings.catch_warnings():
            # torch's: that the schedule steps before the optimizer does, which had its steps
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for _ in range(self.state.step):
                self.schedule.step()

    def rest_of_epoch(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield this process's images of each batch of the rest of the epoch, in parts."""
        return self.batches.rest_of_epoch(self.state, self.device, self.settings.accumulate)

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that are trained at the moment: a hook may freeze or release."""
        return [p for p in self.parameters if p.requires_grad]

    def gradients(self) -> list[Tensor]:
        """Return the gradients that there are."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def clip(self, length: Tensor) -> None:
        """Cut gradients of a length to the greatest that is wanted."""
        if (most := self.settings.clip_norm) is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, most, length)

    def call(self, hook: Callable[[Any], None] | None, argument: Any) -> None:
        """Call a hook, if there is one.

        Raises:
            ValueError: it gave the optimizer parameters that the run does not know.
        """
        if hook is None:
            return
        hook(argument)
        self.modes.settle()
        if len(self.optimizer.param_groups) > self.groups:
            raise ValueError(
                "a hook added a parameter group to fit's optimizer, whose schedule and checkpoint "
                "do not know it; let the model hold all that is to be trained before fit begins"
            )

    def end_step(self) -> None:
        """Count a step, show it, and save where the caller wants that within an epoch."""
        self.schedule.step()
        self.state.step += 1
        self.bar.update()
        if self.watch.due():
            known = self.history.known
            shown = f"loss {known[-1]:.3f} {curve(known)}, {self._rate():,.0f} images/s"
            self.bar.set_postfix_str(shown, refresh=False)
        every = self.checkpoint and self.checkpoint.every
        if every and self.state.step % every == 0 and self.state.within_epoch:
            self._look()
            self._save()

    def end_epoch(self) -> None:
        """Check and save an epoch, and tell of it."""
        self._look()
        # BatchNorms that are not synchronized have each seen the images of one process. `data`,
        # because a graph that waits for its meta step holds the buffers, but does not read them
        distributed.all_reduce_mean([b.data for b in self.model.buffers() if b.is_floating_point()])
        self.history.images_per_second = self._rate()
        self._tell(self.state.step // self.batches.steps_per_epoch)

    def _rate(self) -> float:
        """Return the images per second of this sitting."""
        images = (self.state.step - self.begun) * self.batches.batch_size
        return images / (time.perf_counter() - self.started)

    def _look(self) -> None:
        """Stop the run here if a loss, a gradient or a weight is not finite."""
        self.watch.look()
        check_weights(self.trained(), self.state.step)

    def _tell(self, epoch: int) -> None:
        """Call on_epoch. What it breaks, or a stop within it, costs nothing of the epoch."""
        if self.hooks.on_epoch is not None:
            self._save()
            try:
                self.call(self.hooks.on_epoch, epoch)
            except StopTraining:
                self.state.stopped = True
            # one process that stops would leave the others waiting
            self.state.stopped = any(distributed.all_gather_objects(self.state.stopped))
        self.state.told = epoch
        self._save()

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        with self.whole_batch():
            state = self.state.state_dict()
        if distributed.rank() == 0:
            save_checkpoint(self.checkpoint.file, state, self.described)


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
