"""Alignment and uniformity against their definitions."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from samples import GOOD, projections
from torch.utils._python_dispatch import TorchDispatchMode

from mmlite import contrastive
from mmlite.contrastive import alignment, uniformity


@settings(max_examples=40, deadline=None)
@given(z=projections(), t=st.floats(0.5, 4.0), alpha=st.floats(0.5, 3.0))
@example(
    z=[torch.tensor([[0.0295], [2.2079]]).double(), torch.tensor([[0.2472], [-1.9030]]).double()],
    t=1.0,
    alpha=0.5,
)
def test_alignment_and_uniformity_are_their_definitions(z, t, alpha):
    u1, u2 = (v / v.norm(dim=1, keepdim=True) for v in z)
    distances = [float((a - b).norm()) ** alpha for a, b in zip(u1, u2, strict=True)]
    # rounding by 1e-16 is 1e-8 in its square root
    expected = pytest.approx(sum(distances) / len(distances), abs=1e-6)
    assert alignment(*z, alpha).item() == expected
    pairs = list(itertools.combinations(u1, 2))
    kernel = [math.exp(-t * float((a - b).square().sum())) for a, b in pairs]
    expected = math.log(sum(kernel) / len(kernel))
    assert uniformity(z[0], t).item() == pytest.approx(expected, abs=1e-9)


def test_a_collapsed_and_a_spread_representation():
    ones = torch.ones(4, 3)
    assert alignment(ones, 2 * ones).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(ones).item() == pytest.approx(0, abs=1e-6)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(opposite).item() == pytest.approx(-8, rel=1e-5)
    assert alignment(opposite, -opposite).item() == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_views_that_agree_have_no_gradient(alpha):
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    alignment(z, z, alpha).backward()
    assert torch.equal(z.grad, torch.zeros(5, 3))
    far = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: alignment(z, other, alpha), far)


@pytest.fixture
def small_pieces(monkeypatch):
    """Let `uniformity` work in pieces of a few rows already where there are few."""
    monkeypatch.setattr(contrastive, "PAIRS_AT_ONCE", 30)


def uniformity_by_pairs(z, t=2.0):
    """Return the definition's sum over i < j, which autograd can differentiate."""
    u = z / z.norm(dim=-1, keepdim=True)
    i, j = torch.triu_indices(len(z), len(z), 1)
    return (-t * (u[i] - u[j]).square().sum(1)).logsumexp(0) - math.log(len(i))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("n", [6, 7, 11, 31, 40])
def test_uniformity_in_pieces_is_its_definition_and_so_are_its_derivatives(n):
    generator = torch.Generator().manual_seed(n)
    z = torch.randn(n, 3, generator=generator, dtype=torch.float64).requires_grad_()
    value, expected = uniformity(z), uniformity_by_pairs(z)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert uniformity(z.float()).item() == pytest.approx(expected.item(), rel=1e-6)
    direction = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    (first,) = torch.autograd.grad(value, z, create_graph=True)
    (second,) = torch.autograd.grad((first * direction).sum(), z)
    (wanted,) = torch.autograd.grad(expected, z, create_graph=True)
    (wanted_second,) = torch.autograd.grad((wanted * direction).sum(), z)
    torch.testing.assert_close(first, wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(second, wanted_second, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("t", [1e-3, 2.0, 1e3])
def test_uniformity_in_pieces_neither_overflows_nor_vanishes(t):
    z = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value, expected = uniformity(z, t), uniformity_by_pairs(z.double(), t)
    value.backward()
    (wanted,) = torch.autograd.grad(expected, z)
    # float32 rounds a distance by 1e-7, and t stretches it
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(z.grad, wanted, rtol=1e-3, atol=1e-6 * t)


@pytest.mark.usefixtures("small_pieces")
def test_uniformity_in_pieces_under_functional_transforms():
    generator = torch.Generator().manual_seed(1)
    z, tangent = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    for transform in (
        lambda f: torch.func.grad(f)(z),
        lambda f: torch.func.jvp(f, (z,), (tangent,))[1],
        lambda f: torch.func.jvp(torch.func.grad(f), (z,), (tangent,))[1],
        lambda f: torch.func.grad(lambda z: torch.func.jvp(f, (z,), (tangent,))[1])(z),
        lambda f: torch.func.hessian(f)(z),
        lambda f: torch.func.jacrev(torch.func.jacrev(f))(z),
        lambda f: torch.func.vmap(torch.func.grad(f))(torch.stack([z, tangent])),
        lambda f: torch.func.vmap(f)(torch.stack([z, tangent])),
    ):
        wanted = transform(uniformity_by_pairs)
        torch.testing.assert_close(transform(uniformity), wanted, rtol=1e-9, atol=1e-11)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(z, tangent)
        found = torch.autograd.forward_ad.unpack_dual(uniformity(dual)).tangent
    wanted = torch.func.jvp(uniformity_by_pairs, (z,), (tangent,))[1]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    compiled = torch.compile(uniformity, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(z), uniformity_by_pairs(z), rtol=1e-9, atol=1e-11)
    with torch.inference_mode():
        torch.testing.assert_close(uniformity(z), uniformity_by_pairs(z), rtol=1e-12, atol=0)


@pytest.mark.usefixtures("small_pieces")
def test_autocast_reaches_neither_pass_of_uniformity():
    z = torch.randn(16, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    (plain,) = torch.autograd.grad(uniformity(z), z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (within,) = torch.autograd.grad(uniformity(z), z)
    torch.testing.assert_close(within, plain, rtol=1e-6, atol=1e-8)


def test_uniformity_of_many_rows_does_not_hold_all_pairs():
    # the most that PyTorch holds at once, counted from the sizes of what its operations make
    n = 3000
    z = torch.randn(n, 16, generator=torch.Generator().manual_seed(3)).requires_grad_()
    with Largest() as seen:
        uniformity(z).backward()
    assert seen.numbers <= max(contrastive.PAIRS_AT_ONCE, n * 16)
    assert bool(z.grad.isfinite().all())


class Largest(TorchDispatchMode):
    """Note the greatest number of entries of a tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for one in torch.utils._pytree.tree_leaves(result):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.untyped_storage().nbytes() // 4)
        return result


def test_the_peak_of_ten_thousand_rows_is_small():
    code = """
import resource, sys, torch
from mmlite.contrastive import uniformity
z = torch.randn(10_000, 64).requires_grad_()
uniformity(z[:100]).backward()
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
uniformity(z).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # 10,000² float32 take 400 MB; a few pieces of 4 MB, and what threads and libraries add
    assert int(done.stdout) < 150e6


def test_their_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="alpha must be a finite number greater than 0"):
        alignment(GOOD, GOOD, 0)
    with pytest.raises(ValueError, match="t must be a finite number greater than 0"):
        uniformity(GOOD, -1)
    with pytest.raises(ValueError, match="at least 2 images"):
        uniformity(GOOD[:1])
    assert alignment(GOOD[:1], GOOD[:1]).item() == pytest.approx(0, abs=1e-6)
