"""Two right answers to each exercise of lesson 01, written as the references are not.

This file is also handed in as a cell of a notebook, so it imports nothing of the course.
"""

import math

import torch
from torch.nn import functional as F


def cosine_by_loops(a, b):
    rows = [[F.cosine_similarity(x, y, dim=0) for y in b] for x in a]
    return torch.stack([torch.stack(row) for row in rows])


def cosine_by_einsum(a, b):
    return torch.einsum("np,mp->nm", a, b) / a.norm(dim=1)[:, None] / b.norm(dim=1)


def vote_by_loops(similarity, labels, classes, temperature):
    winners = []
    for s, voted in zip(similarity.tolist(), labels.tolist(), strict=True):
        votes = [0.0] * classes
        for value, label in zip(s, voted, strict=True):
            votes[label] += math.exp(value / temperature)
        winners.append(votes.index(max(votes)))
    return torch.tensor(winners)


def vote_by_softmax(similarity, labels, classes, temperature):
    weight = torch.softmax(similarity / temperature, 1)
    return torch.einsum("mk,mkc->mc", weight, F.one_hot(labels, classes).float()).argmax(1)


def views_by_gather(images, generator):
    n, c, h, w = images.shape

    def view():
        down = torch.randint(-3, 4, (n, 1, 1, 1), generator=generator)
        right = torch.randint(-3, 4, (n, 1, 1, 1), generator=generator)
        rows = torch.arange(h).view(1, 1, h, 1) + down
        columns = torch.arange(w).view(1, 1, 1, w) + right
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        picked = images[
            torch.arange(n).view(n, 1, 1, 1),
            torch.arange(c).view(1, c, 1, 1),
            rows.clamp(0, h - 1),
            columns.clamp(0, w - 1),
        ]
        picked = picked * inside
        flip = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        return torch.where(flip, picked.flip(3), picked)

    return view(), view()


def views_flipped_first(images, generator):
    def one(image):
        if torch.rand((), generator=generator) < 0.5:
            image = image.flip(-1)
        top, left = torch.randint(0, 7, (2,), generator=generator)
        padded = F.pad(image, (3, 3, 3, 3))
        return padded[:, top : top + image.shape[1], left : left + image.shape[2]]

    pairs = [(one(image), one(image)) for image in images]
    return [torch.stack(views) for views in zip(*pairs, strict=True)]


def nt_xent_by_loops(z1, z2, temperature):
    z, n = torch.cat([z1, z2]), len(z1)
    losses = []
    for i in range(2 * n):
        s = F.cosine_similarity(z[i][None], z) / temperature
        others = torch.cat([s[:i], s[i + 1 :]])
        losses.append(others.logsumexp(0) - s[(i + n) % (2 * n)])
    return sum(losses) / (2 * n)


def nt_xent_in_blocks(z1, z2, temperature):
    u1, u2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    away = torch.diag(torch.full((len(z1),), torch.inf))
    cross = u1 @ u2.T / temperature
    first = torch.cat([cross, u1 @ u1.T / temperature - away], 1)
    second = torch.cat([cross.T, u2 @ u2.T / temperature - away], 1)
    own = torch.arange(len(z1))
    return 0.5 * (F.cross_entropy(first, own) + F.cross_entropy(second, own))


def uniformity_by_loops(z, t):
    u = [row / row.norm() for row in z]
    pairs = [(i, j) for i in range(len(u)) for j in range(i)]
    squared = torch.stack([(u[i] - u[j]).dot(u[i] - u[j]) for i, j in pairs])
    return torch.exp(-t * squared).mean().log()


def uniformity_by_products(z, t):
    cosine = cosine_by_einsum(z, z)
    above = torch.triu_indices(len(z), len(z), 1)
    exponent = 2 * t * (cosine[above[0], above[1]] - 1)
    return exponent.logsumexp(0) - math.log(len(exponent))


def representation_by_centering(images):
    places = torch.arange(images.shape[2], device=images.device, dtype=images.dtype)
    rows = []
    for image in images[:, 0]:
        weight = image.sum().clamp(min=1e-6)
        down, right = (image.sum(1) @ places / weight, image.sum(0) @ places / weight)
        centered = image.roll((14 - round(float(down)), 14 - round(float(right))), (0, 1))
        rows.append((centered + centered.flip(1)).flatten())
    return torch.stack(rows)


def representation_by_profiles(images):
    brightness = images[:, 0]
    return torch.cat([brightness.sum(axis).sort(1).values for axis in (1, 2)], 1)


RIGHT = {
    "01.1": [cosine_by_loops, cosine_by_einsum],
    "01.2": [vote_by_loops, vote_by_softmax],
    "01.3": [views_by_gather, views_flipped_first],
    "01.4": [nt_xent_by_loops, nt_xent_in_blocks],
    "01.5": [
        lambda s, t: torch.exp(s / t) / torch.exp(s / t).sum(),
        lambda s, t: (s / t - (s / t).logsumexp(0)).exp(),
    ],
    "01.6": [
        lambda n, t: torch.log(torch.tensor(2 * n - 1)),
        lambda n, t: -math.log(math.exp(1 / t) / ((2 * n - 1) * math.exp(1 / t))),
    ],
    "01.7": [uniformity_by_loops, uniformity_by_products],
    "01.8": [representation_by_centering, representation_by_profiles],
}
