"""Forward-mode rules for convolution, BatchNorm and ReLU that touch memory less often.

A tangent is the derivative of a value as the parameters move along a direction; PyTorch carries
it along in a dual tensor.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

# At its first dual tensor torch 2.15 warns of a deprecated function that it calls itself: nothing
# that a reader of ours could mend.
with warnings.catch_warnings(), forward_ad.dual_level():
    warnings.simplefilter("ignore", FutureWarning)
    forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


class FusedTangents(TorchFunctionMode):
    """Forward mode through convolutions and BatchNorm with fewer passes over memory.

    PyTorch composes the tangent of a BatchNorm out of a dozen elementwise kernels and adds the two
    parts of a convolution's into a third tensor. On 2 CPU cores that is a quarter of the pass.
    Values and tangents are what PyTorch's own rules give, up to rounding.

    One rule is not PyTorch's: what a network computes where gradients are off (`torch.no_grad`,
    `torch.inference_mode`) is a constant, as it is for a backward pass, where forward mode would
    differentiate it all the same. Entering turns gradients on.

    Args:
        cached: outputs of a `ConvolutionCache` of a pass at the same point; each is used once.
    """

    def __init__(self, cached: list["CachedOutput | None"] | None = None) -> None:
        super().__init__()
        self.cached = [] if cached is None else cached

    def __enter__(self):
        self.before = torch.is_grad_enabled()
        torch.set_grad_enabled(True)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch._C._set_fwd_grad_enabled(True)  # an exception may have skipped the network's own end
        torch.set_grad_enabled(self.before)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        cached = self.cached.pop(0) if func is F.conv2d and self.cached else None
        if func is torch._C._set_grad_enabled:  # for functions that do not come by here
            torch._C._set_fwd_grad_enabled(*args)
            return func(*args)
        if not torch.is_grad_enabled():
            return _as_a_constant(func, args, kwargs)
        if func is F.conv2d:
            return _conv2d(*args, cached=cached, **kwargs)
        rules = {F.batch_norm: _batch_norm, F.relu: _relu}
        return rules.get(func, func)(*args, **kwargs)


def _as_a_constant(func, args, kwargs):
    """Return what a function gives, without tangents; what it wrote to keeps the tangent it had."""
    with forward_ad._set_fwd_grad_enabled(False):
        result = func(*args, **kwargs)
    given = {id(one) for one in pytree.tree_leaves((args, kwargs))}
    # detached, for a view finds the tangent of what it is a view of
    return pytree.tree_map_only(
        Tensor, lambda one: one if id(one) in given else one.detach(), result
    )


@dataclass(frozen=True)
class CachedOutput:
    """What a convolution returned, with what tells whether it still is what it would return.

    Attributes:
        y: what it returned.
        version: how often y had been written to by then.
        middle: the input's middle pixel, of each image and channel.
    """

    y: Tensor
    version: int
    middle: Tensor


class ConvolutionCache(TorchFunctionMode):
    """Keep what convolutions return, so that a later forward-mode pass need not compute it again.

    Only where that pays: a convolution that sums over few numbers takes hardly longer than reading
    its result. All but the first of `small_conv` are cached: half the memory that all would take.

    Attributes:
        outputs: one entry for each call, in their order; None where nothing is cached.
    """

    WORTH = 100  # terms of the sum, at least; a greater one saves memory and takes more time

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[CachedOutput | None] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        y = func(*args, **(kwargs or {}))
        if func is F.conv2d:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            worth = y.requires_grad and weight[0].numel() >= self.WORTH
            x = args[0] if args else kwargs["input"]
            cached = CachedOutput(y.detach(), y._version, _middle(x)) if worth else None
            self.outputs.append(cached)
        return y


def _middle(x: Tensor) -> Tensor:
    """Return the middle pixel of images [..., H, W]."""
    return x.detach()[..., x.shape[-2] // 2, x.shape[-1] // 2].clone()


def check_same(before: Tensor, again: Tensor, what: str = "representations") -> None:
    """Raise a ValueError if two passes that should be one function gave different values.

    Checked on a CPU only: on a GPU that would wait for it. Two kernels may round differently, and
    layers let that grow: half of the digits of the type have to agree, which any layer that draws
    anew exceeds.
    """
    if before.device.type != "cpu":
        return
    dtype = min((before.dtype, again.dtype), key=lambda one: -torch.finfo(one).eps)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    tolerance = torch.finfo(dtype).eps ** 0.5
    before, again = before.double(), again.double()
    differ = float((before - again).norm() / before.norm().clamp(min=1e-300))
    if differ > tolerance:
        raise ValueError(
            f"two passes at the same parameters gave different {what} (by {differ:.1e} of their "
            "length), so there is no meta-gradient: a module or the loss draws numbers or "
            "remembers something that cannot be put back. Let it draw from torch, random, NumPy's "
            "global generator or a generator that it holds as an attribute; let it remember in "
            "buffers; or put it into evaluation mode"
        )


def _split(*tensors: Tensor | None) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Return the values of dual tensors, and their tangents."""
    pairs = [(None, None) if t is None else forward_ad.unpack_dual(t) for t in tensors]
    return [value for value, _ in pairs], [tangent for _, tangent in pairs]


def _conv2d(input, weight, bias=None, *rest, cached=None, **options):
    """ẏ = ẋ * W + x * Ẇ + ḃ; for y a cached output will do."""
    (x, weight, bias), (dx, dweight, dbias) = _split(input, weight, bias)
    dy = None if dx is None else F.conv2d(dx, weight, None, *rest, **options)
    if dweight is not None or dbias is not None:
        dweight = torch.zeros_like(weight) if dweight is None else dweight
        part = F.conv2d(x, dweight, dbias, *rest, **options)
        dy = part if dy is None else dy.add_(part)
    if dy is None:
        return F.conv2d(x, weight, bias, *rest, **options)
    # not if it was written to since, or computed in another precision
    if cached is not None and cached.version == cached.y._version and cached.y.dtype == dy.dtype:
        check_same(cached.middle, _middle(x))
        y = cached.y
    else:
        y = F.conv2d(x, weight, bias, *rest, **options)
    return forward_ad.make_dual(y, dy)


def _relu(input, inplace=False):
    (value,), (dx,) = _split(input)
    if not inplace or dx is None:
        return F.relu(input, inplace)
    value.relu_()
    torch.ops.aten.threshold_backward.grad_input(dx, value, 0, grad_input=dx)
    return input


def _batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    """With y = γ x̂ + β over n values a channel, s the scale 1 / √(variance + ε) and A = γ s:

    ẏ = A ẋ + (γ̇ − A ⟨ẋ, x̂⟩ / n) x̂ + (β̇ − A Σẋ / n).
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    (x, weight, bias), (dx, dweight, dbias) = _split(input, weight, bias)
    y, mean, s = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
    if dx is None and dweight is None and dbias is None:
        return y
    of_x = torch.zeros_like(s) if dweight is None else dweight
    constant = torch.zeros_like(s) if dbias is None else dbias
    if dx is not None:
        # what the backward kernel returns for γ and β are the two sums
        _, product, total = torch.ops.aten.native_batch_norm_backward(
            dx, x, weight, None, None, mean, s, True, eps, [False, True, True]
        )
        scale = s if weight is None else s * weight
        n = x.numel() // x.shape[1]
        of_x, constant = of_x - scale * product / n, constant - scale * total / n
    dy = F.batch_norm(x, mean, s.pow(-2) - eps, of_x, constant, False, 0.0, eps)
    if dx is not None:
        dy = dy.addcmul_(dx, scale.to(dx.dtype).view(-1, *[1] * (x.dim() - 2)))
    return forward_ad.make_dual(y, dy)
