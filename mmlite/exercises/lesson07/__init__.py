"""The exercises of lesson 07: operations and bytes, a profile, rounding, and several processes."""

from mmlite.exercises.lesson07 import (
    ex1_intensity,
    ex2_least_seconds,
    ex3_self_time,
    ex4_best_step,
    ex5_sums_gradient,
    ex6_pooled_variance,
    ex7_ring_seconds,
    ex8_buckets,
)
from mmlite.exercises.lesson07.ex1_intensity import intensity
from mmlite.exercises.lesson07.ex2_least_seconds import least_seconds
from mmlite.exercises.lesson07.ex3_self_time import self_time
from mmlite.exercises.lesson07.ex4_best_step import best_step
from mmlite.exercises.lesson07.ex5_sums_gradient import sums_gradient
from mmlite.exercises.lesson07.ex6_pooled_variance import pooled_variance
from mmlite.exercises.lesson07.ex7_ring_seconds import ring_seconds
from mmlite.exercises.lesson07.ex8_buckets import buckets

EXERCISES = (
    ex1_intensity.exercise,
    ex2_least_seconds.exercise,
    ex3_self_time.exercise,
    ex4_best_step.exercise,
    ex5_sums_gradient.exercise,
    ex6_pooled_variance.exercise,
    ex7_ring_seconds.exercise,
    ex8_buckets.exercise,
)

__all__ = [
    "EXERCISES",
    "best_step",
    "buckets",
    "intensity",
    "least_seconds",
    "pooled_variance",
    "ring_seconds",
    "self_time",
    "sums_gradient",
]
