"""Small models, images and losses to train with."""

import torch
from torch import nn

from mmlite import DimensionalMask, TwoViews, projector, small_conv
from mmlite.data import ImageSet


class StopHereError(Exception):
    """Raised by a hook where a test stops a run."""


def images(count: int = 20) -> ImageSet:
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 2)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), ("a",))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def noisy_loss(model, batch, generator):
    noise = torch.rand(batch.shape, generator=generator).to(batch.device)
    return model(batch.float() / 255 + noise).square().mean()


class Logged(nn.Module):
    """Notes whether it is run by Python or by compiled code."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.eager = 0

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.eager += 1
        return self.inner(x)


def pictures() -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.zeros(24, dtype=torch.int64), ("a",))


def masked(kind):
    """Return what `compiled_and_plain` trains of a mask's method, with its encoder logged.

    In float64, where rounding stays far below what a wrong pass would change.
    """
    encoder, mask = Logged(small_conv(1, 8)).double(), DimensionalMask(8).double()
    heads = projector(8, 8, 4).double(), projector(8, 8, 4).double()
    make_views = TwoViews(crop=(0.4, 1.0))

    def views(images, generator):
        return tuple(view.double() for view in make_views(images, generator))

    method = kind(encoder, *heads, mask, torch.optim.Adam([mask.w], 0.05), views)
    hooks = {"before_step": method.before_step, "after_step": method.after_step}
    return method.model, method.loss, hooks


def equal(a, b) -> bool:
    """Whether two nests of dictionaries and tensors are the same bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
