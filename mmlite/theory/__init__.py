r"""What a contrastive loss can promise about a classifier: an account that balances.

Take N images with V ≥ 2 views each, all images and views alike likely, their classes y with shares
π, and the features g = f / √τ of the views. The positive g⁺ of a view is another view of its image,
its negatives g⁻ are all N · V views. Then

    CE = L + H + Var − A / 2 − J,

    CE   = E[−log(π_y exp(g·μ_y) / Σ_k π_k exp(g·μ_k))]     the mean classifier's cross-entropy,
    L    = −E[g·g⁺] + E[log E₋ exp(g·g⁻)]                   the contrastive loss, all negatives,
    H    = −Σ_k π_k log π_k                                 the labels' entropy,
    Var  = E‖g − μ_y‖²                                      the variance within classes,
    A    = E‖g − g⁺‖²                                       how far positives lie apart,
    J    = E[log E₋ exp(g·g⁻) − log Σ_k π_k exp(g·μ_k)]     ≥ 0, by Jensen's inequality,

with μ_k the mean of g over class k. Proof: CE − L − H + J = E[g·g⁺] − E[g·μ_y], since the two
logarithms cancel against J. The first is E‖g‖² − A / 2, by ‖g − g⁺‖² = ‖g‖² + ‖g⁺‖² − 2 g·g⁺; the
second is E‖μ_y‖² = E‖g‖² − Var. So it is an identity, and every bound of this kind drops or bounds
some of its terms. All numbers are in nats.

`account` computes the terms, `bounds` what follows when one is dropped or bounded.
"""

from typing import TYPE_CHECKING

from mmlite.support.lazy import submodules
from mmlite.theory.account import RiskAccount, label_consistency, least_risk, risk_account
from mmlite.theory.bounds import (
    MaskClaims,
    RiskBounds,
    mask_claims,
    negatives_gap,
    nt_xent_offset,
    risk_bounds,
)

if not TYPE_CHECKING:  # a checker would take every misspelt name for a module
    __getattr__ = submodules(__name__)

__all__ = [
    "MaskClaims",
    "RiskAccount",
    "RiskBounds",
    "label_consistency",
    "least_risk",
    "mask_claims",
    "negatives_gap",
    "nt_xent_offset",
    "risk_account",
    "risk_bounds",
]
