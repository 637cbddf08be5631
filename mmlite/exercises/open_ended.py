"""What exercises share that are graded by what an answer achieves, cut off at what is asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmlite.evaluation import knn_accuracy

UNREADABLE, NOT_FINITE = -1.0, -2.0  # what is observed of an answer that achieves nothing


def is_floats(value: Any) -> bool:
    """Whether an answer is a tensor of floats that has numbers."""
    return isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta


def accuracy_up_to(
    enough: float, seen: Tensor, labels: Tensor, fresh: Tensor, truth: Tensor
) -> Tensor:
    """Return the kNN accuracy of features that an answer made, or `enough` if it is more.

    Args:
        enough: what is asked for.
        seen: features of the training images, float [N, D].
        labels: int64 [N].
        fresh: features of the test images, float [M, D].
        truth: int64 [M].
    """
    if not bool(seen.isfinite().all() and fresh.isfinite().all()):
        return torch.tensor(NOT_FINITE)
    return torch.tensor(min(enough, knn_accuracy(seen, labels, fresh, truth)))


def explaining(
    enough: float, reached: str, unreadable: str, not_finite: str = ""
) -> Callable[[Tensor], str]:
    """Return how an observation, a scalar, is put into a sentence.

    Args:
        enough: what is asked for.
        reached: the sentence about what was reached, with the fields {reached} and {enough}.
        unreadable: says what an answer must return.
        not_finite: says of what there are NaN or infinities, if that is observed.
    """
    sentences = {UNREADABLE: unreadable, NOT_FINITE: not_finite}

    def explain(observed: Tensor) -> str:
        value = float(observed)
        return sentences.get(value) or reached.format(reached=value, enough=enough)

    return explain
