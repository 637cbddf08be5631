"""BatchNorm over the images of all processes: a shard is normalized with the whole batch's moments.

PyTorch's own SyncBatchNorm works on GPUs alone and cannot be differentiated twice or in forward
mode, which the meta-gradient needs. This one is written with operations that can.

    convert_sync_batchnorm(model)
    fit(model, ...)  # in each process
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmlite.distributed.collectives import all_gather_row
from mmlite.distributed.group import rank
from mmlite.distributed.shards import global_size, sizes


class SyncBatchNorm(_BatchNorm):
    """BatchNorm whose moments in training are those of all processes' images.

    Within `sharded_batch`; elsewhere it is PyTorch's. One exchange a pass: a process sends its 2 C
    means and variances, and they are pooled without the cancellation that a mean of squares brings
    (Ioffe & Szegedy 2015, algorithm 1; Chan et al. 1983, equation 2.1). Each backward sends as
    many. So each process has to pass the same layers, in one order.

    Raises:
        ValueError: there is only one value per channel, or the number of rows is not a multiple of
            this process's images.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"BatchNorm needs [N, C, ...], got {list(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized x [N, C, ...], in its own type."""
        shards = sizes()
        if shards is None or not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = _count_of_all(x, shards)
        mean, variance = _moments(values, shards)
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = [1, -1] + [1] * (x.dim() - 2)
        return torch.addcmul(shift.view(shape), values, scale.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, where there are some, as PyTorch does."""
        running_mean, running_var = self.running_mean, self.running_var
        tracked = self.num_batches_tracked
        if (
            not self.track_running_stats
            or running_mean is None
            or running_var is None
            or tracked is None
        ):
            return
        tracked.add_(1)
        momentum = 1 / tracked if self.momentum is None else self.momentum
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(variance.to(running_var.dtype), momentum)


def _count_of_all(x: Tensor, shards: tuple[int, ...]) -> int:
    """Return how many values a channel has in x [N, C, ...] over all processes."""
    own = shards[rank()]
    if len(x) % own:
        raise ValueError(
            f"BatchNorm got {len(x)} rows for {own} images; each image needs as many rows"
        )
    count = len(x) // own * global_size(own) * x[0, 0].numel()
    if count < 2:
        raise ValueError(f"BatchNorm needs more than one value per channel, got {list(x.shape)}")
    return count


def _moments(x: Tensor, shards: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the mean [C] and the biased variance [C] over all processes' values."""
    variance, mean = torch.var_mean(x, dim=[d for d in range(x.dim()) if d != 1], correction=0)
    rows = all_gather_row(torch.cat([mean, variance]))  # [processes, 2 C]
    means, variances = rows.chunk(2, dim=1)
    share = rows.new_tensor([size / sum(shards) for size in shards])[:, None]
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0)


def convert_sync_batchnorm(model: nn.Module) -> None:
    """Turn every BatchNorm in `model`, itself included, into a `SyncBatchNorm`, in place.

    Modules, parameters and buffers stay the same objects under the same names, so optimizers and
    checkpoints fit before and after. BatchNorms of a class of your own are left alone.
    """
    for module in model.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SyncBatchNorm
