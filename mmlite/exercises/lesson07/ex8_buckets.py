"""Exercise 07.8, an open one: gradients sent while the backward pass still goes on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import draw_between
from mmlite.exercises.open_ended import UNREADABLE, explaining

ENOUGH = 1.2  # how many times the best time is good enough


def buckets(sizes: Tensor, ready: Tensor, latency: float, bandwidth: float) -> Tensor:
    """Return the bucket [M] of each gradient: what is there when the link is free goes together.

    Args:
        sizes: bytes of each gradient in the order in which the backward pass makes them, [M].
        ready: the seconds at which they are there, rising, [M].
        latency: seconds that each message takes, however short.
        bandwidth: bytes a second.
    """
    bucket = torch.zeros(len(sizes), dtype=torch.int64, device=sizes.device)
    free, first, number = 0.0, 0, 0
    while first < len(sizes):
        start = max(free, float(ready[first]))
        last = int((ready <= start).sum())  # the first that is not there yet
        bucket[first:last] = number
        free = start + latency + float(sizes[first:last].sum()) / bandwidth
        first, number = last, number + 1
    return bucket


def finished(bucket: Tensor, sizes: Tensor, ready: Tensor, latency: float, bandwidth: float):
    """Return the seconds at which the last message is through; one goes after the other."""
    free = 0.0
    for number in bucket.unique_consecutive().tolist():
        of_it = bucket == number
        start = max(free, float(ready[of_it].max()))
        free = start + latency + float(sizes[of_it].sum()) / bandwidth
    return free


def best(sizes: Tensor, ready: Tensor, latency: float, bandwidth: float) -> float:
    """Return the least seconds that any buckets take, by dynamic programming over the last one."""
    total = [0.0, *sizes.cumsum(0).tolist()]
    times = ready.tolist()
    done = [0.0]
    for end in range(1, len(times) + 1):
        done.append(
            min(
                max(done[first], times[end - 1]) + latency + (total[end] - total[first]) / bandwidth
                for first in range(end)
            )
        )
    return done[-1]


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float, float]:
    """Return gradients whose sizes differ widely, and a link whose latency counts."""
    sizes = (3 * torch.randn(size, generator=generator)).clamp(-4, 4).exp()
    sizes = 1000 + 20e6 * sizes / sizes.sum()
    ready = (0.2 + torch.rand(size, generator=generator)).cumsum(0)
    seconds = draw_between(generator, 0.015, 0.025)  # of the backward pass
    ready = ready * seconds / ready[-1]
    bandwidth = float(sizes.sum()) / (seconds * draw_between(generator, 0.6, 0.9))
    return sizes.round(), ready, seconds / 40, bandwidth


def observe(function: Callable[..., Any], *case) -> Tensor:
    """Return how many times the best time an answer takes, or `ENOUGH` if it takes less."""
    sizes = case[0]
    bucket = function(*case)
    if (
        not isinstance(bucket, Tensor)
        or bucket.is_meta
        or bucket.shape != sizes.shape
        or bucket.is_floating_point()
        or bucket.is_complex()
        or bool((bucket[1:].long() < bucket[:-1].long()).any())
    ):
        return torch.tensor(UNREADABLE)
    taken = finished(bucket.to(sizes.device).long(), *case)
    return torch.tensor(max(ENOUGH, taken / best(*case)), dtype=torch.float64)


exercise = Exercise(
    id="07.8",
    title="messages on the way",
    points=3,
    minutes=30,
    difficulty=4,
    function="my_buckets",
    reference=buckets,
    home="mmlite.exercises.lesson07.buckets",
    draw=draw,
    sizes=(80,),
    hidden_sizes=(60, 120),
    tolerance=1e-6,
    why_tolerance="what is compared is a ratio of times, cut off at what is asked for",
    observe=observe,
    explain=explaining(
        ENOUGH,
        "the last message is through after {reached:.2f} times the least time, and {enough} is "
        "asked for. What does the link do while the backward pass goes on? How often do you pay "
        "the latency?",
        "it must return whole numbers [M], one for each gradient, that never fall: gradients go "
        "in the order in which they are made",
    ),
)


@exercise.mistake(
    "each by itself",
    "each gradient goes by itself, and each pays the latency: send several at once.",
)
def _each_by_itself(sizes, ready, latency, bandwidth):
    return torch.arange(len(sizes), device=sizes.device)


@exercise.mistake(
    "all at the end",
    "all go together, so the link has nothing to do until the backward pass has ended: begin "
    "while it goes on.",
)
def _all_at_the_end(sizes, ready, latency, bandwidth):
    return torch.zeros_like(sizes, dtype=torch.int64)


@exercise.mistake(
    "two at a time",
    "two at a time still pay the latency dozens of times: let more of them go together.",
)
def _two_at_a_time(sizes, ready, latency, bandwidth):
    return torch.arange(len(sizes), device=sizes.device) // 2
