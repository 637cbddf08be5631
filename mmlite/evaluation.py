"""What a representation is worth: accuracies that freeze it and ask a simple reader.

Three readers, from the one with nothing to learn to the one with most: the nearest neighbors'
vote, logistic regression on few labels, logistic regression on all. Each takes the representations
of the training and of the test images; none ever sees a test label before it scores. Where runs
are compared, `paired_difference` gives the interval over seeds.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from mmlite.support import checks
from mmlite.support.scaling import over_largest

Reader = TypeVar("Reader", bound=Callable)
CHUNK = 2**22  # similarities held at once: 17 MB in float32, near what a cache holds
BLOCK = 8  # columns whose maximum stands for them in `topk`
STEEPEST = 1e-5  # the largest entry of the gradient at which the linear probe stops


def frozen(reader: Reader) -> Reader:
    """Let a function that reads representations follow no graph, whatever mode it is called in.

    Its value is the same for representations that carry a graph, within `torch.inference_mode`
    and under autocast; nothing in it leaves a gradient behind.
    """

    @wraps(reader)
    def alone(*arguments, **named):
        # a probe trains, which inference mode would forbid; autocast would round similarities
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            return reader(*arguments, **named)

    return cast(Reader, alone)


@frozen
def neighbors(train_h: Tensor, query_h: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest training rows of each query by cosine similarity, nearest first.

    A zero row has similarity 0 to everything. Works through the queries in pieces of at most 2²²
    similarities, so that beside copies of unit length it needs a few times 17 MB in float32.

    Args:
        train_h: float [N, D].
        query_h: float [M, D].
        k: 1 to N.

    Returns:
        similarity float [M, k] and index int64 [M, k] into `train_h`.

    Raises:
        ValueError: shapes, types or values are wrong.

    Example:
        >>> similarity, index = mmlite.neighbors(torch.eye(3), torch.tensor([[0.0, 2.0, 0.0]]), k=1)
        >>> similarity.tolist(), index.tolist()
        ([[1.0]], [[1]])
    """
    check_features("train_h", train_h)
    check_features("query_h", query_h)
    train_h, query_h = alike("query_h", train_h, query_h)
    k = checks.whole("k", k, 1, len(train_h))
    pieces = list(_nearest(_unit(train_h), _unit(query_h), k))
    return torch.cat([s for s, _ in pieces]), torch.cat([i for _, i in pieces])


@frozen
def knn_accuracy(
    train_h: Tensor,
    train_labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float = 0.1,
) -> float:
    """Return the accuracy of the weighted vote of the k nearest training images.

    Each neighbor votes for its class with weight exp(cosine similarity / τ) (Wu et al. 2018,
    section 3.4). Nothing is trained.

    Args:
        train_h: float [N, D].
        train_labels: int64 [N].
        test_h: float [M, D].
        test_labels: int64 [M].
        k: voters, 1 to N.
        temperature: τ > 0.

    Returns:
        The share of test images whose class wins the vote, 0..1.

    Raises:
        ValueError: shapes, types or values are wrong.

    Example:
        >>> h, labels = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0]]), torch.tensor([0, 0, 1])
        >>> mmlite.knn_accuracy(h, labels, torch.tensor([[0.0, 1.0]]), torch.tensor([1]), k=1)
        1.0
    """
    check_labeled("train", train_h, train_labels)
    check_labeled("test", test_h, test_labels)
    temperature = checks.real("temperature", temperature, above=0, finite=False)
    similarity, index = neighbors(train_h, test_h, k)
    winner = vote(similarity, train_labels[index], int(train_labels.max()) + 1, temperature)
    return float((winner == test_labels).float().mean())


def vote(similarity: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Return the class [M] that wins the neighbors' weighted vote.

    Args:
        similarity: of each query's neighbors, nearest first, [M, k].
        labels: the neighbors' classes, int64 [M, k], each below `classes`.
        classes: how many classes there are.
        temperature: τ > 0.
    """
    # the nearest voter's weight is 1, so that none overflows at a small τ
    weight = torch.exp((similarity - similarity[:, :1]) / temperature)
    votes = weight.new_zeros(len(weight), classes)
    return votes.scatter_add_(1, labels, weight).argmax(1)


def topk(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest entries of each row in falling order, and where they stand: both [M, k].

    As torch.topk, and several times as fast on wide rows of a CPU: the k largest entries lie in
    the k blocks with the largest maxima, which are found in the same way.
    """
    n = similarity.shape[1]
    if n < 12 * k:  # blocks would leave no less to look through
        return similarity.topk(k, dim=1)
    blocks = n // BLOCK  # block b is the columns b, b + blocks, b + 2 blocks, ...
    used = blocks * BLOCK
    best = topk(similarity[:, :used].unflatten(1, (BLOCK, blocks)).amax(1), k)[1]
    candidates = best.new_empty(len(best), k * BLOCK + n - used)
    start = torch.arange(0, used, blocks, device=best.device)
    inside = candidates[:, : k * BLOCK].unflatten(1, (BLOCK, k))
    torch.add(best[:, None], start[:, None], out=inside)
    candidates[:, k * BLOCK :] = torch.arange(used, n, device=best.device)
    value, place = similarity.gather(1, candidates).topk(k, dim=1)
    return value, candidates.gather(1, place)


@frozen
def linear_probe_accuracy(
    train_h: Tensor,
    train_labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
    weight_decay: float = 1e-3,
    standardize: bool = True,
) -> float:
    """Return the test accuracy of multinomial logistic regression on the frozen representation.

    Dimensions are standardized by the training set's mean and deviation, so that the probe does not
    see how loud each of them is: no mask without zeros changes it. The convex objective,
    mean cross-entropy + weight_decay / 2 · ‖W‖², is solved by L-BFGS from zero until no entry of
    the gradient exceeds 1e-5 for dimensions of mean square 1, in float64 where float32 does not get
    there; so the result depends on no seed and no unit. Memory: a few copies of the logits
    [N, classes] and of the representations.

    Args:
        train_h: float [N, D].
        train_labels: int64 [N].
        test_h: float [M, D].
        test_labels: int64 [M].
        weight_decay: > 0; keeps the solution finite where classes can be separated.
        standardize: divide each dimension by its deviation. Without it only means are subtracted,
            and `weight_decay` holds back the quiet dimensions more than the loud.

    Returns:
        The share of test images classified right, 0..1.

    Raises:
        ValueError: shapes, types or values are wrong.

    Example:
        >>> h, labels = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
        >>> fresh_h, fresh_labels = torch.tensor([[3.0], [-3.0]]), torch.tensor([1, 0])
        >>> mmlite.linear_probe_accuracy(h, labels, fresh_h, fresh_labels)
        1.0
    """
    check_labeled("train", train_h, train_labels)
    check_labeled("test", test_h, test_labels)
    train_h, test_h = alike("test_h", train_h, test_h)
    weight_decay = checks.real("weight_decay", weight_decay, above=0)
    standardize = checks.flag("standardize", standardize)
    # the same problem, at a scale where squares can be had and one tolerance does for all
    largest = train_h.abs().amax(0) if standardize else train_h.abs().amax()
    train_h, test_h = over_largest(train_h, largest), over_largest(test_h, largest)
    if not standardize:
        weight_decay = min(weight_decay**0.5 / (float(largest) or 1), 1e6) ** 2
    mean, deviation = train_h.mean(0), train_h.std(0, correction=0)
    # a constant dimension says nothing; what rounding leaves of its deviation must not blow it up
    constant = deviation <= 1e-6 * mean.abs()
    scale = torch.where(constant, 0, 1 / torch.where(constant, 1, deviation if standardize else 1))
    weight, bias = _logistic_regression((train_h - mean) * scale, train_labels, weight_decay)
    predicted = ((test_h - mean) * scale) @ weight.T + bias
    return float((predicted.argmax(1) == test_labels).float().mean())


@frozen
def few_label_accuracy(
    train_h: Tensor,
    train_labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
    per_class: int = 10,
    draws: int = 5,
    seed: int = 0,
    weight_decay: float = 1e-2,
    standardize: bool = True,
) -> float:
    """Return the linear probe's test accuracy when only a few labels of each class are known.

    The mean over `draws` random choices of `per_class` training images a class; the same seed
    chooses the same images whatever the representation, so two of them compare fairly.

    Args:
        train_h: float [N, D].
        train_labels: int64 [N].
        test_h: float [M, D].
        test_labels: int64 [M].
        per_class: labels known of each class.
        draws: random choices to average over.
        seed: seeds the choices.
        weight_decay: as for `linear_probe_accuracy`; more by default, since there is less data.
        standardize: as for `linear_probe_accuracy`.

    Returns:
        The mean share of test images classified right, 0..1.

    Raises:
        ValueError: shapes, types or values are wrong, or a class has fewer images.

    Example:
        >>> h, labels = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
        >>> mmlite.few_label_accuracy(h, labels, h, labels, per_class=1, draws=5)
        1.0
    """
    check_labeled("train", train_h, train_labels)
    check_labeled("test", test_h, test_labels)
    per_class, draws = checks.whole("per_class", per_class, 1), checks.whole("draws", draws, 1)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    classes, counts = train_labels.cpu().unique(return_counts=True)
    if int(counts.min()) < per_class:
        rare = int(classes[counts.argmin()])
        raise ValueError(
            f"class {rare} has {int(counts.min())} training images, fewer than "
            f"per_class={per_class}"
        )
    accuracies = []
    for _ in range(draws):
        order = torch.randperm(len(train_labels), generator=generator)
        labels = train_labels.cpu()[order]
        known = torch.cat([order[labels == label][:per_class] for label in classes])
        known = known.to(train_h.device)
        accuracies.append(
            linear_probe_accuracy(
                train_h[known], train_labels[known], test_h, test_labels, weight_decay, standardize
            )
        )
    return sum(accuracies) / draws


def _unit(h: Tensor) -> Tensor:
    return F.normalize(over_largest(h, h.abs().amax(1, keepdim=True)), dim=1)


def _nearest(train_u: Tensor, query_u: Tensor, k: int) -> Iterator[tuple[Tensor, Tensor]]:
    for query in query_u.split(max(1, CHUNK // len(train_u))):
        yield topk(query @ train_u.T, k)


def _logistic_regression(x: Tensor, labels: Tensor, weight_decay: float) -> tuple[Tensor, Tensor]:
    """Return weights [classes, D] and bias [classes] at the minimum of the convex objective."""
    classes = int(labels.max()) + 1
    weight, bias = x.new_zeros(classes, x.shape[1]), x.new_zeros(classes)
    # in units in which weights bend the objective about as much as the bias does
    size = math.hypot(float(x.square().mean()) ** 0.5, weight_decay**0.5)
    x, weight_decay = x / size, weight_decay / size**2
    steepest = _descend(weight, bias, x, labels, weight_decay)
    if not steepest <= STEEPEST and x.dtype == torch.float32 and x.device.type != "mps":
        # the line search no longer sees a loss fall that float32 rounds
        weight, bias = weight.double(), bias.double()
        steepest = _descend(weight, bias, x.double(), labels, weight_decay)
    if not steepest < 10 * STEEPEST:
        warnings.warn(
            f"the linear probe has not converged (steepest gradient {steepest:.1e}); "
            "a larger weight_decay helps",
            stacklevel=4,
        )
    return (weight / size).to(x.dtype), bias.to(x.dtype)


def _descend(weight: Tensor, bias: Tensor, x: Tensor, labels: Tensor, weight_decay: float) -> float:
    """Move weight and bias to the minimum by L-BFGS; return the gradient's largest entry there."""
    own = labels[None]
    less_one = x.new_full(own.shape, -1)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=1000,
        tolerance_grad=STEEPEST,
        tolerance_change=0,
        history_size=200,  # 2.7 times fewer steps than 20 on standardized pixels
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def objective() -> Tensor:
        # by hand, and [classes, N]: autograd on rows as short as classes takes 2.5 times as long
        logits = torch.addmm(bias[:, None], weight, x.T)
        total = logits.logsumexp(0)
        loss = (total - logits.gather(0, own)).mean() + weight_decay / 2 * weight.square().sum()
        error = logits.sub_(total).exp_().scatter_add_(0, own, less_one)  # softmax − one-hot
        weight.grad = torch.addmm(weight, error, x, beta=weight_decay, alpha=1 / len(x))
        bias.grad = error.mean(1)
        return loss

    optimizer.step(objective)
    objective()
    return max(float(p.grad.abs().max()) for p in (weight, bias) if p.grad is not None)


def check_features(name: str, h: Tensor) -> None:
    """Raise a ValueError unless h is a finite float [N, D] that is not empty."""
    if not checks.is_float(h) or h.dim() != 2 or not h.numel():
        raise checks.wrong(name, "a float tensor [N, D] that is not empty", h)
    if h.is_meta:
        raise ValueError(f"{name} lies on the device meta, where there are no values to read")
    # the least and the greatest tell of NaN too, and leave no copy
    if not all(math.isfinite(float(value)) for value in h.aminmax()):
        raise ValueError(f"{name} holds NaN or infinities; was its encoder's training stable?")


def check_labeled(split: str, h: Tensor, labels: Tensor) -> None:
    """Raise a ValueError unless h is as `check_features` says and labels are int64 [N], >= 0."""
    check_features(f"{split}_h", h)
    wanted = f"{split}_labels must be int64 of shape [{len(h)}], one for each row of {split}_h"
    if not isinstance(labels, Tensor):
        raise ValueError(f"{wanted}, got {type(labels).__name__}; torch.tensor makes one of a list")
    if labels.dtype != torch.int64 or labels.shape != h.shape[:1]:
        raise ValueError(f"{wanted}, got {labels.dtype} of shape {list(labels.shape)}")
    if labels.device != h.device:
        raise ValueError(f"{split}_h lies on {h.device}, {split}_labels on {labels.device}")
    if bool((labels < 0).any()):
        raise ValueError(f"{split}_labels holds a label below 0: are some images unlabeled?")


def alike(name: str, train_h: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two representations in their common precision, float32 at least.

    Raises:
        ValueError: they differ in width or lie on two devices.
    """
    if other.shape[1] != train_h.shape[1]:
        raise ValueError(
            f"train_h and {name} must have the same width D, got {list(train_h.shape)} "
            f"and {list(other.shape)}"
        )
    if other.device != train_h.device:
        raise ValueError(
            f"train_h and {name} must lie on one device, got {train_h.device} and {other.device}"
        )
    dtype = torch.promote_types(train_h.dtype, other.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return train_h.to(dtype), other.to(dtype)
