"""Several processes that hold one batch between them and train one model.

    with process_group("cpu"):  # torchrun has started this script several times
        with sharded_batch(shard_sizes(len(batch), world_size())):
            nt_xent(z1, z2).backward()  # z1, z2 of local_shard(batch)
        average_gradients(list(model.parameters()))

`mmlite.fit` does all of this by itself. A process without images (fewer images than processes) is
refused. Exchanges are those of `torch.distributed`: NCCL between GPUs, gloo between CPUs. `group`
joins the processes, `shards` says who holds which images, `collectives` exchanges, `batch_norm`
takes BatchNorm's moments over all of them.
"""

from mmlite.distributed.batch_norm import SyncBatchNorm, convert_sync_batchnorm
from mmlite.distributed.collectives import (
    all_gather_objects,
    all_gather_row,
    all_gather_rows,
    all_reduce_max,
    all_reduce_mean,
    all_reduce_sum,
    average_gradients,
    broadcast,
    broadcast_result,
)
from mmlite.distributed.group import ProcessError, check_joined, process_group, rank, world_size
from mmlite.distributed.shards import (
    global_size,
    is_sharded,
    local_shard,
    shard_sizes,
    shard_start,
    sharded_batch,
    sizes,
)

__all__ = [
    "ProcessError",
    "SyncBatchNorm",
    "all_gather_objects",
    "all_gather_row",
    "all_gather_rows",
    "all_reduce_max",
    "all_reduce_mean",
    "all_reduce_sum",
    "average_gradients",
    "broadcast",
    "broadcast_result",
    "check_joined",
    "convert_sync_batchnorm",
    "global_size",
    "is_sharded",
    "local_shard",
    "process_group",
    "rank",
    "shard_sizes",
    "shard_start",
    "sharded_batch",
    "sizes",
    "world_size",
]
