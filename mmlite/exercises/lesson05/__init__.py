"""The exercises of lesson 05: how to judge a claim that one method beats another."""

from mmlite.exercises.lesson05 import (
    ex1_paired_interval,
    ex2_honest_accuracy,
    ex3_power,
    ex4_holm,
    ex5_verdict,
    ex6_prediction,
    ex7_design,
)
from mmlite.exercises.lesson05.ex1_paired_interval import paired_interval
from mmlite.exercises.lesson05.ex2_honest_accuracy import honest_accuracy
from mmlite.exercises.lesson05.ex3_power import simulated_power
from mmlite.exercises.lesson05.ex4_holm import holm
from mmlite.exercises.lesson05.ex5_verdict import verdict
from mmlite.exercises.lesson05.ex6_prediction import prediction_interval
from mmlite.exercises.lesson05.ex7_design import design

EXERCISES = (
    ex1_paired_interval.exercise,
    ex2_honest_accuracy.exercise,
    ex3_power.exercise,
    ex4_holm.exercise,
    ex5_verdict.exercise,
    ex6_prediction.exercise,
    ex7_design.exercise,
)

__all__ = [
    "EXERCISES",
    "design",
    "holm",
    "honest_accuracy",
    "paired_interval",
    "prediction_interval",
    "simulated_power",
    "verdict",
]
