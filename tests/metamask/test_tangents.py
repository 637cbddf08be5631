"""Fused tangents against PyTorch's own."""

import contextlib
import copy

import pytest
import torch
from problems import odd_network, written_to
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmlite import projector, resnet18, small_conv
from mmlite.metamask import DimensionalMask, meta_gradient
from mmlite.metamask.tangents import ConvolutionCache, FusedTangents


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 8, 3, padding="same", groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4).eval(),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4 * 25)),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)),
    ],
    ids=str,
)
@pytest.mark.parametrize("moves", ["both", "input", "parameters"])
def test_fused_tangents_are_pytorchs_own(layer, moves):
    layer = copy.deepcopy(layer).double()
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 5, dtype=torch.float64)
    theta = {n: torch.randn_like(p) for n, p in layer.named_parameters()}
    if not theta and moves == "parameters":
        moves = "input"

    def run(*, fused):
        torch.manual_seed(1)
        with torch.no_grad(), forward_ad.dual_level():
            dual = {
                n: forward_ad.make_dual(p, torch.randn_like(p)) if moves != "input" else p
                for n, p in theta.items()
            }
            given_x = x.clone()
            if moves != "parameters":
                given_x = forward_ad.make_dual(given_x, torch.randn_like(x))
            buffers = {n: b.clone() for n, b in layer.named_buffers()}
            if fused:
                with FusedTangents():
                    y = functional_call(layer, dual | buffers, (given_x,))
            else:
                y = functional_call(layer, dual | buffers, (given_x,))
            return [t.clone() for t in forward_ad.unpack_dual(y)]

    for found, wanted in zip(run(fused=True), run(fused=False), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


class CountsConvolutions(TorchDispatchMode):
    """Count the convolutions that are really computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("make", "used"),
    [
        (lambda: small_conv(3, 24), 3),  # its first convolution sums over 27 numbers only
        (lambda: resnet18(3, 20), 18),  # the same, and a 1 × 1 convolution over 64
        (lambda: odd_network(16), 0),
        (written_to, 0),
    ],
    ids=["small_conv", "resnet18", "odd", "written to"],
)
def test_kept_convolutions_change_nothing_and_are_computed_once(make, used):
    torch.manual_seed(0)
    encoder, x = make(), torch.rand(6, 3, 8, 8)
    theta = {n: p.detach() for n, p in encoder.named_parameters()}
    v = {n: torch.randn_like(p) for n, p in theta.items()}

    def run(cached):
        torch.manual_seed(1)
        with torch.no_grad(), forward_ad.dual_level(), FusedTangents(cached):
            dual = {n: forward_ad.make_dual(p, v[n]) for n, p in theta.items()}
            return forward_ad.unpack_dual(functional_call(encoder, dual, (x,)))

    torch.manual_seed(1)
    with ConvolutionCache() as convolutions:
        h = encoder(x)
    cached = convolutions.outputs
    h.sum().backward()
    with CountsConvolutions() as plainly:
        wanted = run(None)
    with CountsConvolutions() as sparingly:
        found = run(cached)
    assert plainly.count - sparingly.count == used
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(found[0], h)
    assert cached == []  # so that its memory goes as the pass goes on


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 6, 3, stride=2, padding=1),
        nn.Conv2d(32, 8, 3, padding="same", groups=2, bias=False),
        nn.Conv2d(16, 4, 3, dilation=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
# float32 sums 144 products of size 1, for each of two parts
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("input_moves", [True, False])
def test_tangents_from_kept_convolutions_are_pytorchs_own(
    layer, layout, dtype, tolerance, input_moves
):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).to(dtype).to(memory_format=layout)
    x = torch.randn(3, layer.in_channels, 7, 7, dtype=dtype).to(memory_format=layout)
    v = {n: torch.randn_like(p) for n, p in layer.named_parameters()}
    dx = torch.randn_like(x)
    with ConvolutionCache() as convolutions:
        layer(x)
    assert convolutions.outputs[0] is not None
    found = []
    for mode in (FusedTangents(convolutions.outputs), contextlib.nullcontext()):
        with torch.no_grad(), forward_ad.dual_level(), mode:
            theta = {n: forward_ad.make_dual(p, v[n]) for n, p in layer.named_parameters()}
            given_x = forward_ad.make_dual(x, dx) if input_moves else x
            found.append(forward_ad.unpack_dual(functional_call(layer, theta, (given_x,))))
    for one, own in zip(*found, strict=True):
        assert torch.allclose(one, own, rtol=tolerance, atol=tolerance)
        assert one.stride() == own.stride()


def test_convolutions_kept_in_another_precision_are_computed_anew():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(16, 4, 3), torch.rand(2, 16, 5, 5)
    with ConvolutionCache() as convolutions, torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert convolutions.outputs[0].y.dtype == torch.bfloat16
    theta = {n: p.detach() for n, p in layer.named_parameters()}
    with torch.no_grad(), forward_ad.dual_level(), FusedTangents(convolutions.outputs):
        dual = {n: forward_ad.make_dual(p, torch.ones_like(p)) for n, p in theta.items()}
        y, _ = forward_ad.unpack_dual(functional_call(layer, dual, (x,)))
    assert torch.equal(y, layer(x))


def test_nothing_is_kept_of_frozen_convolutions():
    layer = nn.Conv2d(16, 4, 3).requires_grad_(False)
    with ConvolutionCache() as convolutions:
        layer(torch.rand(2, 16, 5, 5))
    assert convolutions.outputs == [None]


def test_operations_called_by_keyword_have_tangents():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 3, 2, 2))
            self.norm = nn.BatchNorm2d(6)

        def forward(self, x):
            y = F.conv2d(input=x, weight=self.weight)
            scale = {"weight": self.norm.weight, "bias": self.norm.bias}
            y = F.batch_norm(input=y, running_mean=None, running_var=None, training=True, **scale)
            return F.relu(input=y, inplace=True).flatten(1)

    torch.manual_seed(0)
    encoder, head, mask = Named(), projector(6, 5, 4), DimensionalMask(6)
    for part in (encoder, head, mask):
        part.double()
    parts = encoder, head, mask, tuple(torch.rand(4, 3, 2, 2).double() for _ in range(2))
    exact, unrolled = (meta_gradient(*parts, 0.1, method=way) for way in ("exact", "unrolled"))
    torch.testing.assert_close(exact, unrolled, rtol=1e-10, atol=1e-12)
