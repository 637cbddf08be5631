"""The encoder f and the projection head g of contrastive learning.

An encoder turns images [N, C, H, W] in 0..1 into representations h [N, D]; a projector turns h
into projections z [N, P], which only the losses see (SimCLR, Chen et al. 2020, section 4.2).
Encoders work in the channels_last memory format, which is 1.2 times as fast for `small_conv` on 2
CPU cores (`benchmarks/encoders.py`) and what GPUs with tensor cores prefer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn

from mmlite.data import ImageSet


class ChannelsLast(nn.Module):
    """Turn images to channels_last, where colour lies innermost; values are unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")


def small_conv(channels: int = 3, dim: int = 128) -> nn.Module:
    """Return a four-layer convolutional encoder for small images, made to train on a laptop.

    Four times 3 × 3 convolution, BatchNorm and ReLU (the first three halve the image), then the
    mean over what is left of it: 0.24 million parameters at D = 128.

    Args:
        channels: C, the images' channels.
        dim: D, the representation's width.

    Returns:
        A module from float [N, C, H, W] to h float [N, D], h >= 0.

    Raises:
        ValueError: a size below 1.
    """
    _check_sizes(channels=channels, dim=dim)
    layers: list[nn.Module] = [ChannelsLast()]
    widths = [channels, 32, 64, 128, dim]
    for width_in, width_out, stride in zip(widths, widths[1:], (2, 2, 2, 1), strict=False):
        layers += [
            nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.ReLU(inplace=True),
        ]
    encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return encoder.to(memory_format=torch.channels_last)


def resnet18(channels: int = 3, dim: int = 512) -> nn.Module:
    """Return torchvision's ResNet-18 with the CIFAR stem: 3 × 3 stride 1, no max-pooling.

    (He et al. 2016; the stem as in SimCLR, appendix B.9.)

    Args:
        channels: C, the images' channels.
        dim: D, the representation's width. 512 is the network's own; another width adds a linear
            layer.

    Returns:
        A module from float [N, C, H, W] to h float [N, D].

    Raises:
        ValueError: a size below 1.
    """
    from torchvision.models import resnet18 as torchvision_resnet18

    _check_sizes(channels=channels, dim=dim)
    network = torchvision_resnet18(weights=None)
    network.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    network.fc = nn.Identity() if dim == 512 else nn.Linear(512, dim)
    return nn.Sequential(ChannelsLast(), network).to(memory_format=torch.channels_last)


def projector(dim_in: int, dim_hidden: int, dim_out: int) -> nn.Module:
    """Return the projection head g: linear, BatchNorm, ReLU, linear.

    Args:
        dim_in: D, the representation's width.
        dim_hidden: the hidden layer's width.
        dim_out: P, the projection's width.

    Returns:
        A module from h float [N, D] to z float [N, P].

    Raises:
        ValueError: a size below 1.
    """
    _check_sizes(dim_in=dim_in, dim_hidden=dim_hidden, dim_out=dim_out)
    return nn.Sequential(
        nn.Linear(dim_in, dim_hidden, bias=False),
        nn.BatchNorm1d(dim_hidden),
        nn.ReLU(inplace=True),
        nn.Linear(dim_hidden, dim_out),
    )


@contextmanager
def uncompiled(*modules: nn.Module) -> Iterator[None]:
    """Let modules that `Module.compile` compiled run as they are within this context.

    What they are compiled for is one shape, one mode and one backward pass: neither forward mode
    nor a second derivative.
    """
    everything = (part for module in modules for part in module.modules())
    # what `Module.compile` sets, and all that it sets
    calls = {m: m._compiled_call_impl for m in everything if m._compiled_call_impl is not None}
    for module in calls:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in calls.items():
            module._compiled_call_impl = call


@torch.no_grad()
def encode(encoder: nn.Module, image_set: ImageSet, batch_size: int = 1000) -> Tensor:
    """Return the representations h float32 [N, D] of a whole set of images, in evaluation mode.

    The images are taken as they are (no views), on the encoder's own device; its training mode
    comes back as it was. An encoder of another precision than float32 computes in its own.

    Raises:
        ValueError: `batch_size` is below 1, or the encoder takes another number of channels.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    first = next(encoder.parameters(), None)
    where = image_set.device if first is None else first.device
    dtype = torch.float32 if first is None else first.dtype
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        batches = image_set.images.split(batch_size)
        with uncompiled(encoder):
            pixels = ((batch.to(where).float() / 255).to(dtype) for batch in batches)
            return torch.cat([encoder(x).float() for x in pixels])
    except RuntimeError as error:
        convolution = next((m for m in encoder.modules() if isinstance(m, nn.Conv2d)), None)
        channels = image_set.images.shape[1]
        if convolution is None or convolution.in_channels == channels:
            raise
        raise ValueError(
            f"the encoder takes images of {convolution.in_channels} channels, and "
            f"{image_set.name} has {channels}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
