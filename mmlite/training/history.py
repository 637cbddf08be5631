"""What a run of training saw."""

from collections.abc import Callable, Iterable


class History:
    """What a run of `fit` saw.

    Args:
        loss, steps_per_epoch, images_per_second: the attributes' first values.

    Attributes:
        loss: the loss of each step. While a run goes on, on a device that is not the CPU, reading
            it waits for the device.
        steps_per_epoch: steps in one epoch.
        images_per_second: images (not views) per second, over the whole run.
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
