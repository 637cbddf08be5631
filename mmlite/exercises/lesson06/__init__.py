"""The exercises of lesson 06: the terms of the account, and a mask that fools a bound."""

from mmlite.exercises.lesson06 import (
    ex1_mean_risk,
    ex2_contrastive,
    ex3_variance,
    ex4_jensen,
    ex5_least_risk,
    ex6_counterexample,
)
from mmlite.exercises.lesson06.ex1_mean_risk import mean_risk
from mmlite.exercises.lesson06.ex2_contrastive import contrastive
from mmlite.exercises.lesson06.ex3_variance import variance
from mmlite.exercises.lesson06.ex4_jensen import jensen
from mmlite.exercises.lesson06.ex6_counterexample import counterexample

EXERCISES = (
    ex1_mean_risk.exercise,
    ex2_contrastive.exercise,
    ex3_variance.exercise,
    ex4_jensen.exercise,
    ex5_least_risk.exercise,
    ex6_counterexample.exercise,
)

__all__ = [
    "EXERCISES",
    "contrastive",
    "counterexample",
    "jensen",
    "mean_risk",
    "variance",
]
