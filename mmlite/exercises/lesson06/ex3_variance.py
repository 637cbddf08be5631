"""Exercise 06.3: the variance within classes, in the loss's own units."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson06.ex1_mean_risk import shares_and_means
from mmlite.exercises.lesson06.features import labels_of, views_of


def variance(f1: Tensor, f2: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return Var = E‖g − μ_y‖² of g = f / √τ, over both views [N, D] of images with labels [N]."""
    f, y = torch.cat([f1, f2]), labels.repeat(2)
    _, mean = shares_and_means(f, y)
    return (f - mean[y]).square().sum(1).mean() / temperature


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, float]:
    labels = labels_of(generator, size)
    temperature = float(0.1 + 0.4 * torch.rand((), generator=generator))
    return *views_of(generator, labels), labels, temperature


exercise = Exercise(
    id="06.3",
    title="the variance within classes",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_variance",
    reference=variance,
    home="mmlite.exercises.lesson06.variance",
    draw=draw,
    sizes=(4, 12, 40),
    hidden_sizes=(7, 100),
    tolerance=1e-4,
    why_tolerance="float32 rounds a mean of some hundred squares by about 1e-6; 1e-4 leaves room "
    "for any order of the sums",
)


@exercise.mistake(
    "without τ",
    "this is the variance of f: the loss and the classifier see g = f / √τ, so that it is divided "
    "by τ. With τ in the loss alone a trained encoder breaks the bound.",
)
def _without_temperature(f1, f2, labels, temperature):
    return variance(f1, f2, labels, 1.0)


@exercise.mistake("√τ", "g = f / √τ, and a variance is of squares: divide by τ, not by its root.")
def _root_of_temperature(f1, f2, labels, temperature):
    return variance(f1, f2, labels, temperature**0.5)


@exercise.mistake(
    "mean over all",
    "this is the variance around the mean of all images: take each class's own mean.",
)
def _mean_over_all(f1, f2, labels, temperature):
    return variance(f1, f2, torch.zeros_like(labels), temperature)


@exercise.mistake(
    "means of the first view",
    "the classes' means are those of the first view alone: a class's mean is over all views of "
    "its images.",
)
def _means_of_the_first_view(f1, f2, labels, temperature):
    _, mean = shares_and_means(f1, labels)
    f, y = torch.cat([f1, f2]), labels.repeat(2)
    return (f - mean[y]).square().sum(1).mean() / temperature


@exercise.mistake(
    "a mean for each view",
    "each view has class means of its own: a class's mean is over all views of its images, both "
    "together.",
)
def _a_mean_for_each_view(f1, f2, labels, temperature):
    parts = []
    for f in (f1, f2):
        _, mean = shares_and_means(f, labels)
        parts.append((f - mean[labels]).square().sum(1).mean())
    return sum(parts) / 2 / temperature


@exercise.mistake(
    "classes alike",
    "this is the mean over the classes, each of which counts alike: take the mean over the images.",
)
def _classes_alike(f1, f2, labels, temperature):
    f, y = torch.cat([f1, f2]), labels.repeat(2)
    _, mean = shares_and_means(f, y)
    each = (f - mean[y]).square().sum(1)
    return torch.stack([each[y == k].mean() for k in y.unique()]).mean() / temperature


@exercise.mistake(
    "a mean over dimensions",
    "this is the mean over dimensions: ‖g − μ‖² is their sum.",
)
def _a_mean_over_dimensions(f1, f2, labels, temperature):
    return variance(f1, f2, labels, temperature) / f1.shape[1]


@exercise.mistake("deviation", "this is the root of the variance: leave the squares as they are.")
def _deviation(f1, f2, labels, temperature):
    return variance(f1, f2, labels, temperature).sqrt()
