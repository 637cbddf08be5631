"""The exercises of lesson 02: correlation, redundancy, Barlow Twins, copies, rank, dependence."""

from mmlite.exercises.lesson02 import (
    ex1_cross_correlation,
    ex2_redundancy,
    ex3_barlow_twins,
    ex4_copied_loss,
    ex5_effective_rank,
    ex6_dependence,
)
from mmlite.exercises.lesson02.ex2_redundancy import mean_squared_off_diagonal
from mmlite.exercises.lesson02.ex4_copied_loss import copied_loss
from mmlite.exercises.lesson02.ex5_effective_rank import effective_rank
from mmlite.exercises.lesson02.ex6_dependence import dependence

EXERCISES = (
    ex1_cross_correlation.exercise,
    ex2_redundancy.exercise,
    ex3_barlow_twins.exercise,
    ex4_copied_loss.exercise,
    ex5_effective_rank.exercise,
    ex6_dependence.exercise,
)

__all__ = ["EXERCISES", "copied_loss", "dependence", "effective_rank", "mean_squared_off_diagonal"]
