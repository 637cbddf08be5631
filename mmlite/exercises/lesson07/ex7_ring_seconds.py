"""Exercise 07.7: a ring."""

from torch import Generator

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import WHY_NUMBERS, draw_between
from mmlite.experiments import costs


def ring_seconds(message: float, processes: int, bandwidth: float, latency: float) -> float:
    """Return the seconds of a ring all-reduce: see `mmlite.experiments.costs.ring_seconds`."""
    return costs.ring_seconds(message, processes, bandwidth, latency)


def draw(generator: Generator, size: int) -> tuple[float, int, float, float]:
    bandwidth = draw_between(generator, 1e6, 3e6)
    message = bandwidth * draw_between(generator, 2, 5)
    return message, size, bandwidth, draw_between(generator, 0.2, 0.5)


exercise = Exercise(
    id="07.7",
    title="a ring",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_ring_seconds",
    reference=ring_seconds,
    home="mmlite.exercises.lesson07.ring_seconds",
    draw=draw,
    sizes=(2, 3, 8),
    hidden_sizes=(1, 64),
    tolerance=1e-4,
    why_tolerance=WHY_NUMBERS,
)


@exercise.mistake(
    "once around",
    "this is once around: then each process has the sum of one piece only, and the "
    "sums have to go around as well.",
)
def _once_around(message, n, bandwidth, latency):
    return (n - 1) * (latency + message / n / bandwidth)


@exercise.mistake(
    "the whole message", "in a round each process sends one piece, an N-th of the message."
)
def _the_whole_message(message, n, bandwidth, latency):
    return 2 * (n - 1) * (latency + message / bandwidth)


@exercise.mistake("no latency", "each round costs its latency too.")
def _no_latency(message, n, bandwidth, latency):
    return 2 * (n - 1) * message / n / bandwidth


@exercise.mistake("latency once", "each of the 2 (N − 1) rounds has a latency of its own.")
def _latency_once(message, n, bandwidth, latency):
    return latency + 2 * (n - 1) * message / n / bandwidth


@exercise.mistake("a round too many", "N − 1 rounds bring a piece to everyone, not N.")
def _a_round_too_many(message, n, bandwidth, latency):
    return 2 * n * (latency + message / n / bandwidth)
