"""Two right answers to each exercise of lesson 05, written as the references are not.

This file is also handed in as a cell of a notebook, so it imports nothing of the course.
"""

import math
import statistics

import torch


def interval_by_statistics(a, b, quantile):
    differences = [x - y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    middle = statistics.fmean(differences)
    reach = quantile * statistics.stdev(differences) / len(differences) ** 0.5
    return torch.tensor([middle - reach, middle + reach])


def interval_by_covariance(a, b, quantile):
    table = torch.cov(torch.stack([a, b]).double())
    variance = (table[0, 0] + table[1, 1] - 2 * table[0, 1]) / len(a)
    middle = (a.mean() - b.mean()).double()
    return middle + torch.tensor([-1.0, 1.0]) * quantile * variance.sqrt()


def honest_by_loops(validation, test):
    rows = zip(validation.tolist(), test.tolist(), strict=True)
    return torch.tensor([there[seen.index(max(seen))] for seen, there in rows])


def honest_by_mask(validation, test):
    best = validation == validation.amax(1, keepdim=True)
    return (test * best).sum(1)


def power_by_loops(noise, effect, quantile):
    found = 0
    for row in noise.tolist():
        values = [x + effect for x in row]
        error = statistics.stdev(values) / len(values) ** 0.5
        found += statistics.fmean(values) / error > quantile
    return found / len(noise)


def power_by_limits(noise, effect, quantile):
    # found if the lower end of the trial's interval is above 0
    error = (noise.var(1) / noise.shape[1]).sqrt()
    return (noise.mean(1) + effect - quantile * error > 0).double().mean()


def holm_by_loops(p):
    listed, adjusted, greatest = p.tolist(), [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(listed)), key=listed.__getitem__)):
        greatest = max(greatest, min(1.0, (len(listed) - rank) * listed[place]))
        adjusted[place] = greatest
    return torch.tensor(adjusted)


def holm_by_comparison(p):
    # each value counts those that are not less than it, and takes the most of all below it
    times = p * (p[None] >= p[:, None]).sum(1)
    below = torch.where(p[None] <= p[:, None], times[None], 0)
    return below.amax(1).clamp(max=1)


def verdict_by_loops(difference, margin, quantile):
    said = []
    for row in difference.tolist():
        middle = statistics.fmean(row)
        reach = quantile * statistics.stdev(row) / len(row) ** 0.5
        if middle - reach > 0:
            said.append(1)
        elif abs(middle) + reach < margin:
            said.append(0)
        else:
            said.append(-1)
    return torch.tensor(said).float()


def verdict_by_tests(difference, margin, quantile):
    middle = difference.mean(1)
    error = difference.std(1) / math.sqrt(difference.shape[1])
    better = middle / error > quantile
    lower, upper = (middle + margin) / error > quantile, (margin - middle) / error > quantile
    return better.float() + torch.where(better, 0.0, (lower & upper).float() - 1)


def prediction_by_statistics(values, quantile):
    listed = values.tolist()
    reach = quantile * statistics.stdev(listed) * (1 + 1 / len(listed)) ** 0.5
    return torch.tensor([statistics.fmean(listed) - reach, statistics.fmean(listed) + reach])


def prediction_by_variances(values, quantile):
    # a run strays from the true mean, and the mean of n strays from it as well
    total = values.var() + values.var() / len(values)
    return values.mean() + quantile * total.sqrt() * torch.tensor([-1.0, 1.0])


def found(variance, effect):
    return float(torch.special.ndtr(torch.tensor(effect / variance**0.5 - 1.96)))


def design_by_search(pilot, seconds, budget, effect):
    a, b = (statistics.variance(row) for row in pilot.tolist())
    both = statistics.variance((pilot[0] - pilot[1]).tolist())
    cost = seconds.tolist()
    n = int(budget // sum(cost))
    best = [1.0, n, n, found(both / n, effect)]
    for of_a in range(2, int(budget / cost[0])):
        of_b = int((budget - of_a * cost[0]) / cost[1])
        if of_b >= 2 and found(a / of_a + b / of_b, effect) > best[3]:
            best = [0.0, of_a, of_b, found(a / of_a + b / of_b, effect)]
    return torch.tensor(best)


def design_by_correlation(pilot, seconds, budget, effect):
    table = torch.cov(pilot)
    a, b, shared = float(table[0, 0]), float(table[1, 1]), float(table[0, 1])
    cost = seconds.tolist()
    n = int(budget / sum(cost))
    paired = (a + b - 2 * shared) / n
    ratio = (b / a * cost[0] / cost[1]) ** 0.5
    of_a = max(2, int(budget / (cost[0] + ratio * cost[1])))
    of_b = max(2, int((budget - of_a * cost[0]) / cost[1]))
    apart = a / of_a + b / of_b
    if paired < apart:
        return torch.tensor([1.0, n, n, found(paired, effect)])
    return torch.tensor([0.0, of_a, of_b, found(apart, effect)])


RIGHT = {
    "05.1": [interval_by_statistics, interval_by_covariance],
    "05.2": [honest_by_loops, honest_by_mask],
    "05.3": [power_by_loops, power_by_limits],
    "05.4": [holm_by_loops, holm_by_comparison],
    "05.5": [verdict_by_loops, verdict_by_tests],
    "05.6": [prediction_by_statistics, prediction_by_variances],
    "05.7": [design_by_search, design_by_correlation],
}
