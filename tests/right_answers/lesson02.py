"""Two right answers to each exercise of lesson 02, written as the references are not.

This file is also handed in as a cell of a notebook, so it imports nothing of the course.
"""

import math

import numpy as np
import torch


def correlation_by_numpy(z1, z2):
    dim = z1.shape[1]
    whole = np.corrcoef(z1.double().numpy(), z2.double().numpy(), rowvar=False)
    return torch.from_numpy(whole[:dim, dim:])


def correlation_by_loops(z1, z2):
    def pearson(x, y):
        x, y = (x - x.mean()).double(), (y - y.mean()).double()
        return float((x * y).sum() / (x.norm() * y.norm()))

    return torch.tensor([[pearson(x, y) for y in z2.T] for x in z1.T])


def redundancy_by_loops(correlation):
    rows = enumerate(correlation.tolist())
    squares = [value**2 for i, row in rows for j, value in enumerate(row) if i != j]
    return sum(squares) / len(squares)


def redundancy_by_subtraction(correlation):
    off = correlation - torch.diag(correlation.diagonal())
    return off.pow(2).sum() / (len(off) ** 2 - len(off))


def barlow_by_loops(z1, z2, off_diagonal):
    C = correlation_by_loops(z1, z2).tolist()
    terms = [
        (1 - value) ** 2 if i == j else off_diagonal * value**2
        for i, row in enumerate(C)
        for j, value in enumerate(row)
    ]
    return sum(terms)


def barlow_with_unbiased_deviation(z1, z2, off_diagonal):
    a, b = ((z - z.mean(0)) / z.std(0) for z in (z1, z2))
    C = a.T @ b / (len(z1) - 1)  # N - 1 in both places is right too
    square = (C - torch.eye(len(C))) ** 2
    weight = torch.full_like(C, off_diagonal).fill_diagonal_(1)
    return (weight * square).sum()


def dependence_of_squares(x, y):
    x, y = (x - x.mean(1, keepdim=True)).square(), (y - y.mean(1, keepdim=True)).square()
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return ((x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))).abs()


def dependence_of_distances_from_the_middle(x, y):
    def away(one):
        return (one - one.median(1, keepdim=True).values).abs()

    pairs = zip(away(x), away(y), strict=True)
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1].abs() for pair in pairs])


RIGHT = {
    "02.1": [correlation_by_numpy, correlation_by_loops],
    "02.2": [redundancy_by_loops, redundancy_by_subtraction],
    "02.3": [barlow_by_loops, barlow_with_unbiased_deviation],
    "02.5": [
        lambda s: math.exp(-sum(p * math.log(p) for p in (s / s.sum()).tolist())),
        lambda s: torch.exp(torch.distributions.Categorical(probs=s).entropy()),
    ],
    "02.4": [
        lambda dim, off: off * (dim**2 - dim),
        lambda dim, off: off * (torch.ones(dim, dim) - torch.eye(dim)).sum(),
    ],
    "02.6": [dependence_of_squares, dependence_of_distances_from_the_middle],
}
