"""Costs against PyTorch's own counter, hand-worked cases, simulated rings and counted messages."""

import math
import sys

import pytest
import several
import torch
import torch.distributed as dist
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from mmlite.distributed import batch_norm
from mmlite.encoders import projector, resnet18, small_conv
from mmlite.exercises import find
from mmlite.experiments import costs
from mmlite.experiments.costs import Cost, MachineLimits
from mmlite.experiments.parts import build, images_of
from mmlite.experiments.recipes import RECIPES
from mmlite.training import fit


@settings(max_examples=30, deadline=None)
@given(
    images=st.integers(1, 3),
    channels_in=st.integers(1, 4),
    channels_out=st.integers(1, 4),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
)
def test_a_convolution_has_the_operations_that_torch_counts(
    images, channels_in, channels_out, height, width, kernel, stride
):
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
    x = torch.rand(images, channels_in, height, width)
    with FlopCounterMode(display=False) as counter:
        y = layer(x)
    cost = costs.convolution_cost(images, channels_in, channels_out, height, width, kernel, stride)
    assert cost.flops == counter.get_total_flops()
    assert cost.bytes == 4 * (x.numel() + layer.weight.numel() + y.numel())
    assert costs.layer_cost(layer, x, y) == cost


def test_a_networks_operations_are_those_that_torch_counts():
    network = nn.Sequential(resnet18(3, 16), projector(16, 8, 4))
    x = torch.rand(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:
        network(x)
    told = costs.layer_times(network, x, repeats=1)
    dense = [one.cost.flops for one in told if one.kind in ("Conv2d", "Linear")]
    assert sum(dense) == counter.get_total_flops()
    assert {one.kind for one in told} == {"Conv2d", "Linear", "BatchNorm2d", "BatchNorm1d", "ReLU"}
    assert all(one.seconds > 0 for one in told)
    assert told[0].name == "0.1.conv1"


def test_the_operations_of_a_call_are_counted_backwards_and_forward_mode_too():
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 4)
    product = 2 * 2 * 3 * 4  # a multiply-add is two
    assert costs.count_flops(lambda: a @ b) == product
    assert costs.count_flops(lambda: (a @ b).sum().backward()) == 2 * product  # b asks for none
    a = a.detach()
    with forward_ad.dual_level():  # the value, and the two terms of its tangent
        x, y = forward_ad.make_dual(a, a), forward_ad.make_dual(b, b)
        assert costs.count_flops(lambda: x @ y) == 3 * product
    network, x = nn.Sequential(resnet18(3, 16), projector(16, 8, 4)), torch.rand(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    assert costs.count_flops(lambda: network(x).sum().backward()) == counter.get_total_flops()


def test_layers_that_touch_each_number_are_counted_by_hand():
    x = torch.rand(2, 3, 4, 5)  # 120 numbers, 480 bytes
    assert costs.layer_cost(nn.BatchNorm2d(3), x, x) == Cost(600, 3 * 480)
    assert costs.layer_cost(nn.ReLU(), x, x) == Cost(120, 2 * 480)
    assert costs.layer_cost(nn.Flatten(), x, x) is None
    half = x.bfloat16()
    assert costs.layer_cost(nn.ReLU(), half, half) == Cost(120, 480)


def test_a_layer_is_timed_on_its_own_input_and_parameters_stay():
    network = small_conv(1, 8)
    before = [p.clone() for p in network.parameters()]
    told = costs.layer_times(network, torch.rand(4, 1, 16, 16), repeats=3)
    assert [one.kind for one in told] == ["Conv2d", "BatchNorm2d", "ReLU"] * 4
    # 16 → 8 → 4 → 2 → 2 pixels a side; channels 1, 32, 64, 128, 8
    sizes = [(1, 32, 16, 2), (32, 64, 8, 2), (64, 128, 4, 2), (128, 8, 2, 1)]
    for (a, b, side, stride), one in zip(sizes, told[::3], strict=True):
        assert one.cost == costs.convolution_cost(4, a, b, side, side, 3, stride)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not any(m._forward_hooks for m in network.modules())


def test_the_roof_has_a_slope_and_a_flat_part():
    limits = MachineLimits(flops_per_second=100.0, bytes_per_second=10.0)
    assert limits.ridge == 10
    assert [limits.attainable(x) for x in (1, 10, 50)] == [10, 100, 100]
    assert limits.seconds(Cost(50, 10)) == 1  # bytes bound it
    assert limits.seconds(Cost(500, 10)) == 5  # operations do
    cost = Cost(30, 20)
    assert limits.seconds(cost) == pytest.approx(cost.flops / limits.attainable(cost.intensity))


def test_measured_limits_are_what_is_done_over_the_seconds_that_it_takes(monkeypatch):
    done = []

    def four_seconds(run, repeats, device):
        with FlopCounterMode(display=False) as counter:
            result = run()
        done.append((counter.get_total_flops(), 2 * result.nbytes))  # a copy reads and writes
        return 4.0

    monkeypatch.setattr(costs, "_least_seconds", four_seconds)
    limits = costs.measure_limits()
    (flops, _), (_, moved) = done
    assert limits == MachineLimits(flops / 4, moved / 4)
    assert flops > 1e10
    assert moved > 1e8


def test_the_least_and_the_median_are_of_the_runs_after_the_first(monkeypatch):
    clock, took, ran = [0.0], iter([90.0, 7.0, 3.0, 5.0, 90.0, 7.0, 3.0, 5.0]), []

    def run():
        ran.append(1)
        clock[0] += next(took)

    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])
    assert costs._least_seconds(run, 3, torch.device("cpu")) == 3
    assert costs._median_seconds(run, 3, torch.device("cpu")) == 5
    assert len(ran) == 8


def test_a_machines_limits_can_be_measured():
    limits = costs.measure_limits(repeats=1)
    assert 0 < limits.flops_per_second < math.inf
    assert 0 < limits.bytes_per_second < math.inf


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8])
def test_a_ring_takes_as_long_as_one_that_is_played_through(processes):
    message, speed, latency = 120.0, 7.0, 0.25
    pieces = [[{(rank, piece)} for piece in range(processes)] for rank in range(processes)]
    seconds = 0.0
    for step in range(2 * (processes - 1)):
        sent = [(rank, (rank - step) % processes) for rank in range(processes)]
        arriving = [(rank, piece, set(pieces[rank][piece])) for rank, piece in sent]
        for rank, piece, parts in arriving:
            pieces[(rank + 1) % processes][piece] |= parts
        seconds += latency + message / processes / speed
    # everyone holds every process's part of every piece
    whole = [{(rank, piece) for rank in range(processes)} for piece in range(processes)]
    assert all(of_rank == whole for of_rank in pieces)
    assert costs.ring_seconds(message, processes, speed, latency) == pytest.approx(seconds)


def test_a_profile_has_the_calls_with_their_callers(capfd):
    weight = torch.rand(200, 200, requires_grad=True)

    def run():
        (torch.rand(200, 200) @ weight).relu().sum().backward()

    run()
    capfd.readouterr()
    calls = costs.profile_calls(run)
    assert capfd.readouterr().err == ""
    assert len(calls.names) == len(calls.start) == len(calls.end) == len(calls.parent)
    assert float(calls.start[0]) == 0
    caller = {
        name: calls.names[above] if above >= 0 else None
        for name, above in zip(calls.names, calls.parent.tolist(), strict=True)
    }
    assert caller["aten::matmul"] is None
    assert "MmBackward0" in calls.names
    first = calls.names.index("aten::mm")
    assert calls.names[int(calls.parent[first])] == "aten::matmul"
    called = calls.parent >= 0
    above = calls.parent[called]
    # the profiler's clock counts in nanoseconds, and tells microseconds
    assert bool((calls.start[above] <= calls.start[called] + 1e-6).all())
    assert bool((calls.end[above] >= calls.end[called] - 1e-6).all())
    own = find("07.3").reference(calls.start, calls.end, calls.parent)
    roots = (calls.end - calls.start)[~called].sum()
    assert float(own.sum()) == pytest.approx(float(roots))
    assert float(own.min()) >= -1e-6


RECIPE = RECIPES["fashion-laptop"].replace(
    images=20, epochs=1, batch_size=10, dim=8, hidden=16, projection=6
)


def counted(rank: int, sizes: list[int]) -> dict:
    """Return the numbers in each all-reduce of the second step of a joint run."""
    parts = build(RECIPE, "joint")
    batch_norm.convert_sync_batchnorm(parts.model)
    numbers, starts, all_reduce = [], [], dist.all_reduce

    def spy(x, *rest):
        numbers.append(x.numel())
        return all_reduce(x, *rest)

    def loss(*arguments):
        starts.append(len(numbers))
        return parts.loss(*arguments)

    dist.all_reduce = spy
    images = images_of(RECIPE, "train")
    fit(parts.model, loss, images, epochs=2, batch_size=10, progress=False)
    return {
        "numbers": numbers[starts[2] : starts[3]],
        "parameters": sum(p.numel() + 1 for p in parts.model.parameters()),
        "norms": [
            m.num_features for m in parts.model.modules() if isinstance(m, batch_norm.SyncBatchNorm)
        ],
    }


def test_the_exchanges_told_are_those_of_a_step(tmp_path):
    found = several.run_in([5, 5], counted, tmp_path)[0]
    told = costs.exchanges(2, 10, 6, found["parameters"], found["norms"])
    every = [size for sizes in told.values() for size in sizes]
    assert sorted(every) == sorted(4 * n for n in found["numbers"])
    assert len(found["norms"]) == 6
    assert math.prod(len(sizes) for sizes in told.values()) == 6 * 14 * 12 * 1


def test_a_call_that_fails_leaves_no_hook_and_keywords_are_seen():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(input=x)

    network = Named()
    with pytest.raises(RuntimeError):
        costs.layer_times(network, torch.rand(3, 5))
    assert not network.layer._forward_pre_hooks
    (told,) = costs.layer_times(network, torch.rand(3, 4), repeats=1)
    assert told.cost.flops == 2 * 3 * 4 * 2
    with pytest.raises(ValueError, match="repeats must be a whole number of at least 1"):
        costs.layer_times(network, torch.rand(3, 4), repeats=0)
    with pytest.raises(ValueError, match="processes must be a whole number of at least 1"):
        costs.ring_seconds(1.0, 0, 1.0, 0.0)


def test_a_profile_lets_the_run_speak_and_says_if_there_is_nothing(capfd):
    costs.profile_calls(lambda: print("a word", torch.ones(1).item(), file=sys.stderr))
    assert "a word" in capfd.readouterr().err
    with pytest.raises(ValueError, match="no operation of torch"):
        costs.profile_calls(lambda: None)
