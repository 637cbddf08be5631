"""What a training step costs: operations, bytes moved, bytes exchanged, and the time they need.

Two numbers of a machine, operations per second and bytes per second, bound the time of every layer:
the roofline (Williams, Waterman & Patterson 2009). Two more, seconds per round and bytes per second
between processes, bound that of an exchange. `MachineLimits.seconds` and `ring_seconds` are
predictions, the least that this arithmetic allows; `measure_limits`, `layer_times` and
`profile_calls` measure.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mmlite.support import checks

NUMBER = 4  # bytes of a float32


class Cost(NamedTuple):
    """Floating-point operations (a multiply-add is two) and bytes read and written."""

    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.flops / self.bytes


class MachineLimits(NamedTuple):
    """What a machine can do at most: floating-point operations and bytes per second."""

    flops_per_second: float
    bytes_per_second: float

    @property
    def ridge(self) -> float:
        """The intensity at which both limits take the same time, in operations per byte."""
        return self.flops_per_second / self.bytes_per_second

    def attainable(self, intensity: float) -> float:
        """Return the operations per second that work of this intensity can reach at most."""
        return min(self.flops_per_second, intensity * self.bytes_per_second)

    def seconds(self, cost: Cost) -> float:
        """Return the least seconds that work of this cost can take."""
        return max(cost.flops / self.flops_per_second, cost.bytes / self.bytes_per_second)


def convolution_cost(
    images: int,
    channels_in: int,
    channels_out: int,
    height: int,
    width: int,
    kernel: int = 3,
    stride: int = 1,
) -> Cost:
    """Return the cost of a forward convolution with padding kernel // 2, in float32.

    Each of the images · channels_out · H′ · W′ results is a sum of channels_in · kernel² products.
    Input, weights and result are each moved once.

    Raises:
        ValueError: a size is no whole number of at least 1.
    """
    sizes = {"images": images, "channels_in": channels_in, "channels_out": channels_out}
    sizes |= {"height": height, "width": width, "kernel": kernel, "stride": stride}
    images, channels_in, channels_out, height, width, kernel, stride = (
        checks.whole(name, size, 1) for name, size in sizes.items()
    )
    out = [(side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (height, width)]
    results = images * channels_out * out[0] * out[1]
    weights = channels_out * channels_in * kernel**2
    moved = images * channels_in * height * width + weights + results
    return Cost(2.0 * results * channels_in * kernel**2, float(NUMBER * moved))


def layer_cost(layer: nn.Module, x: Tensor, y: Tensor) -> Cost | None:
    """Return the cost of y = layer(x), forwards and in training, or None for an unknown layer.

    Convolutions and linear layers move input, weights and result once. A BatchNorm reads its input
    twice, for the moments and to normalize, and writes once; three operations a number for the
    moments and two to normalize. A ReLU reads and writes, one operation a number.
    """
    checks.module("layer", layer)
    checks.tensor("x", x)
    checks.tensor("y", y)
    size = x.element_size()
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        products = layer.weight[0].numel()  # in each result
        moved = x.numel() + layer.weight.numel() + y.numel()
        return Cost(2.0 * y.numel() * products, float(size * moved))
    if isinstance(layer, _BatchNorm):
        return Cost(5.0 * x.numel(), 3.0 * size * x.numel())
    if isinstance(layer, nn.ReLU):
        return Cost(1.0 * x.numel(), 2.0 * size * x.numel())
    return None


class LayerTime(NamedTuple):
    """A layer's name and kind, its cost, and the seconds of one forward call."""

    name: str
    kind: str
    cost: Cost
    seconds: float


@torch.no_grad()
def layer_times(module: nn.Module, x: Tensor, repeats: int = 5) -> list[LayerTime]:
    """Return what each known layer in `module` costs and takes forwards, in the order of calls.

    Each layer is called again alone, several times in a row, on the input that it has in module(x);
    the median counts. So a small layer finds its numbers in a cache, as in training it may not.
    Running statistics move as in any forward pass. On CUDA convolutions are held to float32.

    Raises:
        ValueError: `repeats` is below 1.
    """
    checks.module("module", module)
    checks.tensor("x", x)
    repeats = checks.whole("repeats", repeats, 1)
    calls: list[tuple[str, nn.Module, Tensor]] = []

    def note(layer: nn.Module, given: tuple, named: dict, name: str) -> None:
        (x,) = [*given, *named.values()]
        calls.append((name, layer, x.clone()))  # a copy, because a ReLU works in place

    hooks = [
        layer.register_forward_pre_hook(partial(note, name=name), with_kwargs=True)
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear, _BatchNorm, nn.ReLU))
    ]
    try:
        module(x)
    finally:
        for hook in hooks:
            hook.remove()
    found = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for name, layer, given in calls:
            cost = layer_cost(layer, given, layer(given.clone()))
            assert cost is not None  # each of the layers that were hooked has one
            seconds = _median_seconds(partial(layer, given), repeats, x.device)
            found.append(LayerTime(name, type(layer).__name__, cost, seconds))
    return found


class Calls(NamedTuple):
    """What a profiler saw: operations, and which of them called which.

    Attributes:
        names: of the operations, E of them.
        start, end: seconds since the first began, float64 [E].
        parent: the place of the operation that made the call, int64 [E]; −1 where none did.
    """

    names: list[str]
    start: Tensor
    end: Tensor
    parent: Tensor


def profile_calls(run: Callable[[], object]) -> Calls:
    """Return the operations that run() calls on the CPU, as `torch.profiler` sees them.

    Of the thread of the first one: on a CPU that is forward and backward pass alike.

    Raises:
        ValueError: it calls none.
    """
    checks.function("run", run)
    with ExitStack() as stack:
        with _quiet_stderr():
            trace = stack.enter_context(profile(activities=[ProfilerActivity.CPU]))
        run()
        with _quiet_stderr():
            stack.close()
    if not trace.events():
        raise ValueError("run() called no operation of torch, so there is nothing to profile")
    events = [event for event in trace.events() if event.thread == trace.events()[0].thread]
    place = {id(event): i for i, event in enumerate(events)}
    times = [(event.time_range.start, event.time_range.end) for event in events]
    start, end = torch.tensor(times, dtype=torch.float64).T / 1e6  # from microseconds
    parent = torch.tensor([place.get(id(event.cpu_parent), -1) for event in events])
    return Calls([event.name for event in events], start - start[0], end - start[0], parent)


def count_flops(run: Callable[[], object]) -> int:
    """Return the operations of all matrix products and convolutions in one call of a function.

    Backward passes within the call count too. In forward mode an operand without a tangent counts
    as if its tangent were zeros. The number is the same on every machine: how long the operations
    take is another question.

    Args:
        run: called once, without arguments.

    Raises:
        ValueError: `run` is not a function.

    Example:
        >>> count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
        48
    """
    checks.function("run", run, "a function without arguments")
    with _FlopCount() as count:
        run()
    return count.flops


class _FlopCount(TorchDispatchMode):
    """Adds up the operations of each kernel that torch has a formula for.

    PyTorch's own `FlopCounterMode` also follows modules by hooks, which fail where part of a graph
    is differentiated, as the meta-gradient does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = kernel(*args, **kwargs)
        formula = flop_registry.get(kernel._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        return result


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep the profiler's library from reporting on itself, which it does past Python."""
    sys.stderr.flush()
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def measure_limits(device: torch.device | str = "cpu", repeats: int = 5) -> MachineLimits:
    """Measure a machine's limits: a float32 matrix product, and a copy larger than most caches.

    What PyTorch reaches at best of several, not the maker's figure.

    Raises:
        ValueError: there is no such device, or `repeats` is below 1.
    """
    device, repeats = checks.device("device", device), checks.whole("repeats", repeats, 1)
    side, numbers = (2048, 2**25) if device.type == "cpu" else (8192, 2**28)
    a, b = torch.rand(2, side, side, device=device)
    source = torch.rand(numbers, device=device)
    target = torch.empty_like(source)
    product = _least_seconds(lambda: a @ b, repeats, device)
    copy = _least_seconds(lambda: target.copy_(source), repeats, device)
    return MachineLimits(2.0 * side**3 / product, 2.0 * NUMBER * numbers / copy)


def ring_seconds(message: float, processes: int, bytes_per_second: float, latency: float) -> float:
    """Return the seconds of a ring all-reduce (Patarasuk & Yuan 2009).

    The message is cut into as many pieces as there are processes. In N − 1 rounds each piece goes
    around and is summed on its way, in N − 1 more the sums go around; in each round every process
    sends one piece to its neighbor.

    Args:
        message: bytes of the tensor that is summed.
        processes: N.
        bytes_per_second: between neighbors, one way.
        latency: seconds that a round takes before its first byte.

    Raises:
        ValueError: a number is out of its range: there is no process, say, or no bandwidth.
    """
    message = checks.real("message", message, least=0)
    processes = checks.whole("processes", processes, 1)
    bytes_per_second = checks.real("bytes_per_second", bytes_per_second, above=0, finite=False)
    latency = checks.real("latency", latency, least=0)
    rounds = 2 * (processes - 1)
    return rounds * (latency + message / processes / bytes_per_second)


def exchanges(
    processes: int, batch: int, projection: int, parameters: int, norms: Sequence[int]
) -> dict[str, list[int]]:
    """Return the bytes of each all-reduce in a joint training step of `mmlite.fit`, by its cause.

    NT-Xent hands all projections of both views to all processes and sums the loss; Barlow Twins
    sums each view's greatest entries, means and deviations, the diagonal of C, and C itself; a
    synchronized BatchNorm sends each process's means and variances. All but the greatest entries
    have a message of the same size on the way back. The parameters' gradients go once, together,
    with a number for each parameter that says whether it has one.

    Args:
        processes: N.
        batch: B, images of all processes.
        projection: P.
        parameters: how many numbers are trained; for each bias and weight matrix one more, which
            is little.
        norms: the channels C of each synchronized BatchNorm.

    Raises:
        ValueError: a number is out of its range.
    """
    processes, batch = checks.whole("processes", processes, 1), checks.whole("batch", batch, 1)
    projection = checks.whole("projection", projection, 1)
    parameters = checks.whole("parameters", parameters, 0)
    if isinstance(norms, str) or not isinstance(norms, Sequence):
        raise checks.wrong("norms", "a list of numbers of channels", norms)
    norms = [checks.whole(f"norms[{i}]", channels, 1) for i, channels in enumerate(norms)]
    numbers = {
        "NT-Xent": [batch * projection] * 4 + [1] * 2,
        "Barlow Twins": [projection] * 12 + [projection**2] * 2,
        "BatchNorm": [processes * 2 * channels for channels in norms] * 2,
        "gradients": [parameters],
    }
    return {cause: [NUMBER * n for n in sizes] for cause, sizes in numbers.items()}


def _median_seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    return sorted(_seconds(run, repeats, device))[repeats // 2]


def _least_seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    return min(_seconds(run, repeats, device))


def _seconds(run: Callable[[], object], repeats: int, device: torch.device) -> list[float]:
    """Return the seconds of a call, several times, after one time that does not count."""
    in_a_row = 1 if device.type == "cpu" else 20  # a GPU is only busy with many that wait for it
    seconds = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        for _ in range(in_a_row):
            run()
        _wait(device)
        seconds.append((time.perf_counter() - started) / in_a_row)
    return seconds[1:]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
