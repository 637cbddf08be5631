"""The encoder f and the projection head g of contrastive learning.

An encoder turns images [N, C, H, W] in 0..1 into representations h [N, D]; a projector turns h
into projections z [N, P], which only the losses see (SimCLR, Chen et al. 2020, section 4.2).
Encoders work in the channels_last memory format, which is 1.2 times as fast for `small_conv` on 2
CPU cores (`benchmarks/encoders.py`) and what GPUs with tensor cores prefer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.data import ImageSet
from mmlite.support import checks
from mmlite.views import WHITE, check_range


class ChannelsLast(nn.Module):
    """Turn images to channels_last, where color lies innermost; values are unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


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

    Example:
        >>> mmlite.small_conv(channels=1, dim=128)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 128])
    """
    channels, dim = checks.whole("channels", channels, 1), checks.whole("dim", dim, 1)
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

    Example:
        >>> mmlite.resnet18(channels=3, dim=512)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])
    """
    channels, dim = checks.whole("channels", channels, 1), checks.whole("dim", dim, 1)
    from torchvision.models import resnet18 as torchvision_resnet18

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

    Example:
        >>> mmlite.projector(128, 256, 64)(torch.rand(4, 128)).shape
        torch.Size([4, 64])
    """
    dim_in, dim_out = checks.whole("dim_in", dim_in, 1), checks.whole("dim_out", dim_out, 1)
    dim_hidden = checks.whole("dim_hidden", dim_hidden, 1)
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
def encode(encoder: nn.Module, image_set: ImageSet | Tensor, batch_size: int = 1000) -> Tensor:
    """Return the representations h float32 [N, D] of a whole set of images, in evaluation mode.

    The images are taken as they are (no views), on the encoder's own device; its training mode
    comes back unchanged. An encoder of another precision than float32 computes in its own.

    Args:
        encoder: from float [N, C, H, W] in 0..1 to one tensor float [N, D].
        image_set: the images; also their tensor alone, [N, C, H, W], uint8, uint16
            or float in 0..1.
        batch_size: images that go through the encoder at once.

    Raises:
        ValueError: an argument is another thing, or the encoder takes another number of channels,
            or returns something other than one row of numbers for each image.

    Example:
        >>> encoder = mmlite.small_conv(channels=1, dim=16)
        >>> mmlite.encode(encoder, mmlite.load("fashion", "test", size=10)).shape
        torch.Size([10, 16])
    """
    checks.module("encoder", encoder)
    images, name = _images(image_set)
    batch_size = checks.whole("batch_size", batch_size, 1)
    first = next((p for p in encoder.parameters() if p.is_floating_point()), None)
    where = images.device if first is None else first.device
    dtype = torch.float32 if first is None else first.dtype
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        with uncompiled(encoder):
            pixels = (
                _in_unit_range(batch.to(where)).to(dtype) for batch in images.split(batch_size)
            )
            rows = [_rows(encoder(x), len(x)) for x in pixels]
    except RuntimeError as error:
        convolution = next((m for m in encoder.modules() if isinstance(m, nn.Conv2d)), None)
        channels = images.shape[1]
        if convolution is None or convolution.in_channels == channels:
            raise
        raise ValueError(
            f"the encoder takes images of {convolution.in_channels} channels, and "
            f"{name} has {channels}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    if len({h.shape[1] for h in rows}) > 1:
        widths = sorted({h.shape[1] for h in rows})
        raise ValueError(f"the encoder returned h [N, D] with D = {widths[0]} and {widths[-1]}")
    return torch.cat(rows)


def _images(image_set: ImageSet | Tensor) -> tuple[Tensor, str]:
    """Return the images [N, C, H, W] of a set or of a tensor, and what to call them."""
    if isinstance(image_set, ImageSet):
        return image_set.images, image_set.name
    wanted = "an ImageSet, or a tensor [N, C, H, W] of uint8, of uint16, or of float in 0..1"
    images = checks.instance("image_set", image_set, Tensor, wanted)
    if images.dim() != 4 or not (images.dtype in WHITE or checks.is_float(images)):
        raise checks.wrong("image_set", wanted, images)
    checks.channels_first("images", images)
    if images.dtype not in WHITE:
        check_range(images, "image_set")
    return images, "image_set"


def _in_unit_range(images: Tensor) -> Tensor:
    return images.float() / WHITE.get(images.dtype, 1)


def _rows(h: Any, count: int) -> Tensor:
    """Return what an encoder made of `count` images as float32 [N, D], or say what to mend."""
    wanted = f"the encoder must return one tensor float [N, D], here with N = {count}"
    if not isinstance(h, Tensor):
        names = list(h.keys()) if hasattr(h, "keys") else []
        held = f" with {', '.join(map(str, names))}" if names else ""
        raise ValueError(
            f"{wanted}; it returned {checks.shown(h)}{held}. Wrap it in a torch.nn.Module whose "
            "forward picks one tensor of that"
        )
    if not checks.is_float(h):
        raise ValueError(f"{wanted}; it returned {checks.shown(h)}")
    if h.dim() == 4 and len(h) == count:
        raise ValueError(
            f"{wanted}; it returned {checks.shown(h)}, a map for each image. Pool it: "
            "torch.nn.Sequential(encoder, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())"
        )
    if h.dim() == 3 and len(h) == count:
        raise ValueError(
            f"{wanted}; it returned {checks.shown(h)}, several rows for each image. Wrap it in a "
            "torch.nn.Module whose forward takes their mean or the first of them"
        )
    if h.dim() != 2 or len(h) != count:
        raise ValueError(f"{wanted}; it returned {checks.shown(h)}")
    return h.float()
