"""Exercise 05.2: an epoch that the test set did not choose."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def honest_accuracy(validation: Tensor, test: Tensor) -> Tensor:
    """Return each run's test accuracy [R] at the epoch that its validation images chose.

    Args:
        validation: accuracies by run and epoch, [R, E].
        test: likewise, on test images.
    """
    return test.gather(1, validation.argmax(1, keepdim=True))[:, 0]


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return accuracies in points: each epoch's own level, and noise of both sets of images."""
    level = 70 + 2 * torch.randn(size, 12, generator=generator)
    noise = torch.randn(2, size, 12, generator=generator)
    return level + noise[0], level + noise[1]


exercise = Exercise(
    id="05.2",
    title="an epoch that the test set did not choose",
    points=1,
    minutes=10,
    difficulty=1,
    function="my_honest_accuracy",
    reference=honest_accuracy,
    home="mmlite.exercises.lesson05.honest_accuracy",
    draw=draw,
    sizes=(2, 6, 20),
    hidden_sizes=(3, 50),
    tolerance=1e-4,
    why_tolerance="the numbers are taken as they are; 1e-4 leaves room for another precision",
)


@exercise.mistake(
    "best of the test set",
    "the test images chose the epoch here, and then said how good it is: the greatest of many "
    "noisy numbers is too great. Let the validation images choose.",
)
def _best_of_the_test_set(validation, test):
    return test.amax(1)


@exercise.mistake(
    "validation accuracy",
    "this is the accuracy on the validation images that chose the epoch: they flatter it as the "
    "test images would. Read the test images at that epoch.",
)
def _validation_accuracy(validation, test):
    return validation.amax(1)


@exercise.mistake(
    "last epoch", "this is the last epoch's accuracy: take the epoch that validation chose."
)
def _last_epoch(validation, test):
    return test[:, -1]


@exercise.mistake(
    "one epoch for all",
    "one epoch was chosen for all runs: each run has validation accuracies of its own.",
)
def _one_epoch_for_all(validation, test):
    return test[:, validation.mean(0).argmax()]


@exercise.mistake("epoch", "this is the number of the epoch: return the test accuracy at it.")
def _epoch(validation, test):
    return validation.argmax(1).to(test.dtype)
