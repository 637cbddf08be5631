"""The training loop that every lesson shares.

`fit` keeps the whole data set on the model's device (or loads it, batch by batch), draws batches
and views there from one seeded generator, and leaves to `loss` what is learned:

    def simclr(model, images, generator):
        x1, x2 = views(images, generator)
        z1, z2 = model(torch.cat([x1, x2])).chunk(2)
        return nt_xent(z1, z2)

    fit(nn.Sequential(encoder, head), simclr, train, epochs=8)

With `checkpoint=Checkpointing(path, resume=True)` a run that is killed at any moment goes on from
the last file, and on a CPU ends with the weights, bit by bit, of one that was never stopped.

Within `mmlite.distributed.process_group` the same call, made by every process, trains one model on
batches of which each process takes a share: with BatchNorms that are synchronized
(`mmlite.distributed.convert_sync_batchnorm`) to the weights of one process alone, up to rounding.

While `fit` runs on a CPU, what a step frees stays with the process (`mmlite.training.memory`).

`precision="bfloat16"` is for a GPU with tensor cores, or a CPU with bfloat16 units; `compile=True`
is for long runs: the first step waits for the compiler.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mmlite import distributed
from mmlite.support import checks
from mmlite.training.arguments import (
    Checkpointing,
    Hooks,
    Settings,
    check_parts,
    check_together,
)
from mmlite.training.batches import Images, batches_of
from mmlite.training.history import History
from mmlite.training.optimizers import (
    LEARNING_RATE,
    WARMUP,
    WEIGHT_DECAY,
    MakeOptimizer,
    MakeSchedule,
    Updates,
)
from mmlite.training.run import Loss, TrainingRun
from mmlite.training.watch import in_step


def fit(
    model: nn.Module,
    loss: Loss,
    images: Images,
    *,
    epochs: int,
    batch_size: int | None = None,
    accumulate: int = 1,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = WEIGHT_DECAY,
    warmup: float = WARMUP,
    clip_norm: float | None = None,
    optimizer: MakeOptimizer | None = None,
    schedule: MakeSchedule | None = None,
    seed: int = 0,
    before_step: Callable[[torch.optim.Optimizer], None] | None = None,
    after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
    progress: bool | str = True,
    history: History | None = None,
    checkpoint: Checkpointing | None = None,
    description: Mapping[str, Any] | None = None,
    precision: str = "float32",
    compile: bool = False,
) -> History:
    """Train `model` in place on `images`; by default with AdamW, a warm-up and a cosine.

    Args:
        model: what is trained; it stays on its device, and the images are moved there.
        loss: called as loss(model, batch uint8 [B, C, H, W], generator) -> scalar. The generator
            is on the CPU, so that a seed draws the same views on every device. Of several
            processes each calls it with its share of the batch, within `distributed.sharded_batch`.
        images: the training images; their labels are not used. An `ImageSet`, held on the model's
            device; a map-style data set, whose images [C, H, W] are loaded batch by batch; or a
            `DataLoader`, for worker processes. One with shuffle=True shuffles as `fit` does; any
            other is taken as it is, batch by batch, by one process.
        epochs: passes over the images. Each takes full batches only, in a new random order.
        batch_size: B (256), at most the number of images; of all processes together. A loader has
            its own.
        accumulate: take each batch in so many equal parts, one after the other, and step along the
            mean of their gradients: less memory. What compares images (negatives, BatchNorm,
            cross-correlation) sees one part at a time.
        learning_rate: AdamW's, at its peak (2e-3).
        weight_decay: AdamW's (1e-4).
        warmup: share of the steps (0.1) over which the learning rate rises from 0; then it falls to
            0 along a cosine.
        clip_norm: the greatest length of the gradient of all parameters together; a longer one is
            cut to it before the step. By default none is.
        optimizer: makes another optimizer than AdamW of the list of the model's parameters, for
            instance lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9), or of
            groups (`mmlite.training.parameter_groups`). Its numbers are its own.
        schedule: makes another schedule of the optimizer and the number of steps, for instance
            torch.optim.lr_scheduler.CosineAnnealingLR. Its step() is called after each batch.
        seed: seeds the order of the images and, through the generator, the views. The model's
            first weights are the caller's (`torch.manual_seed` before building it).
        before_step: called with the optimizer when the gradients are there (`mmlite.metamask`).
        after_step: called with the optimizer when its step is taken.
        on_epoch: called with the number of epochs done after each of them, in every process. It
            ends the run by raising `mmlite.training.StopTraining`, and resuming leaves it ended.
        progress: show a progress bar with the loss and images per second, in the first process;
            a string is its title.
        history: an empty one to fill in, for `on_epoch` to look at.
        checkpoint: the file that the run is saved in and goes on from, a `Checkpointing`.
        description: what else tells this run from others; a checkpoint of another is refused.
        precision: what loss and hooks compute in: "float32", or "bfloat16" by autocast. Weights,
            the optimizer's state and the loss are float32 either way.
        compile: let torch.compile compile `model` (of a `MetaMask`'s model the encoder) for this
            run; the module and its state_dict stay as they are. Losses agree up to rounding.

    Returns:
        The history of the run.

    Raises:
        ValueError: an argument is out of its range or another than in another process, or
            torch.compile does not work here.
        CheckpointError: the checkpoint is damaged, another run's, written by another run at this
            moment or cannot be written; or it is there and its `resume` is False.
        TrainingError: an image cannot be loaded; or the loss, what it is computed from, its
            gradient or a weight is NaN or infinite; the message names the step. No checkpoint holds
            such weights, and on a CPU the model keeps those of the last step whose loss and
            gradient were finite.
        ProcessError: another process has stopped, or does not answer.

    Example:
        >>> views = mmlite.TwoViews()
        >>> def simclr(model, batch, generator):
        ...     x1, x2 = views(batch, generator)
        ...     return mmlite.nt_xent(*model(torch.cat([x1, x2])).chunk(2))
        >>> model = nn.Sequential(mmlite.small_conv(1, 16), mmlite.projector(16, 16, 8))
        >>> images = mmlite.load("fashion", "train", size=64)
        >>> mmlite.fit(model, simclr, images, epochs=2, batch_size=32, progress=False)
        History(4 steps...)
    """
    check_parts(model, loss, history, checkpoint, description)
    hooks = Hooks(before_step, after_step, on_epoch)
    if not isinstance(progress, str):
        checks.flag("progress", progress)
    settings = Settings(
        batches=batches_of(images, batch_size),
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=warmup,
        seed=seed,
        precision=precision,
        compile=compile,
        accumulate=accumulate,
        clip_norm=clip_norm,
    )
    check_together(settings, hooks, checkpoint)
    updates = Updates(optimizer, schedule, *settings.rates)
    history = History() if history is None else history
    run = TrainingRun(model, loss, settings, updates, hooks, checkpoint, history, description)
    state, watch = run.state, run.watch
    with run.going(progress):
        while state.step < settings.steps and not state.stopped:
            for parts in run.rest_of_epoch():
                with run.whole_batch(), in_step(state.step + 1):
                    run.optimizer.zero_grad(set_to_none=True)
                    for part in parts:
                        value = run.loss(model, part, state.generator)
                        watch.add(value, len(parts))
                        (value / len(parts)).backward()
                    distributed.average_gradients(run.trained())
                    run.clip(watch.add_gradients(run.gradients()))
                    run.call(run.hooks.before_step, run.optimizer)
                    run.optimizer.step()
                    run.call(run.hooks.after_step, run.optimizer)
                run.end_step()
            run.end_epoch()
    return run.history
