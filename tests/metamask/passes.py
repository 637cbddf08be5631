"""Networks whose passes are hard to make twice, and what their gradients should be."""

import copy
import random

import numpy as np
import torch
from problems import by_double_backward
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmlite.contrastive import nt_xent
from mmlite.metamask import DimensionalMask, LookaheadMetaMask

DIM, LR = 6, 0.5
SAME = ("exact", "unrolled")


class Seeds:
    """Put every random generator that a test's modules use into one state."""

    @staticmethod
    def plant(*modules):
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        for module in (m for top in modules for m in top.modules()):
            for name, value in vars(module).items():
                if isinstance(value, torch.Generator):
                    value.manual_seed(5)
                elif isinstance(value, np.random.Generator):
                    setattr(module, name, np.random.default_rng(5))
                elif isinstance(value, random.Random):
                    value.seed(5)


def loss_after_a_step(encoder, head, w, views, loss, lr=LR, outer=None):
    """Return J(w), on copies: both passes begin with the same generators and buffers."""
    start = encoder, head, loss if isinstance(loss, nn.Module) else None
    parts = copy.deepcopy(start)

    def value(seen):
        fresh = copy.deepcopy(start)
        for part, new in zip(parts, fresh, strict=True):  # buffers as they were
            both = (one.modules() if one is not None else [] for one in (part, new))
            for old_m, new_m in zip(*both, strict=True):
                old_m._buffers.update(new_m._buffers)
        Seeds.plant(*(p for p in parts if p is not None))
        z = parts[1](parts[0](torch.cat(seen)) * torch.sigmoid(w))
        return (loss if parts[2] is None else parts[2])(*z.chunk(2))

    parameters = [p for part in parts[:2] for p in part.parameters()]
    gradient = torch.autograd.grad(value(views), parameters, materialize_grads=True)
    with torch.no_grad():
        for p, g in zip(parameters, gradient, strict=True):
            p -= lr * g
    return float(value(outer or views).detach())


def quotients(encoder, head, mask, views, loss=nt_xent, step=1e-5, **options):
    """Return ∂J/∂w by central differences: they err by step² and, by rounding, 1e-16 / step."""
    found = []
    for dimension in range(len(mask.w)):
        change = torch.zeros_like(mask.w)
        change[dimension] = step
        ahead, behind = (
            loss_after_a_step(encoder, head, mask.w.detach() + c, views, loss, **options)
            for c in (change, -change)
        )
        found.append((ahead - behind) / (2 * step))
    return torch.tensor(found, dtype=torch.float64)


def double_backward(encoder, head, mask, views, loss=nt_xent, outer=None, lr=LR):
    """Return ∂J/∂w by keeping the graph of the step; each pass begins with the same generators."""

    def begin():
        Seeds.plant(encoder, head)

    return by_double_backward(encoder, head, mask, views, lr, outer, loss, begin)


class Checkpointed(nn.Module):
    """A network whose blocks are computed again in the backward pass."""

    def __init__(self, *blocks, reentrant=False):
        super().__init__()
        self.blocks, self.reentrant = nn.ModuleList(blocks), reentrant

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


class NormUnderNoGrad(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            length = x.norm(dim=1, keepdim=True)
        return x / length


class NormInInferenceMode(nn.Module):
    def forward(self, x):
        with torch.inference_mode():
            length = float(x.norm())
        return x / length


class ConvolutionUnderNoGrad(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        with torch.no_grad():
            gate = torch.sigmoid(self.one(x))
        return F.relu(self.two(x)) * gate


class StraightThrough(nn.Module):
    @torch.no_grad()
    def rest(self, x):
        return torch.round(4 * x) / 4 - x

    def forward(self, x):
        return x + self.rest(x)


class Written(nn.Module):
    """What is written to under no_grad keeps its derivative."""

    def forward(self, x):
        y = x * 1
        with torch.no_grad():
            y[:, ::2].mul_(0.5)
            first = y.view(len(y), -1)[:, :1]
        return y * (1 + first)


class Power(torch.autograd.Function):
    """A function of a user's own, with its derivatives."""

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * ctx.saved_tensors[0] * tangent


class OwnFunction(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            size = Power.apply(x).mean(1, keepdim=True)
        return Power.apply(x) / (1 + size)


class TorchNoise(nn.Module):
    def forward(self, x):
        return x * (1 + 0.3 * torch.rand_like(x))


class PythonNoise(nn.Module):
    def forward(self, x):
        return x * (1 + 0.3 * random.random()) + random.gauss(0, 0.1)


class NumpyNoise(nn.Module):
    def forward(self, x):
        return x * torch.from_numpy(1 + 0.3 * np.random.rand(*x.shape)).to(x)  # noqa: NPY002


class OwnTorchNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.draw = torch.Generator()

    def forward(self, x):
        return x * (1 + 0.3 * torch.rand(x.shape, generator=self.draw).to(x))

    def __deepcopy__(self, memo):
        return type(self)()


class OwnNumpyNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.draw = np.random.default_rng(0)

    def forward(self, x):
        return x * torch.from_numpy(1 + 0.3 * self.draw.random(x.shape)).to(x)


class OwnPythonNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.draw = random.Random(0)

    def forward(self, x):
        return x * (1 + 0.3 * self.draw.random())


class RunningScale(nn.Module):
    """A buffer that moves in training and divides what passes through."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        if self.training:
            self.scale.mul_(0.7).add_(0.3 * x.detach().abs().mean())
        return x / self.scale


class Reassigned(RunningScale):
    def forward(self, x):
        self.scale = 0.7 * self.scale + 0.3 * x.detach().abs().mean()
        return x / self.scale


def dense(*middle):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Softplus(), *middle, nn.Linear(9, DIM)
    )


def block(width_in, width_out):
    return nn.Sequential(nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out), nn.Tanh())


class Tokens(nn.Module):
    """A transformer that takes an image's pixels for tokens; float64, no dropout."""

    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            4, 2, 8, dropout=0.0, activation="gelu", batch_first=True, **options
        )
        self.embed, self.layers = nn.Linear(3, 4), nn.TransformerEncoder(layer, 2)
        self.last = nn.Linear(4, DIM)

    def forward(self, x):
        return self.last(self.layers(self.embed(x.flatten(2).mT)).mean(1))


ENCODERS = {
    "checkpointed": lambda: nn.Sequential(nn.Flatten(), Checkpointed(block(12, 9), block(9, DIM))),
    "torch": lambda: dense(TorchNoise()),
    "random": lambda: dense(PythonNoise()),
    "NumPy": lambda: dense(NumpyNoise()),
    "a torch generator of its own": lambda: dense(OwnTorchNoise()),
    "a NumPy generator of its own": lambda: dense(OwnNumpyNoise()),
    "a random generator of its own": lambda: dense(OwnPythonNoise()),
    "running scale": lambda: dense(RunningScale()),
    "reassigned scale": lambda: dense(Reassigned()),
    "attention": Tokens,
    "attention, norm first": lambda: Tokens(norm_first=True),
    "attention in evaluation": lambda: Tokens().eval(),
}


# what they hold for a constant has a part in the quotient, and none in the derivative
CONSTANTS = {
    "norm under no_grad": lambda: dense(NormUnderNoGrad()),
    "norm in inference mode": lambda: dense(NormInInferenceMode()),
    "written under no_grad": lambda: dense(Written()),
    "own function under no_grad": lambda: dense(OwnFunction()),
    "straight through": lambda: dense(StraightThrough()),
    "convolution under no_grad": lambda: nn.Sequential(
        ConvolutionUnderNoGrad(), nn.Flatten(), nn.Linear(12, DIM)
    ),
    "spectral norm": lambda: dense(nn.utils.parametrizations.spectral_norm(nn.Linear(9, 9))),
    "spectral norm, old": lambda: dense(nn.utils.spectral_norm(nn.Linear(9, 9))),
}


def problem(encoder, seed=0, n=5):
    torch.manual_seed(seed)
    encoder = encoder().double()
    head = nn.Sequential(nn.Linear(DIM, 5), nn.BatchNorm1d(5), nn.Softplus(), nn.Linear(5, 4))
    mask = DimensionalMask(DIM).double()
    nn.init.normal_(mask.w)
    views = tuple(torch.rand(n, 3, 2, 2, dtype=torch.float64) for _ in range(2))
    return encoder, head.double(), mask, views


WIDTHS = [12, 9], [9, DIM]


class Counts(nn.Module):
    """What nobody can put back: a number that each call changes."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


def lookahead(encoder, views=None, **options):
    encoder, head, mask, _ = problem(encoder)
    other = copy.deepcopy(head)
    return LookaheadMetaMask(
        encoder,
        head,
        other,
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        views or (lambda images, generator: (images[:, 0], images[:, 1])),
        redundancy_weight=0.3,
        **options,
    )


def images(seed, n=5):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, 3, 2, 2, dtype=torch.float64, generator=draw)
