"""The account of a contrastive loss and of the mean classifier: see `mmlite.theory`."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmlite.evaluation import frozen
from mmlite.support import checks
from mmlite.support.scaling import over_largest

AT_ONCE = 2**24  # similarities held at once: 134 MB


class RiskAccount(NamedTuple):
    """The terms of CE = L + H + Var − A / 2 − J, in nats.

    Attributes:
        cross_entropy: CE, of the mean classifier.
        contrastive: L, the loss with all views as negatives.
        entropy: H, of the labels.
        variance: Var, within classes.
        alignment: A, how far positives lie apart.
        jensen: J, the price of replacing a class by its mean.
    """

    cross_entropy: float
    contrastive: float
    entropy: float
    variance: float
    alignment: float
    jensen: float

    @property
    def total(self) -> float:
        """L + H + Var − A / 2 − J, which is CE."""
        return self.contrastive + self.entropy + self.variance - self.alignment / 2 - self.jensen


@frozen
def risk_account(
    views: Tensor, labels: Tensor, temperature: float = 1.0, normalize: bool = True
) -> RiskAccount:
    """Return the account CE = L + H + Var − A / 2 − J of features and labels.

    The cross-entropy is computed from its own definition, so that `total` tells how well the
    account balances: to rounding, in float64. Works in pieces: beside float64 copies of the
    features it needs a few times 134 MB.

    Args:
        views: features of V ≥ 2 views of N images, float [V, N, D].
        labels: int64 [N], not negative.
        temperature: τ > 0 of the loss and of the classifier.
        normalize: divide each feature by its length first, as NT-Xent does.

    Returns:
        The terms, in nats.

    Raises:
        ValueError: shapes, types or values are wrong, or a feature to be normalized has length 0.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> account = mmlite.risk_account(torch.stack([points, points]), torch.tensor([0, 1]))
        >>> round(account.cross_entropy, 6), round(account.total, 6)  # log(1 + e⁻²)
        (0.126928, 0.126928)
    """
    g = features_of(views, temperature, normalize)
    check_labels(views, labels)
    classes, share, mean = classes_of(g, labels)
    images, positive = g.shape[1], _positive(g)
    every, flat = classes.repeat(len(g)), g.flatten(0, 1)
    log_negatives, log_classes, own = (g.new_empty(len(flat)) for _ in range(3))
    for rows in torch.arange(len(flat), device=g.device).split(max(1, AT_ONCE // len(flat))):
        log_negatives[rows] = (flat[rows] @ flat.T).logsumexp(1) - math.log(len(flat))
        scores = flat[rows] @ mean.T + share.log()
        log_classes[rows] = scores.logsumexp(1)
        own[rows] = scores.gather(1, every[rows, None])[:, 0]
    centered = g - g.mean(0)
    return RiskAccount(
        cross_entropy=float((log_classes - own).mean()),
        contrastive=float(log_negatives.mean() - positive),
        entropy=float(torch.special.entr(share).sum()),
        variance=float((flat - mean[every]).square().sum(1).mean()),
        # the mean over pairs of distinct views, by their distances from the image's mean
        alignment=float(2 / (len(g) - 1) * centered.square().sum() / images),
        jensen=float((log_negatives - log_classes).mean()),
    )


@frozen
def label_consistency(
    views: Tensor, labels: Tensor, temperature: float = 1.0, normalize: bool = True
) -> float:
    """Return how many of the positive pairs the mean classifier puts into one class.

    The theorems assume that two views of an image have one label. Labels of images cannot say
    whether a view still shows its image's class; whether a classifier takes both views for the
    same is what can be measured of it.

    Args:
        views: as for `risk_account`.
        labels: likewise.
        temperature: likewise.
        normalize: likewise.

    Returns:
        A share of the pairs of distinct views, 0..1.

    Raises:
        ValueError: as `risk_account`.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> mmlite.label_consistency(torch.stack([points, points]), torch.tensor([0, 1]))
        1.0
    """
    g = features_of(views, temperature, normalize)
    check_labels(views, labels)
    _, share, mean = classes_of(g, labels)
    taken = (g @ mean.T + share.log()).argmax(2)  # [V, N]
    votes = F.one_hot(taken, len(share)).sum(0).double()  # how many of an image's views, [N, K]
    alike = (votes * (votes - 1)).sum(1) / (len(g) * (len(g) - 1))
    return float(alike.mean())


def least_risk(classes: int, temperature: float = 1.0) -> float:
    """Return the least cross-entropy that the mean classifier of unit features can have.

    With equal shares, when each class is one point and the points are as far apart as can be, a
    regular simplex: log(1 + (K − 1) exp(−K / ((K − 1) τ))). More than log 2 allows an error on
    every image: then no bound of this kind ever promises one right answer.

    Args:
        classes: K.
        temperature: τ > 0.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> round(mmlite.least_risk(10), 3), round(mmlite.least_risk(2), 3)
        (1.377, 0.127)
    """
    classes = checks.whole("classes", classes, 1)
    temperature = checks.real("temperature", temperature, above=0)
    if classes == 1:
        return 0.0
    others = classes - 1
    return math.log1p(others * math.exp(-classes / (others * temperature)))


def features_of(views: Tensor, temperature: float, normalize: bool) -> Tensor:
    """Return g = f / √τ, [V, N, D] in float64.

    Raises:
        ValueError: shapes, types or values are wrong.
    """
    checks.tensor("views", views, "float [V, N, D] with V ≥ 2")
    temperature = checks.real("temperature", temperature, above=0)
    normalize = checks.flag("normalize", normalize)
    if (
        not checks.is_float(views)
        or views.layout != torch.strided
        or views.dim() != 3
        or len(views) < 2
        or not views.numel()
    ):
        raise ValueError(f"views must be float [V, N, D] with V ≥ 2, got {checks.described(views)}")
    if not bool(views.isfinite().all()):
        raise ValueError("views holds NaN or infinities")
    f = (views.cpu() if views.device.type == "mps" else views).double()  # MPS has no float64
    if normalize:
        largest = f.abs().amax(2, keepdim=True)
        if bool((largest == 0).any()):
            raise ValueError("views holds a feature of length 0, which cannot be normalized")
        f = F.normalize(over_largest(f, largest), dim=2)
    return f / math.sqrt(temperature)


def check_labels(views: Tensor, labels: Tensor) -> None:
    """Raise a ValueError unless there is one label for each image, and none below 0."""
    checks.tensor("labels", labels, f"int64 [{views.shape[1]}]")
    if (
        labels.dtype != torch.int64
        or labels.shape != views.shape[1:2]
        or labels.device != views.device
        or bool((labels < 0).any())
    ):
        raise ValueError(
            f"labels must be int64 [{views.shape[1]}] on {views.device}, none below 0, got "
            f"{checks.described(labels)}"
        )


class Classes(NamedTuple):
    """The classes that occur among the images.

    Attributes:
        of_image: each image's, 0 … K − 1, int64 [N].
        share: of the images in each, [K].
        mean: of g over the views of each, [K, D].
    """

    of_image: Tensor
    share: Tensor
    mean: Tensor


def classes_of(g: Tensor, labels: Tensor) -> Classes:
    """Return the classes of images with features g [V, N, D]."""
    of_image = labels.to(g.device).unique(return_inverse=True)[1]
    count = of_image.bincount().double()
    total = g.new_zeros(len(count), g.shape[2]).index_add_(0, of_image, g.sum(0))
    return Classes(of_image, count / count.sum(), total / (len(g) * count[:, None]))


def _positive(g: Tensor) -> Tensor:
    """Return the mean of g·g⁺ over pairs of distinct views of an image."""
    views, images = g.shape[:2]
    return (g.sum(0).square().sum() - g.square().sum()) / (views * (views - 1) * images)
