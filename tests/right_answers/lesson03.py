"""Two right answers to each exercise of lesson 03, written as the references are not.

This file is also handed in as a cell of a notebook, so it imports nothing of the course.
"""

import math

import torch
from torch.nn import functional as F


def none_if_constant(share, h):
    return torch.where(h.amax(0) > h.amin(0), share, 0)


def class_r2_by_scatter(h, labels):
    count = torch.bincount(labels).float()
    total = torch.zeros(len(count), h.shape[1]).index_add_(0, labels, h)
    fitted = (total / count[:, None].clamp(min=1))[labels]
    return none_if_constant(fitted.var(0) / h.var(0), h)


def class_r2_within(h, labels):
    within = sum(
        (h[labels == c] - h[labels == c].mean(0)).pow(2).sum(0) for c in set(labels.tolist())
    )
    return none_if_constant(1 - within / (h - h.mean(0)).pow(2).sum(0), h)


def nuisance_by_lstsq(h, nuisance):
    x = nuisance - nuisance.mean(0)
    y = h - h.mean(0)
    explained = (x @ torch.linalg.lstsq(x, y).solution).pow(2).sum(0)
    return none_if_constant(explained / y.pow(2).sum(0), h)


def nuisance_by_normal_equations(h, nuisance):
    x = torch.cat([torch.ones(len(h), 1), nuisance], 1)
    fitted = x @ torch.linalg.solve(x.T @ x, x.T @ h)
    return none_if_constant(fitted.var(0) / h.var(0), h)


def top_mask_by_rank(scores, share):
    rank = (scores[None] > scores[:, None]).sum(1)
    return rank < max(1, round(share * len(scores)))


def top_mask_of_zeros_and_ones(scores, share):
    k = max(1, round(share * len(scores)))
    return torch.zeros(len(scores)).scatter(0, scores.topk(k).indices, 1.0).int()


def split_gain_by_loops(right, whole_right, first):
    choosing = [i for i, chosen in enumerate(first.tolist()) if chosen]
    judging = [i for i, chosen in enumerate(first.tolist()) if not chosen]
    scores = [sum(row[i] for i in choosing) for row in right.tolist()]
    best = right.tolist()[scores.index(max(scores))]
    whole = whole_right.tolist()
    return sum(best[i] - whole[i] for i in judging) / len(judging)


def split_gain_by_index(right, whole_right, first):
    rest = (~first).nonzero()[:, 0]
    best = max(range(len(right)), key=lambda m: int((right[m] & first).sum()))
    difference = right[best].double() - whole_right.double()
    return difference[rest].mean()


def whitened_by_svd(train_h, test_h, shrinkage):
    n, mean = len(train_h), train_h.mean(0)
    _, size, directions = torch.linalg.svd((train_h - mean).double() / math.sqrt(n - 1))
    variance = torch.zeros(len(directions), dtype=torch.float64, device=size.device)
    variance[: len(size)] = size**2
    shrunk = variance + shrinkage * (variance.mean() - variance)
    turned = (test_h - mean).double() @ directions.T
    return ((turned / torch.sqrt(shrunk)) @ directions).float()


def whitened_by_newton(train_h, test_h, shrinkage):
    covariance = torch.cov(train_h.double().T, correction=0)
    identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
    shrunk = covariance.lerp(covariance.trace() / len(covariance) * identity, shrinkage)
    size = shrunk.norm()
    y, z = shrunk / size, identity  # Denman and Beavers: z tends to the inverse root
    for _ in range(60):
        step = (3 * identity - z @ y) / 2
        y, z = y @ step, step @ z
    return ((test_h - train_h.mean(0)).double() @ z).float() / size.sqrt().float()


def map_without_loud_directions(h1, h2):
    variance, directions = torch.linalg.eigh(torch.cov((h1 - h2).T))
    quiet = directions[:, variance < variance.mean() / 4]
    return quiet @ quiet.T


def map_by_whitening_all(h1, h2):
    variance, directions = torch.linalg.eigh(torch.cov(torch.cat([h1, h2]).T))
    return directions / (variance + 1e-3 * variance.mean()).sqrt()


RIGHT = {
    "03.1": [class_r2_by_scatter, class_r2_within],
    "03.2": [nuisance_by_lstsq, nuisance_by_normal_equations],
    "03.3": [top_mask_by_rank, top_mask_of_zeros_and_ones],
    "03.4": [
        lambda a, b, mask: F.cosine_similarity((a * mask)[:, None], (b * mask)[None], dim=2),
        lambda a, b, mask: F.normalize(a[:, mask], dim=1) @ F.normalize(b[:, mask], dim=1).T,
    ],
    "03.5": [split_gain_by_loops, split_gain_by_index],
    "03.6": [whitened_by_svd, whitened_by_newton],
    "03.7": [map_without_loud_directions, map_by_whitening_all],
}
