"""Networks with a mask and views, and their meta-gradient by double backward."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from mmlite import load, projector, resnet18, small_conv
from mmlite.contrastive import nt_xent
from mmlite.metamask import DimensionalMask

METHODS = ("exact", "unrolled", "finite-difference", "first-order")


class Residual(nn.Module):
    """What the fused rules do not know by name: grouped convolution, GroupNorm, GELU, a sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding="same", groups=channels, bias=True)
        self.norm = nn.GroupNorm(2, channels)

    def forward(self, x):
        return x + F.gelu(self.norm(self.conv(x)))


def odd_network(dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Residual(8),
        nn.Dropout2d(0.2),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(8 * 16, dim),
        nn.LayerNorm(dim),
        nn.Tanh(),
    )


ENCODERS = {
    "small_conv": lambda: (small_conv(3, 24), 24),
    "resnet18": lambda: (resnet18(3, 20), 20),
    "odd": lambda: (odd_network(16), 16),
}


def problem(name="small_conv", dtype=torch.float64, n=6, seed=0):
    """Return encoder, head, mask and views."""
    torch.manual_seed(seed)
    encoder, dim = ENCODERS[name]()
    head, mask = projector(dim, 16, 8), DimensionalMask(dim)
    nn.init.normal_(mask.w)
    views = tuple(torch.rand(n, 3, 8, 8, dtype=dtype) for _ in range(2))
    return encoder.to(dtype), head.to(dtype), mask.to(dtype), views


def by_double_backward(encoder, head, mask, views, lr, outer=None, loss=nt_xent, begin=None):
    """Return the meta-gradient written anew: theta as flat tensors, both passes in one graph.

    `begin` puts random generators where each pass begins: by default torch's, where it is now.
    """
    network = nn.ModuleDict({"encoder": encoder, "head": head})
    theta = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    w = mask.w.detach().clone().requires_grad_()
    state = torch.get_rng_state()
    begin = begin or (lambda: torch.set_rng_state(state))

    def value(theta, views):
        begin()
        everything = theta | {n: b.clone() for n, b in network.named_buffers()}
        parts = [
            {n.split(".", 1)[1]: t for n, t in everything.items() if n.startswith(part + ".")}
            for part in ("encoder", "head")
        ]
        h = functional_call(encoder, parts[0], (torch.cat(views),)) * torch.sigmoid(w)
        return loss(*halves(functional_call(head, parts[1], (h,))))

    gradient = torch.autograd.grad(
        value(theta, views), list(theta.values()), create_graph=True, materialize_grads=True
    )
    virtual = {n: p - lr * g for (n, p), g in zip(theta.items(), gradient, strict=True)}
    found = torch.autograd.grad(value(virtual, outer or views), w)[0]
    torch.set_rng_state(state)
    return found


def halves(z):
    if isinstance(z, torch.Tensor):
        return z.chunk(2)
    return tuple(zip(*(one.chunk(2) for one in z), strict=True))


def one_step(method, optimizer, batch, change=lambda optimizer: None):
    """Train a mask's method for a step, as `fit` does; `change` comes before the optimizer's."""
    optimizer.zero_grad()
    method.loss(method.model, batch, None).backward()
    method.before_step(optimizer)
    change(optimizer)
    optimizer.step()
    method.after_step(optimizer)


def small_method(kind, encoder, views, dim=8, lr=1.0, **options):
    """Return a mask's method of an encoder of 8 dimensions; lr is the mask's learning rate."""
    mask = DimensionalMask(dim)
    heads = projector(8, 8, 4), projector(8, 8, 4)
    return kind(encoder, *heads, mask, torch.optim.SGD(mask.parameters(), lr), views, **options)


def error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def written_to() -> nn.Module:
    """Return an encoder that overwrites what its convolution returned."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 7, padding=3), nn.ReLU(inplace=True), nn.AvgPool2d(8), nn.Flatten()
    )


def plain_images(n=48):
    return load("fashion", "train", size=n)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, eps=1e-3),
    "fused AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, eps=1e-3, fused=True),
}
