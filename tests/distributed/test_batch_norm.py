"""BatchNorm over the shards of several processes against PyTorch's over the whole batch."""

import copy

import pytest
import several
import torch
from torch import nn
from torch.autograd import forward_ad

from mmlite import distributed
from mmlite.distributed import batch_norm
from mmlite.encoders import resnet18

KINDS = {  # a BatchNorm, and the shape of an image behind [N, C]
    "1d": (lambda: nn.BatchNorm1d(3), ()),
    "1d of sequences": (lambda: nn.BatchNorm1d(3, momentum=None), (5,)),
    "2d": (lambda: nn.BatchNorm2d(3, momentum=0.3, eps=1e-3), (2, 3)),
    "2d without weights": (lambda: nn.BatchNorm2d(3, affine=False), (2, 3)),
    "3d without statistics": (lambda: nn.BatchNorm3d(3, track_running_stats=False), (2, 1, 2)),
}


def problem(kind: str, count: int):
    """Return a BatchNorm and, for the two views of `count` images, x, its tangent and weights."""
    make, shape = KINDS[kind]
    draw = torch.Generator().manual_seed(count)
    norm = make().double()
    for p in norm.parameters():
        p.data.uniform_(0.5, 2, generator=draw)
    x, dx, weights = torch.randn(3, 2, count, 3, *shape, dtype=torch.float64, generator=draw)
    return norm, 5 + 2 * x, dx, weights


def derivatives(norm, x, dx, weights, mean):
    """Return values, gradients, the gradient of a gradient, and tangents; both views as one."""
    rows = x.flatten(0, 1).requires_grad_()
    leaves = [rows, *norm.parameters()]
    y = norm(rows)
    value = (y.square() * weights.flatten(0, 1)).sum()
    gradients = torch.autograd.grad(value, leaves, create_graph=True)
    inner = (gradients[0] * dx.flatten(0, 1)).sum()
    twice = torch.autograd.grad(inner, rows)[0]
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(rows.detach(), dx.flatten(0, 1))
        tangent = forward_ad.unpack_dual(norm(dual)).tangent
    by_image = [t.unflatten(0, (2, -1)) for t in (y, gradients[0], twice, tangent)]
    return [t.detach() for t in by_image], [mean(g).detach() for g in gradients[1:]]


def in_a_process(rank: int, sizes: list[int]) -> dict:
    found = {}
    with distributed.sharded_batch(sizes):
        for kind in KINDS:
            norm, *tensors = problem(kind, sum(sizes))
            batch_norm.convert_sync_batchnorm(norm)
            shard = [several.own(t.transpose(0, 1), rank, sizes).transpose(0, 1) for t in tensors]
            # the loss here is each process's own, so its parts are summed, not averaged
            of_images, of_weights = derivatives(norm, *shard, distributed.all_reduce_sum)
            found[kind] = [of_images, of_weights, norm.state_dict()]
        half = batch_norm.SyncBatchNorm(3)(torch.randn(2 * sizes[rank], 3).bfloat16())
        found["type"] = str(half.dtype)
        found["refused"] = [refusal(lambda: norm(torch.randn(2 * sizes[rank] + 1, 3, 1, 1, 1)))]
        found["refused"] += [refusal(lambda: norm(torch.randn(3)))]
    with distributed.sharded_batch([1, 1]):
        found["without"] = [float(batch_norm.SyncBatchNorm(1)(torch.ones(1, 1)).detach())]
    return found


def refusal(call) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def test_shards_are_normalized_as_the_whole_batch(tmp_path):
    sizes = [3, 2]
    found = several.run_in(sizes, in_a_process, tmp_path)
    for kind in KINDS:
        norm, *tensors = problem(kind, sum(sizes))
        of_images, of_weights = derivatives(norm, *tensors, lambda g: g)
        for rank, one in enumerate(found):
            got_images, got_weights, state = one[kind]
            for got, whole in zip(got_images, of_images, strict=True):
                want = several.own(whole.transpose(0, 1), rank, sizes).transpose(0, 1)
                # float64 in another order of summation
                assert torch.allclose(got, want, rtol=1e-9, atol=1e-11), kind
            for got, want in zip(got_weights, of_weights, strict=True):
                assert torch.allclose(got, want, rtol=1e-9, atol=1e-11), kind
            assert list(state) == list(norm.state_dict())
            for name, value in norm.state_dict().items():
                assert torch.allclose(state[name], value, rtol=1e-12), (kind, name)
    for rank, one in enumerate(found):
        assert one["type"] == "torch.bfloat16"
        rows = 2 * sizes[rank] + 1
        assert one["refused"][0].startswith(f"BatchNorm got {rows} rows for {sizes[rank]} images")
        assert one["refused"][1] == "BatchNorm needs [N, C, ...], got [3]"
        assert one["without"] == [0.0]  # one value here, two in all


@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_pytorchs(training):
    plain = resnet18(3, 16).train(training)
    synced = copy.deepcopy(plain)
    before = dict(synced.named_parameters()) | dict(synced.named_buffers())
    batch_norm.convert_sync_batchnorm(synced)
    assert sum(isinstance(m, batch_norm.SyncBatchNorm) for m in synced.modules()) == 20
    assert not any(type(m) is nn.BatchNorm2d for m in synced.modules())
    after = dict(synced.named_parameters()) | dict(synced.named_buffers())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(synced(x), plain(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(synced.state_dict()[name], value)


def test_a_batchnorm_of_another_class_is_left_alone():
    class Own(nn.BatchNorm1d):
        pass

    norm = Own(3)
    batch_norm.convert_sync_batchnorm(norm)
    assert type(norm) is Own
