"""The exercises of lesson 03: what a dimension holds, masks, luck, and directions."""

from mmlite.exercises.lesson03 import (
    ex1_class_r2,
    ex2_nuisance_r2,
    ex3_top_mask,
    ex4_masked_similarity,
    ex5_split_gain,
    ex6_whitened,
    ex7_pair_map,
)
from mmlite.exercises.lesson03.ex4_masked_similarity import masked_similarity
from mmlite.exercises.lesson03.ex5_split_gain import split_gain
from mmlite.exercises.lesson03.ex6_whitened import whitened
from mmlite.exercises.lesson03.ex7_pair_map import pair_map

EXERCISES = (
    ex1_class_r2.exercise,
    ex2_nuisance_r2.exercise,
    ex3_top_mask.exercise,
    ex4_masked_similarity.exercise,
    ex5_split_gain.exercise,
    ex6_whitened.exercise,
    ex7_pair_map.exercise,
)

__all__ = ["EXERCISES", "masked_similarity", "pair_map", "split_gain", "whitened"]
