"""Two and three real processes against one that holds the whole batch."""

import os
import sys
import time
import weakref
from datetime import timedelta

import pytest
import several
import torch
import torch.multiprocessing as mp
from torch.autograd import forward_ad

from mmlite import distributed
from mmlite.contrastive import nt_xent
from mmlite.distributed import group
from mmlite.redundancy import barlow_twins, cross_correlation

LOSSES = {
    "nt_xent": lambda z1, z2: nt_xent(z1, z2, 0.3),
    "barlow_twins": lambda z1, z2: barlow_twins(z1, z2, 0.05),
    "weighted correlation": lambda z1, z2: (cross_correlation(z1, z2) * weights(z1)).sum(),
}
SHARDS = [[3, 3], [4, 1], [1, 2, 3]]


def weights(z):
    return torch.linspace(-1, 2, z.shape[1] ** 2, dtype=z.dtype).view(z.shape[1], -1)


def problem(count: int):
    """Return images of one batch and a matrix that projects them, all float64."""
    draw = torch.Generator().manual_seed(count)
    x1, x2 = torch.randn(2, count, 5, dtype=torch.float64, generator=draw)
    return x1, x2, torch.randn(5, 4, dtype=torch.float64, generator=draw)


def derivatives(name: str, x1, x2, start, average) -> list[torch.Tensor]:
    """Return a loss, its gradient along all of W, the gradient of that one's square, a tangent."""
    weight = start.clone().requires_grad_()
    value = LOSSES[name](x1 @ weight, x2 @ weight)
    (gradient,) = torch.autograd.grad(value, weight, create_graph=True)
    mean = average(gradient)
    (twice,) = torch.autograd.grad(mean.square().sum(), weight)
    found = [value.detach(), mean.detach().clone(), average(twice).detach().clone()]
    return found


def in_a_process(rank: int, sizes: list[int]) -> dict:
    x1, x2, start = problem(sum(sizes))
    x1, x2 = several.own(x1, rank, sizes), several.own(x2, rank, sizes)
    with distributed.sharded_batch(sizes):

        def average(gradient):
            return distributed.all_reduce_sum(gradient) / len(sizes)

        found = {name: derivatives(name, x1, x2, start, average) for name in LOSSES}
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x1, x2)
            summed = forward_ad.unpack_dual(distributed.all_reduce_sum(dual.sum(0)))
        found["tangent"] = [summed.primal, summed.tangent]
        found["correlation"] = [cross_correlation(x1, x2)]
        found["rows"] = [distributed.all_gather_row(torch.full((2,), float(rank)))]
        whole = torch.arange(2 * sum(sizes)).view(2, -1)
        found["share"] = [
            distributed.local_shard(whole, dim=1),
            several.own(whole.T, rank, sizes).T,
        ]
    mine = [torch.full((2,), float(rank)), torch.full((1, 3), 2.0 * rank)]
    distributed.all_reduce_mean(mine)
    found["average"] = mine
    taken = torch.full((2, 2), float(rank)).T
    distributed.broadcast([taken])
    found["taken"] = [taken]
    found["gathered"] = distributed.all_gather_objects(f"process {rank}")
    found["first"] = distributed.broadcast_result(lambda: rank)
    try:
        distributed.broadcast_result(lambda: rank // 0)
    except ZeroDivisionError as error:
        found["raised"] = str(error)
    found["who"] = [distributed.rank(), distributed.world_size()]
    return found


@pytest.mark.parametrize("sizes", SHARDS, ids=str)
def test_shards_have_the_whole_batchs_losses_and_derivatives(sizes, tmp_path):
    processes_found = several.run_in(sizes, in_a_process, tmp_path)
    x1, x2, start = problem(sum(sizes))
    for rank, found in enumerate(processes_found):
        for name in LOSSES:
            wanted = derivatives(name, x1, x2, start, lambda gradient: gradient)
            for got, want in zip(found[name], wanted, strict=True):
                assert torch.allclose(got, want, rtol=1e-10, atol=1e-12), (rank, name)
        assert torch.allclose(found["tangent"][0], x1.sum(0))
        assert torch.allclose(found["tangent"][1], x2.sum(0))
        assert torch.allclose(found["correlation"][0], cross_correlation(x1, x2))
        middle = (len(sizes) - 1) / 2
        assert found["average"][0].tolist() == [middle, middle]
        assert found["average"][1].tolist() == [[2 * middle] * 3]
        assert found["rows"][0].tolist() == [[float(other)] * 2 for other in range(len(sizes))]
        assert torch.equal(*found["share"])
        assert found["taken"][0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
        assert found["gathered"] == [f"process {other}" for other in range(len(sizes))]
        assert (found["first"], found["raised"]) == (0, "integer division or modulo by zero")
        assert found["who"] == [rank, len(sizes)]


def leave(rank: int, folder: str, hangs: bool, port: str) -> None:
    """Process 1 dies or hangs without a word; process 0 writes what it is told."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    timeout = timedelta(seconds=5 if hangs else 600)
    told = os.path.join(folder, "told")
    try:
        with distributed.process_group("cpu", timeout), distributed.sharded_batch([2, 2]):
            started = time.monotonic()
            if rank == 1:
                while hangs and not os.path.exists(told) and time.monotonic() - started < 300:
                    time.sleep(0.1)
                os._exit(0)
            for _ in range(2):
                distributed.all_reduce_sum(torch.ones(2))
    except distributed.ProcessError as error:
        with open(told + ".part", "w") as file:
            file.write(f"{time.monotonic() - started}\n{error}")
        os.rename(told + ".part", told)


@pytest.mark.parametrize("hangs", [False, True], ids=["dies", "hangs"])
def test_a_process_that_is_gone_stops_the_other_with_a_sentence(hangs, tmp_path):
    mp.spawn(leave, (str(tmp_path), hangs, several.free_port()), nprocs=2)
    seconds, told = (tmp_path / "told").read_text().split("\n", 1)
    # one that hangs does so for 300 seconds if it is not told of; of one that died, the other
    # learns by its connection, not by its patience of 600
    assert float(seconds) < 300
    assert told.startswith("another process has stopped or does not answer (")
    assert told.endswith("), so this one stops; look for the other's own message")
    assert ".cc" not in told
    assert ("timed out" in told.lower()) is hangs  # by which lesson 07 tells the two apart
    assert timedelta(minutes=1) > group.TIMEOUT


def end_after_an_optimizer(rank: int, folder: str, port: str) -> None:
    """Write whether anything holds the group after its end; an optimizer imports much of torch."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with distributed.process_group("cpu"):
        group = weakref.ref(torch.distributed.group.WORLD)
        torch.optim.AdamW([torch.ones(2, requires_grad=True)])
        assert "torch._dynamo" in sys.modules
    with open(os.path.join(folder, f"{rank}"), "w") as file:
        file.write("gone" if group() is None else "held")


def test_a_group_ends_with_its_threads(tmp_path):
    # a thread of gloo that a process takes to its end may abort it there
    mp.spawn(end_after_an_optimizer, (str(tmp_path), several.free_port()), nprocs=2)
    assert [(tmp_path / name).read_text() for name in "01"] == ["gone", "gone"]


def test_one_process_alone_changes_nothing():
    x1, x2, _ = problem(6)
    with distributed.sharded_batch([6]):
        assert not distributed.is_sharded()
        assert distributed.all_reduce_sum(x1) is x1
        assert distributed.all_gather_rows(x1) is x1
        assert torch.equal(nt_xent(x1, x2), nt_xent(x1, x2))
    distributed.all_reduce_mean([x1])
    assert torch.equal(x1, problem(6)[0])


def test_shares_are_even_and_more_processes_than_images_are_refused():
    assert distributed.shard_sizes(10, 4) == [3, 3, 2, 2]
    assert distributed.shard_sizes(3, 3) == [1, 1, 1]
    with pytest.raises(ValueError, match="3 images cannot be shared among 4 processes"):
        distributed.shard_sizes(3, 4)
    with (
        pytest.raises(ValueError, match="at least 1 for each of the 1 processes, got"),
        distributed.sharded_batch([2, 2]),
    ):
        pass


@pytest.mark.parametrize(
    ("environment", "device", "message"),
    [
        (
            {"WORLD_SIZE": "two"},
            "cpu",
            "WORLD_SIZE must be a whole number of at least 1, got 'two'",
        ),
        ({"WORLD_SIZE": "2"}, "cpu", "WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT is not"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "cpu", "but MASTER_ADDR, MASTER_PORT is not set; start"),
        ({"WORLD_SIZE": "2", "RANK": ""}, "cpu", "but RANK, MASTER_ADDR, MASTER_PORT is not set"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            "mps",
            "several processes need CPUs or CUDA, not mps; set MMLITE_DEVICE=cpu",
        ),
        (
            {"WORLD_SIZE": "999", "RANK": "998", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
            | {"LOCAL_RANK": "998"},
            "cuda",
            "GPUs, too few for process 998 of it; start --nproc-per-node",
        ),
    ],
)
def test_a_group_that_cannot_be_is_refused_with_a_sentence(
    environment, device, message, monkeypatch
):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), distributed.process_group(device):
        pass


def test_without_the_others_joining_ends_with_a_sentence(monkeypatch):
    own = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": several.free_port(),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(
            distributed.ProcessError, match="another process has stopped or does not answer"
        ),
        distributed.process_group("cpu", start=timedelta(seconds=1)),
    ):
        pass


@pytest.mark.parametrize("told", [None, "", " ", "1"])
def test_a_group_alone_is_none(told, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if told is not None:
        monkeypatch.setenv("WORLD_SIZE", told)
    with distributed.process_group("cpu"):
        assert (distributed.world_size(), distributed.rank()) == (1, 0)
        assert distributed.broadcast_result(lambda: 3) == 3
        assert distributed.all_gather_objects(3) == [3]
        with distributed.sharded_batch([4]):
            assert distributed.local_shard(torch.arange(4)).tolist() == [0, 1, 2, 3]
