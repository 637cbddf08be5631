"""The exercises of lesson 07: operations and bytes, a profile, rounding, and several processes."""

import torch
from torch import Generator, Tensor

from mmlite.exercises import Exercise, Mistake
from mmlite.experiments import costs
from mmlite.experiments.costs import NUMBER, Cost, Limits


def _whole(generator: Generator, low: int, high: int) -> int:
    """Return a whole number from low to high."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _between(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


# 07.1 the intensity of a convolution ---------------------------------------------------------


def intensity(
    images: int, channels_in: int, channels_out: int, height: int, width: int, stride: int
) -> float:
    """Return the operations per byte of a 3 × 3 convolution with padding 1, in float32."""
    shape = (images, channels_in, channels_out, height, width)
    return costs.convolution_cost(*shape, kernel=3, stride=stride).intensity


def _draw_convolution(generator: Generator, size: int) -> tuple[int, ...]:
    # few images, so that weights count; strides of 2 and 3 in turn, so that they do too
    side = _whole(generator, 4, 9)
    channels = _whole(generator, 3, 5), _whole(generator, 6, 9)
    return size, *channels, side, side + _whole(generator, 1, 3), 2 + size % 2


def _counted(images, channels_in, channels_out, height, width, stride) -> tuple[float, list[int]]:
    """Return the operations, and the numbers of input, weights and result."""
    out = ((height - 1) // stride + 1) * ((width - 1) // stride + 1)
    numbers = [
        images * channels_in * height * width,
        9 * channels_in * channels_out,
        images * channels_out * out,
    ]
    return 2.0 * numbers[2] * 9 * channels_in, numbers


def _one_for_both(*shape):
    return intensity(*shape) / 2


def _without_weights(*shape):
    flops, (given, _, results) = _counted(*shape)
    return flops / (NUMBER * (given + results))


def _without_result(*shape):
    flops, (given, weights, _) = _counted(*shape)
    return flops / (NUMBER * (given + weights))


def _a_number(*shape):
    return intensity(*shape) * NUMBER


def _stride_forgotten(*shape):
    return intensity(*shape[:-1], 1)


def _one_channel(*shape):
    return intensity(*shape) / shape[1]


# 07.2 the roofline ---------------------------------------------------------------------------


def least_seconds(flops: float, moved: float, peak: float, bandwidth: float) -> float:
    """Return the least seconds of `flops` operations that move `moved` bytes."""
    return Limits(peak, bandwidth).seconds(Cost(flops, moved))


def _draw_work(generator: Generator, size: int) -> tuple[float, float, float, float]:
    seconds = _between(generator, 2, 4), _between(generator, 5, 9)
    of_flops, of_bytes = seconds if size % 2 else seconds[::-1]
    peak, bandwidth = _between(generator, 2e9, 4e9), _between(generator, 1e8, 3e8)
    return of_flops * peak, of_bytes * bandwidth, peak, bandwidth


# 07.3 the self time of a profile -------------------------------------------------------------


def self_time(start: Tensor, end: Tensor, parent: Tensor) -> Tensor:
    """Return each call's own seconds [E]: its duration less those of the calls it makes.

    Args:
        start, end: of each call [E].
        parent: which call made it, int64 [E]; −1 where none did.
    """
    duration = end - start
    called = parent >= 0
    of_children = torch.zeros_like(duration)
    of_children.index_add_(0, parent[called], duration[called])
    return duration - of_children


def _draw_calls(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    # one has two calls below it at least, and one has one that has one
    parent = [-1, 0, 1, _whole(generator, 0, 1)]
    parent += [_whole(generator, -1, i - 1) for i in range(4, size)]
    total = (0.5 + torch.rand(size, generator=generator)).tolist()
    for i in reversed(range(size)):
        if parent[i] >= 0:
            total[parent[i]] += total[i]
    free, start = {-1: 0.0}, []  # when a caller's next call can begin
    for i in range(size):
        start.append(free[parent[i]])
        free[parent[i]] += total[i]
        free[i] = start[i]
    begin = torch.tensor(start)
    return begin, begin + torch.tensor(total), torch.tensor(parent)


def _descendants_taken(start, end, parent):
    duration = end - start
    left = duration.clone()
    for i in range(len(duration)):
        above = int(parent[i])
        while above >= 0:
            left[above] -= duration[i]
            above = int(parent[above])
    return left


def _last_for_none(start, end, parent):
    duration = end - start
    left = duration.clone()
    for i in range(len(duration)):
        left[int(parent[i])] -= duration[i]  # −1 is the last call
    return left


def _one_child(start, end, parent):
    duration = end - start
    left = duration.clone()
    for i in range(len(duration)):
        if parent[i] >= 0:
            left[int(parent[i])] = duration[int(parent[i])] - duration[i]
    return left


# 07.4 the best step of a finite difference ---------------------------------------------------


def best_step(rounding: float, third: float) -> float:
    """Return the ε that makes rounding / ε + third · ε² / 6 least."""
    return (3 * rounding / third) ** (1 / 3)


def _draw_error(generator: Generator, size: int) -> tuple[float, float]:
    return _between(generator, 0.05, 0.2) / size, _between(generator, 2.0, 5.0)


# 07.5 the way back of a sum ------------------------------------------------------------------


def sums_gradient(gradients: Tensor) -> Tensor:
    """Return ∂(Σ_r L_r)/∂x_s [R, P] of y = Σ_s x_s, given each ∂L_r/∂y, gradients [R, P]."""
    return gradients.sum(0).expand_as(gradients).clone()


def _draw_gradients(generator: Generator, size: int) -> tuple[Tensor]:
    return (torch.randn(size, 3, generator=generator),)


# 07.6 one variance out of several ------------------------------------------------------------


def pooled_variance(counts: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Return the biased variance [C] of all values, given those of R parts.

    Args:
        counts: values in each part, float [R].
        means, variances: of each part, the variances biased too, [R, C].
    """
    share = (counts / counts.sum())[:, None]
    mean = (share * means).sum(0)
    return (share * (variances + (means - mean).square())).sum(0)


def _draw_parts(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    counts = 1.0 + torch.tensor([_whole(generator, 1, 4) for _ in range(size)]).cumsum(0)
    return (
        counts,
        2 * torch.randn(size, 3, generator=generator),
        0.5 + torch.rand(size, 3, generator=generator),
    )


def _within(counts, means, variances):
    return (counts[:, None] * variances).sum(0) / counts.sum()


def _all_alike(counts, means, variances):
    return pooled_variance(torch.ones_like(counts), means, variances)


def _unbiased(counts, means, variances):
    return pooled_variance(counts, means, variances) * counts.sum() / (counts.sum() - 1)


def _around_plain_mean(counts, means, variances):
    share = (counts / counts.sum())[:, None]
    return (share * (variances + (means - means.mean(0)).square())).sum(0)


# 07.7 a ring ---------------------------------------------------------------------------------


def ring_seconds(message: float, processes: int, bandwidth: float, latency: float) -> float:
    """Return the seconds of a ring all-reduce: see `mmlite.experiments.costs.ring_seconds`."""
    return costs.ring_seconds(message, processes, bandwidth, latency)


def _draw_ring(generator: Generator, size: int) -> tuple[float, int, float, float]:
    bandwidth = _between(generator, 1e6, 3e6)
    message = bandwidth * _between(generator, 2, 5)
    return message, size, bandwidth, _between(generator, 0.2, 0.5)


_WHY_NUMBERS = (
    "products and quotients of a few Python floats or float32 numbers round by 1e-6 at most; the "
    "mistakes are off by more than one per cent"
)

EXERCISES = (
    Exercise(
        id="07.1",
        title="the intensity of a convolution",
        points=2,
        minutes=15,
        difficulty=2,
        function="my_intensity",
        reference=intensity,
        home="mmlite.exercises.lesson07.intensity",
        draw=_draw_convolution,
        sizes=(1, 2, 3),
        hidden_sizes=(4, 7),
        tolerance=1e-4,
        why_tolerance=_WHY_NUMBERS,
        mistakes=(
            Mistake(
                "one operation for two",
                _one_for_both,
                "a product and the addition behind it are two operations.",
            ),
            Mistake(
                "weights not read",
                _without_weights,
                "the weights have to be read too: 9 · channels_in · channels_out numbers.",
            ),
            Mistake(
                "result not written",
                _without_result,
                "the result has to be written too, and is often the largest of the three.",
            ),
            Mistake(
                "numbers for bytes", _a_number, "this is a number, not a byte: a float32 has four."
            ),
            Mistake(
                "stride forgotten",
                _stride_forgotten,
                "the result has as many pixels as the image here: a stride of s leaves every s-th "
                "row and column, (side − 1) // s + 1 of them.",
            ),
            Mistake(
                "one input channel",
                _one_channel,
                "each result is a sum over the 3 × 3 window in all input channels.",
            ),
        ),
    ),
    Exercise(
        id="07.2",
        title="the roofline",
        points=1,
        minutes=5,
        difficulty=1,
        function="my_least_seconds",
        reference=least_seconds,
        home="mmlite.exercises.lesson07.least_seconds",
        draw=_draw_work,
        sizes=(1, 2),
        hidden_sizes=(3, 4),
        tolerance=1e-5,
        why_tolerance=_WHY_NUMBERS,
        mistakes=(
            Mistake(
                "one after the other",
                lambda flops, moved, peak, bandwidth: flops / peak + moved / bandwidth,
                "this is the sum: a machine computes while it moves, so the slower of the two "
                "counts.",
            ),
            Mistake(
                "the faster one",
                lambda flops, moved, peak, bandwidth: min(flops / peak, moved / bandwidth),
                "this is the smaller of the two times: the work is done when both are.",
            ),
            Mistake(
                "operations alone",
                lambda flops, moved, peak, bandwidth: flops / peak,
                "bytes take time as well: moved / bandwidth seconds.",
            ),
            Mistake(
                "bytes alone",
                lambda flops, moved, peak, bandwidth: moved / bandwidth,
                "operations take time as well: flops / peak seconds.",
            ),
        ),
    ),
    Exercise(
        id="07.3",
        title="whose time it is",
        points=3,
        minutes=20,
        difficulty=3,
        function="my_self_time",
        reference=self_time,
        home="mmlite.exercises.lesson07.self_time",
        draw=_draw_calls,
        sizes=(4, 9),
        hidden_sizes=(40,),
        tolerance=1e-4,
        why_tolerance="float32 times up to a minute, differences of a few of them",
        mistakes=(
            Mistake(
                "total time",
                lambda start, end, parent: end - start,
                "this is the total time: what a call's own calls take is counted twice then.",
            ),
            Mistake(
                "all descendants",
                _descendants_taken,
                "calls of calls were subtracted as well, but they are inside the direct ones "
                "already.",
            ),
            Mistake(
                "−1 is the last",
                _last_for_none,
                "a parent of −1 means no caller; as an index it is the last call, which lost "
                "their time.",
            ),
            Mistake(
                "one child only",
                _one_child,
                "only one call was subtracted from each caller: sum over all that it makes.",
            ),
        ),
    ),
    Exercise(
        id="07.4",
        title="the best step of a difference",
        points=2,
        minutes=15,
        difficulty=3,
        function="my_best_step",
        reference=best_step,
        home="mmlite.exercises.lesson07.best_step",
        draw=_draw_error,
        sizes=(1, 2),
        hidden_sizes=(5, 9),
        tolerance=1e-3,
        why_tolerance="a search for the least error finds the step to about 1e-4, for it is flat "
        "there",
        mistakes=(
            Mistake(
                "a one-sided difference's",
                lambda rounding, third: 2 * (rounding / third) ** 0.5,
                "this is the best step of a one-sided difference, whose error grows with ε, not "
                "ε².",
            ),
            Mistake(
                "a factor lost",
                lambda rounding, third: (rounding / third) ** (1 / 3),
                "the power is right; set the derivative of rounding / ε + third · ε² / 6 to 0 "
                "once more: a factor is missing under the root.",
            ),
            Mistake(
                "both errors alike",
                lambda rounding, third: (6 * rounding / third) ** (1 / 3),
                "here both errors are equal; the sum is least where their slopes cancel.",
            ),
            Mistake(
                "the cube",
                lambda rounding, third: 3 * rounding / third,
                "this is ε³: take the cube root.",
            ),
        ),
    ),
    Exercise(
        id="07.5",
        title="the way back of a sum",
        points=2,
        minutes=10,
        difficulty=2,
        function="my_sums_gradient",
        reference=sums_gradient,
        home="mmlite.exercises.lesson07.sums_gradient",
        draw=_draw_gradients,
        sizes=(2, 3),
        hidden_sizes=(8,),
        tolerance=1e-5,
        why_tolerance="sums of a few float32 numbers round by about 1e-6",
        mistakes=(
            Mistake(
                "each keeps its own",
                lambda gradients: gradients.clone(),
                "this hands each process its own gradient: x_s is in every process's sum, so "
                "every process's loss depends on it.",
            ),
            Mistake(
                "a mean",
                lambda gradients: gradients.mean(0).expand_as(gradients).clone(),
                "this is the mean: the derivative of a sum is a sum.",
            ),
            Mistake(
                "own times R",
                lambda gradients: gradients * len(gradients),
                "this multiplies each process's own gradient by R, right only if all are equal.",
            ),
            Mistake(
                "the others'",
                lambda gradients: gradients.sum(0) - gradients,
                "a process's own loss depends on its x as well.",
            ),
        ),
    ),
    Exercise(
        id="07.6",
        title="one variance out of several",
        points=3,
        minutes=20,
        difficulty=3,
        function="my_pooled_variance",
        reference=pooled_variance,
        home="mmlite.exercises.lesson07.pooled_variance",
        draw=_draw_parts,
        sizes=(2, 3),
        hidden_sizes=(8,),
        tolerance=1e-4,
        why_tolerance="sums of a few dozen float32 products round by about 1e-6",
        mistakes=(
            Mistake(
                "within alone",
                _within,
                "this is the mean of the variances: that the parts' means differ adds to it.",
            ),
            Mistake(
                "parts alike",
                _all_alike,
                "each part counts alike here: weight it by its number of values.",
            ),
            Mistake(
                "a plain mean in the middle",
                _around_plain_mean,
                "the distance is taken from the mean of the means; the mean of all values weights "
                "them by their counts.",
            ),
            Mistake(
                "unbiased",
                _unbiased,
                "this is divided by one less than the count; BatchNorm normalises with the biased "
                "variance.",
            ),
        ),
    ),
    Exercise(
        id="07.7",
        title="a ring",
        points=2,
        minutes=10,
        difficulty=2,
        function="my_ring_seconds",
        reference=ring_seconds,
        home="mmlite.exercises.lesson07.ring_seconds",
        draw=_draw_ring,
        sizes=(2, 3, 8),
        hidden_sizes=(1, 64),
        tolerance=1e-4,
        why_tolerance=_WHY_NUMBERS,
        mistakes=(
            Mistake(
                "once around",
                lambda message, n, bandwidth, latency: (
                    (n - 1) * (latency + message / n / bandwidth)
                ),
                "this is once around: then each process has the sum of one piece only, and the "
                "sums have to go around as well.",
            ),
            Mistake(
                "the whole message",
                lambda message, n, bandwidth, latency: (
                    2 * (n - 1) * (latency + message / bandwidth)
                ),
                "in a round each process sends one piece, an N-th of the message.",
            ),
            Mistake(
                "no latency",
                lambda message, n, bandwidth, latency: 2 * (n - 1) * message / n / bandwidth,
                "each round costs its latency too.",
            ),
            Mistake(
                "latency once",
                lambda message, n, bandwidth, latency: (
                    latency + 2 * (n - 1) * message / n / bandwidth
                ),
                "each of the 2 (N − 1) rounds has a latency of its own.",
            ),
            Mistake(
                "a round too many",
                lambda message, n, bandwidth, latency: 2 * n * (latency + message / n / bandwidth),
                "N − 1 rounds bring a piece to everyone, not N.",
            ),
        ),
    ),
)
