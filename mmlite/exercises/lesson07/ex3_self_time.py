"""Exercise 07.3: whose time it is."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import draw_whole


def self_time(start: Tensor, end: Tensor, parent: Tensor) -> Tensor:
    """Return each call's own seconds [E]: its duration less those of the calls it makes.

    Args:
        start: when each call began [E].
        end: when it ended [E].
        parent: which call made it, int64 [E]; −1 where none did.
    """
    duration = end - start
    called = parent >= 0
    of_children = torch.zeros_like(duration)
    of_children.index_add_(0, parent[called], duration[called])
    return duration - of_children


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    # one has two calls below it at least, and one has one that has one
    parent = [-1, 0, 1, draw_whole(generator, 0, 1)]
    parent += [draw_whole(generator, -1, i - 1) for i in range(4, size)]
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


exercise = Exercise(
    id="07.3",
    title="whose time it is",
    points=3,
    minutes=20,
    difficulty=3,
    function="my_self_time",
    reference=self_time,
    home="mmlite.exercises.lesson07.self_time",
    draw=draw,
    sizes=(4, 9),
    hidden_sizes=(40,),
    tolerance=1e-4,
    why_tolerance="float32 times up to a minute, differences of a few of them",
)


@exercise.mistake(
    "total time", "this is the total time: what a call's own calls take is counted twice then."
)
def _total_time(start, end, parent):
    return end - start


@exercise.mistake(
    "all descendants",
    "calls of calls were subtracted as well, but they are inside the direct ones already.",
)
def _descendants_taken(start, end, parent):
    duration = end - start
    left = duration.clone()
    for i in range(len(duration)):
        above = int(parent[i])
        while above >= 0:
            left[above] -= duration[i]
            above = int(parent[above])
    return left


@exercise.mistake(
    "−1 is the last",
    "a parent of −1 means no caller; as an index it is the last call, which lost their time.",
)
def _last_for_none(start, end, parent):
    duration = end - start
    left = duration.clone()
    for i in range(len(duration)):
        left[int(parent[i])] -= duration[i]  # −1 is the last call
    return left


@exercise.mistake(
    "one child only", "only one call was subtracted from each caller: sum over all that it makes."
)
def _one_child(start, end, parent):
    duration = end - start
    left = duration.clone()
    for i in range(len(duration)):
        if parent[i] >= 0:
            left[int(parent[i])] = duration[int(parent[i])] - duration[i]
    return left
