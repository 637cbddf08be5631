"""The exercises of lesson 04: a mask before the head, a virtual step, its derivative four ways.

The toy of exercises 04.2 to 04.5 has one parameter a dimension: x [N, D] is represented as
h = tanh(θ ⊙ x), the head adds up what the mask lets through, and L(θ, w) is the mean over N of
(Σ_i σ(w_i) h_i − y)².
"""

import mmlite.metamask.tangents  # noqa: F401 - keeps torch's warning at the first jvp silent
from mmlite.exercises.lesson04 import (
    ex1_masked_projection,
    ex2_virtual_step,
    ex3_meta_gradient,
    ex4_judging_batch,
    ex5_finite_difference,
    ex6_mixed_term,
)
from mmlite.exercises.lesson04.ex1_masked_projection import masked_projection
from mmlite.exercises.lesson04.ex2_virtual_step import virtual_step
from mmlite.exercises.lesson04.ex3_meta_gradient import meta_gradient
from mmlite.exercises.lesson04.ex4_judging_batch import judging_batch
from mmlite.exercises.lesson04.ex5_finite_difference import finite_difference
from mmlite.exercises.lesson04.ex6_mixed_term import forward_over_reverse

EXERCISES = (
    ex1_masked_projection.exercise,
    ex2_virtual_step.exercise,
    ex3_meta_gradient.exercise,
    ex4_judging_batch.exercise,
    ex5_finite_difference.exercise,
    ex6_mixed_term.exercise,
)

__all__ = [
    "EXERCISES",
    "finite_difference",
    "forward_over_reverse",
    "judging_batch",
    "masked_projection",
    "meta_gradient",
    "virtual_step",
]
