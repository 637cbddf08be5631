"""What the tests of the theory share: points by hand, and drawn problems."""

import torch
from hypothesis import strategies as st

EXACT = 1e-12  # sums of float64: some thousand times its rounding


def pairs(*points) -> torch.Tensor:
    """Return two identical views of each point."""
    one = torch.tensor(points, dtype=torch.float64)
    return torch.stack([one, one])


def axes(count: int) -> list[list[float]]:
    """Return ±e₁ … ±e_count."""
    return [[s * float(i == j) for j in range(count)] for i in range(count) for s in (1.0, -1.0)]


SIGNED = [[s * 0.6, t * 0.48, 0.64] for s in (1, -1) for t in (1, -1)]
MASK = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
E1, E2 = [1.0, 0.0], [0.0, 1.0]


@st.composite
def problems(draw):
    """Draw views, labels, a temperature, and whether to normalize."""
    v, n, d = draw(st.integers(2, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from([0.01, 0.3, 1.0, 3.0]))
    images = torch.randn(1, n, d, generator=generator, dtype=torch.float64)
    views = images + spread * torch.randn(v, n, d, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, draw(st.integers(1, n)), (n,), generator=generator)
    temperature = draw(st.sampled_from([0.07, 0.2, 1.0, 5.0]))
    return views, labels, temperature, draw(st.booleans())
