"""The toy of exercises 04.2 to 04.5: one parameter a dimension.

x [N, D] is represented as h = tanh(θ ⊙ x), the head adds up what the mask lets through, and
L(θ, w) is the mean over N of (Σ_i σ(w_i) h_i − y)².
"""

import torch
from torch import Generator, Tensor


def represent(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return h [N, D], its derivative with respect to θ [N, D], and the residual [N, 1]."""
    h = torch.tanh(theta * x)
    return h, (1 - h.square()) * x, (h @ torch.sigmoid(w) - y)[:, None]


def of_theta(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ∂L/∂θ [D] of the toy."""
    _, slope, residual = represent(theta, w, x, y)
    return 2 * torch.sigmoid(w) * (residual * slope).mean(0)


def of_mask(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ∂L/∂m [D] of the toy, with m = σ(w)."""
    h, _, residual = represent(theta, w, x, y)
    return 2 * (residual * h).mean(0)


def mask_slope(w: Tensor) -> Tensor:
    return torch.sigmoid(w) * torch.sigmoid(-w)


def of_w(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return of_mask(theta, w, x, y) * mask_slope(w)


def draw_toy(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dim = 3
    x = torch.randn(size, dim, generator=generator)
    y = torch.randn(size, generator=generator) + x.sum(1)
    theta = 0.5 + torch.rand(dim, generator=generator)
    return theta, torch.randn(dim, generator=generator), x, y


def draw_rate(generator: Generator) -> float:
    return round(0.1 + 0.2 * float(torch.rand((), generator=generator)), 2)
