"""Bounds on the mean classifier's risk: its account with terms dropped or bounded."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.evaluation import frozen
from mmlite.support import checks
from mmlite.theory.account import AT_ONCE, RiskAccount, classes_of, features_of, risk_account


class RiskBounds(NamedTuple):
    """What is known of CE without knowing all terms of its account.

    Attributes:
        upper: L + H + Var − A / 2: J is dropped, which is at least 0. No assumption.
        upper_by_length: L + H + R √Var with R the greatest length of g: Wang et al. (2022), theorem
            4.2, with the temperature where it belongs.
        upper_as_printed: L + H + √Var(f): the theorem as it is printed, for τ = 1; with another τ
            in the loss alone it is no bound.
        lower_as_printed: L + H − √Var(f) − Var(f) / 2, its other side, likewise.
        lower_by_hoeffding: L + H + Var − A / 2 − R⁴ / 2: a similarity lies between −R² and R², so
            that J ≤ (2 R²)² / 8 by Hoeffding's lemma.
        lower_by_bennett: L + H + Var − A / 2 − max_k ψ_k, where
            ψ_k = (v_k / b_k²) (exp(b_k) − 1 − b_k) by Bennett's inequality, or b_k if that is less;
            b_k = R times the greatest distance of class k from its mean, v_k = R² times the
            greatest variance of the class in a direction.
    """

    upper: float
    upper_by_length: float
    upper_as_printed: float
    lower_as_printed: float
    lower_by_hoeffding: float
    lower_by_bennett: float


class MaskClaims(NamedTuple):
    """Two accounts and the published intervals, without and with a mask.

    Attributes:
        whole, masked: the accounts.
        whole_width, masked_width: of the interval from `lower_as_printed` to `upper_as_printed`.
    """

    whole: RiskAccount
    masked: RiskAccount
    whole_width: float
    masked_width: float

    @property
    def variance_falls(self) -> bool:
        """Whether Var(f | y) is less through the mask (Li et al. 2022, theorem 5.2)."""
        return self.masked.variance < self.whole.variance

    @property
    def interval_narrows(self) -> bool:
        """Whether the interval of theorem 5.1 is narrower through the mask."""
        return self.masked_width < self.whole_width

    @property
    def risk_falls(self) -> bool:
        """Whether the classifier is better through the mask, which is what counts."""
        return self.masked.cross_entropy < self.whole.cross_entropy


@frozen
def risk_bounds(
    views: Tensor, labels: Tensor, temperature: float = 1.0, normalize: bool = True
) -> RiskBounds:
    """Return bounds on the mean classifier's cross-entropy: the account with terms dropped.

    Args:
        views: as for `risk_account`.
        labels: likewise.
        temperature: likewise.
        normalize: likewise.

    Returns:
        The bounds, in nats. The two `as_printed` are bounds where τ = 1 alone.

    Raises:
        ValueError: as `risk_account`.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> bounds = mmlite.risk_bounds(torch.stack([points, points]), torch.tensor([0, 0]))
        >>> round(bounds.upper, 6)  # of one class, whose cross-entropy is 0
        0.433781
    """
    account = risk_account(views, labels, temperature, normalize)
    g = features_of(views, temperature, normalize)
    classes, _, mean = classes_of(g, labels)
    longest = float(g.norm(dim=2).max())
    base = account.contrastive + account.entropy
    upper = base + account.variance - account.alignment / 2
    printed = account.variance * temperature  # of f, where g = f / √τ
    bennett = max(
        _bennett(g[:, classes == k].flatten(0, 1) - center, longest)
        for k, center in enumerate(mean)
    )
    return RiskBounds(
        upper=upper,
        upper_by_length=base + longest * math.sqrt(account.variance),
        upper_as_printed=base + math.sqrt(printed),
        lower_as_printed=base - math.sqrt(printed) - printed / 2,
        lower_by_hoeffding=upper - longest**4 / 2,
        lower_by_bennett=upper - bennett,
    )


@frozen
def negatives_gap(
    views: Tensor, negatives: int, temperature: float = 1.0, normalize: bool = True
) -> float:
    r"""Return a bound on what a loss with M random negatives is less than L, by more than nothing.

    With L_M = E[−g·g⁺ + log (1/M) Σ_j exp(g·g⁻_j)] over M negatives drawn with replacement, the
    positive left out, 0 ≤ L − L_M ≤ E[φ(a) cv²] / M. Here cv is the coefficient of variation of
    exp(g·g⁻) over the negatives of a view, a its least value over its mean, and
    φ(a) = (a − 1 − log a) / (a − 1)². For E[log S] with S of mean 1 is at least −φ(a) Var(S) where
    S ≥ a. So the gap is O(1/M), where O(1/√M) is published.

    Args:
        views: as for `risk_account`.
        negatives: M.
        temperature: as for `risk_account`.
        normalize: likewise.

    Raises:
        ValueError: as `risk_account`, or there is no negative.

    Example:
        >>> same = torch.ones(2, 3, 4)
        >>> mmlite.negatives_gap(same, negatives=8)  # all negatives are alike
        0.0
    """
    negatives = checks.whole("negatives", negatives, 1)
    g = features_of(views, temperature, normalize)
    flat, total = g.flatten(0, 1), 0.0
    for rows in flat.split(max(1, AT_ONCE // len(flat))):
        similarity = rows @ flat.T
        log_mean = similarity.logsumexp(1, keepdim=True) - math.log(len(flat))
        relative = (similarity - log_mean).exp()  # exp(g·g⁻) over its mean
        log_least = (similarity.amin(1, keepdim=True) - log_mean)[:, 0].clamp(max=0)
        total += float((_phi(log_least) * relative.var(1, correction=0)).sum())
    return total / len(flat) / negatives


@frozen
def nt_xent_offset(views: Tensor, temperature: float = 0.2) -> float:
    """Return what NT-Xent of a batch is more than L of the same features.

    NT-Xent sums over the 2N − 1 other views where L takes the mean over all 2N, the view itself
    among them: nt_xent(z1, z2, τ) = L + log 2N + E[log(1 − exp(1/τ) / Σ_j exp(g·g_j))].

    Args:
        views: z1 and z2, float [2, N, P].
        temperature: τ > 0.

    Raises:
        ValueError: as `risk_account`, or there are more than two views.

    Example:
        >>> z1, z2 = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
        >>> views, labels = torch.stack([z1, z2]), torch.zeros(8, dtype=torch.int64)
        >>> account = mmlite.risk_account(views, labels, temperature=0.5)
        >>> found = account.contrastive + mmlite.nt_xent_offset(views, temperature=0.5)
        >>> abs(found - float(mmlite.nt_xent(z1, z2, temperature=0.5))) < 1e-6
        True
    """
    g = features_of(views, temperature, normalize=True)
    if len(g) != 2:
        raise ValueError(f"views must be of two views, [2, N, P], got {list(views.shape)}")
    flat, total = g.flatten(0, 1), 0.0
    for rows in torch.arange(len(flat), device=g.device).split(max(1, AT_ONCE // len(flat))):
        similarity = flat[rows] @ flat.T
        every = similarity.logsumexp(1)
        others = similarity.scatter(1, rows[:, None], -math.inf).logsumexp(1)
        total += float((others - every).sum())
    return math.log(len(flat)) + total / len(flat)


@frozen
def mask_claims(
    views: Tensor, labels: Tensor, mask: Tensor, temperature: float = 1.0, normalize: bool = True
) -> MaskClaims:
    """Return what a mask does to variance, interval and risk: the claims of MetaMask's section 5.

    Theorem 5.1 of Li et al. (2022) is an interval for CE as Wang et al.'s, theorem 5.2 says that
    the mask lowers Var(f | y), and the conclusion is that the interval is tighter and the
    classifier therefore better. Each is true or false of data. The mask is applied before the
    features are normalized. (Only fragments of the published proof were at hand; the statements
    are ours, after the paper's abstract and those.)

    Args:
        views: as for `risk_account`.
        labels: likewise.
        mask: float [D].
        temperature: as for `risk_account`.
        normalize: likewise. Without it a mask that is 0.1 everywhere lowers the variance a
            hundredfold, and says nothing.

    Raises:
        ValueError: as `risk_account`, or the mask is not a finite number for each dimension.

    Example:
        >>> points = torch.tensor([[0.6, 0.48, 0.64], [-0.6, 0.48, 0.64]])
        >>> views = torch.stack([torch.cat([points, points * torch.tensor([1.0, -1, 1])])] * 2)
        >>> labels, mask = torch.tensor([0, 1, 0, 1]), torch.tensor([0.5, 0.5, 1])
        >>> claims = mmlite.mask_claims(views, labels, mask)
        >>> claims.variance_falls, claims.interval_narrows, claims.risk_falls
        (True, True, False)
    """
    checks.tensor("views", views, "float [V, N, D]")
    if not checks.is_float(mask) or mask.shape != views.shape[-1:] or not mask.isfinite().all():
        raise ValueError(
            f"mask must be a finite number for each of the {views.shape[-1]} dimensions, got "
            f"{checks.described(mask)}"
        )
    whole, masked = (
        risk_account(features, labels, temperature, normalize)
        for features in (views, views * mask.to(views.device))
    )
    return MaskClaims(whole, masked, _width(whole, temperature), _width(masked, temperature))


def _width(account: RiskAccount, temperature: float) -> float:
    """Return how far `upper_as_printed` lies above `lower_as_printed`."""
    printed = account.variance * temperature
    return 2 * math.sqrt(printed) + printed / 2


def _bennett(centered: Tensor, longest: float) -> float:
    """Return ψ of a class, from its features less their mean [M, D] and the greatest length R."""
    reach = longest * float(centered.norm(dim=1).max())
    covariance = centered.T @ centered / len(centered)
    variance = longest**2 * max(0.0, float(torch.linalg.eigvalsh(covariance)[-1]))
    if reach < 1e-4:  # where exp(b) − 1 − b rounds to nothing; it is less than b² / 2 + b³ / 4
        return variance * (0.5 + reach / 4)
    if reach > 700:  # beyond which exp is no float
        return reach
    return min(reach, variance * (math.expm1(reach) - reach) / reach**2)


def _phi(log_a: Tensor) -> Tensor:
    """Return φ(a) = (a − 1 − log a) / (a − 1)², for a ≤ 1 given by its logarithm."""
    less = torch.special.expm1(log_a)  # a − 1
    near = less.abs() < 1e-4  # where φ is 1/2 − (a − 1) / 3 to eight digits
    safe = torch.where(near, -0.5, less)
    return torch.where(near, 0.5 - less / 3, (safe - log_a) / safe.square())
