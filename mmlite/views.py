"""Two random views of every image of a batch, made on the batch's device.

Every operation of the usual recipe (SimCLR, Chen et al. 2020, appendix A) but the last clamp is
linear in the image, so a view is three small matrix products and nothing else:

    view = clamp(M · (R_y · x · R_xᵀ) + b)

R_y [H', H] and R_x [W', W] crop, resize and flip (resampling is separable; the triangle filter
widens when it shrinks, so small views are antialiased as PIL's are). M [C, C] and b [C] hold
brightness, contrast, saturation, hue and grayscale: the first three mix the image with black, its
mean gray and its own gray; hue turns the plane of the two color differences of YIQ, the linear
form that NVIDIA DALI uses, where torchvision and kornia turn the hue of HSV. They also clamp after
each operation, here only the result is clamped. Each image has matrices of its own. Shapes are
static, nothing waits for the device, and the whole is `fullgraph` for torch.compile.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmlite import distributed
from mmlite.support import checks
from mmlite.support.autocast import unrounded

# RGB to YIQ (NTSC). The first row is the gray of ITU-R 601, which torchvision and PIL use too.
YIQ = torch.tensor(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
    dtype=torch.float64,
)
GRAY = YIQ[0].float()
# A hue turn by angle a is I + (cos a − 1) · TURN_COS + sin a · TURN_SIN; both leave gray alone.
_plane = torch.diag(torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
_swap = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
TURN_COS = (torch.linalg.inv(YIQ) @ _plane @ YIQ).float()
TURN_SIN = (torch.linalg.inv(YIQ) @ _swap @ YIQ).float()
DRAWS = 11  # uniform numbers that one view needs
WHITE = {torch.uint8: 255, torch.uint16: 65535}  # the greatest value of whole numbers


@dataclass(frozen=True)
class TwoViews:
    """Random resized crop, flip, color jitter and grayscale, drawn anew for each image and view.

    Attributes:
        crop: the least and greatest share of the image's area that a crop keeps.
        ratio: the least and greatest width / height of a crop, relative to the image's own.
        flip: probability of a horizontal flip.
        jitter: strength s of the color jitter: brightness, contrast and saturation are scaled by
            factors in [1 − s, 1 + s] (not below 0), hue is turned by up to s / 4 of a full turn.
            0.8 is SimCLR's ImageNet recipe, 0.4 its CIFAR-10 recipe, 0 no jitter.
        jitter_probability: probability that an image is jittered at all.
        gray: probability of grayscale.
        size: side of the square views in pixels; the image's own height and width by default.

    Raises:
        ValueError: a parameter is out of its range.

    Example:
        >>> x1, x2 = mmlite.TwoViews(jitter=0.4)(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
        >>> x1.shape, x1.dtype
        (torch.Size([2, 3, 32, 32]), torch.float32)
    """

    crop: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.4
    jitter_probability: float = 0.8
    gray: float = 0.2
    size: int | None = None

    def __post_init__(self) -> None:
        own = {
            "crop": _span("crop", self.crop, most=1),
            "ratio": _span("ratio", self.ratio),
            "jitter": checks.real("jitter", self.jitter, least=0, most=2),
            "size": None if self.size is None else checks.whole("size", self.size, 1),
        }
        for name in ("flip", "jitter_probability", "gray"):
            own[name] = checks.real(name, getattr(self, name), least=0, most=1)
        for name, value in own.items():  # Python's own numbers, in a dataclass that is frozen
            object.__setattr__(self, name, value)

    def __call__(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return views x1, x2 of a batch.

        Args:
            images: uint8 (0..255), uint16 (0..65535) or float (0..1), [N, C, H, W]. Three channels
                are red, green and blue. With one, hue, saturation and grayscale have nothing to
                change. Of other numbers brightness and contrast change each channel, contrast
                about the channel's own mean, and `gray` has to be 0. That floats lie in 0..1 is
                checked on a CPU only: on a GPU that would wait for it.
            generator: where the random numbers come from: a seed repeats the views, on whichever
                device the generator is. By default the device's own.

        Returns:
            float32 [N, C, H', W'] twice, in 0..1, on the images' device.

        Raises:
            ValueError: the images have another rank, type or range, or no gray where one is asked
                for.
        """
        checks.tensor("images", images, "a tensor [N, C, H, W]")
        if images.dim() != 4 or 0 in images.shape[1:]:
            raise ValueError(
                f"images must be [N, C, H, W], none of them 0, got {list(images.shape)}"
            )
        if self.gray > 0 and images.shape[1] not in (1, 3):
            checks.channels_first("images", images)
            raise ValueError(
                f"images of {images.shape[1]} channels have no gray, which is of red, green and "
                f"blue: make the views with gray=0, got {self.gray:g}. Of the jitter, brightness "
                "and contrast change every channel"
            )
        if generator is not None:
            checks.instance("generator", generator, torch.Generator, "a torch.Generator or None")
        if images.dtype in WHITE:
            scale = 1 / WHITE[images.dtype]
        elif checks.is_float(images):
            scale = 1.0
        else:
            raise ValueError(f"images must be uint8, uint16 or float, got {images.dtype}")
        if scale == 1 and images.device.type == "cpu" and not torch.compiler.is_compiling():
            check_range(images)
        source = generator.device if generator is not None else images.device
        # of several processes that hold one batch each draws for all, so that their number does
        # not change the views
        count = distributed.global_size(len(images))
        # only from pinned memory is a copy to a GPU free of waiting
        pinned = source.type == "cpu" and images.is_cuda
        u = torch.rand(2, DRAWS, count, generator=generator, device=source, pin_memory=pinned)
        u = distributed.local_shard(u, dim=2)
        u = u.to(images.device, non_blocking=True)
        # a crop is a matrix product, which autocast would compute in half precision
        with unrounded(images.device):
            x = images.float()
            return self._view(x, u[0], scale), self._view(x, u[1], scale)

    def _view(self, x: Tensor, u: Tensor, scale: float) -> Tensor:
        """Return one view of x [N, C, H, W] from uniform draws u [DRAWS, N]."""
        count, channels, height, width = x.shape
        out_height, out_width = self.size or height, self.size or width
        rows, columns = self._resampling(u[:5], (height, width), (out_height, out_width))
        x = x.reshape(count, channels * height, width).bmm(columns.mT)
        x = rows.repeat_interleave(channels, 0).bmm(x.view(count * channels, height, out_width))
        x = x.view(count, channels, out_height * out_width)
        matrix, offset = self._color(u[5:], x.mean(2) * scale)
        # baddbmm: offset + scale · matrix @ x, in one pass
        x = torch.baddbmm(offset[:, :, None], matrix, x, alpha=scale)
        return x.clamp_(0, 1).view(count, channels, out_height, out_width)

    def _resampling(self, u: Tensor, size: tuple[int, int], out: tuple[int, int]):
        """Return R_y [N, H', H] and R_x [N, W', W] that crop, resize and flip, from u [5, N]."""
        area = self.crop[0] + (self.crop[1] - self.crop[0]) * u[0]
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = torch.exp(low + (high - low) * u[1])
        # Shares of the sides. A crop that would reach over an edge is cut at it.
        tall, wide = (area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1)
        top, left = (1 - tall) * u[2], (1 - wide) * u[3]
        flipped = u[4] < self.flip
        left, wide = torch.where(flipped, left + wide, left), torch.where(flipped, -wide, wide)
        return triangle(top, tall, size[0], out[0]), triangle(left, wide, size[1], out[1])

    def _color(self, u: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return M [N, C, C] and b [N, C] from u [6, N] and the crop's mean color [N, C]."""
        channels = mean.shape[1]
        jittered = u[0] < self.jitter_probability
        strength = torch.where(jittered, self.jitter, 0.0)
        factors = (1 + strength * (2 * u[1:4] - 1)).clamp(min=0)
        brightness, contrast, saturation = factors[..., None, None]  # [N, 1, 1] each
        if channels != 3:
            # of one channel it is the number itself
            matrix = brightness * contrast * torch.eye(channels, device=mean.device)
            return matrix, (1 - contrast[..., 0]) * brightness[..., 0] * mean
        # a blocking copy would wait for all that a GPU has queued
        constants = (t.to(mean.device, non_blocking=True) for t in (GRAY, TURN_COS, TURN_SIN))
        gray, turn_cos, turn_sin = constants
        identity = torch.eye(3, device=mean.device)
        to_gray = gray.expand(3, 3)
        angle = (strength / 4 * (2 * u[4] - 1) * 2 * math.pi)[:, None, None]
        turn = identity + (angle.cos() - 1) * turn_cos + angle.sin() * turn_sin
        matrix = turn @ (saturation * identity + (1 - saturation) * to_gray)
        matrix = torch.where((u[5] < self.gray)[:, None, None], to_gray, matrix)
        # Contrast mixes in the mean gray, which every later step leaves as it is (rows of M sum
        # to 1), so b is a gray too.
        offset = (1 - contrast[..., 0]) * brightness[..., 0] * (mean @ gray)[:, None]
        return matrix * (brightness * contrast), offset.expand(-1, 3)


def _span(name: str, value: tuple[float, float], most: float | None = None) -> tuple[float, float]:
    """Return the least and greatest of a pair of numbers above 0."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise checks.wrong(name, "a pair (least, greatest)", value)
    least, greatest = (checks.real(name, part, above=0, most=most) for part in value)
    if least > greatest:
        raise ValueError(f"{name} must be a pair 0 < least <= greatest, got {value}")
    return least, greatest


def check_range(images: Tensor, name: str = "images") -> None:
    """Raise a ValueError unless all is within 0..1, up to what arithmetic in bfloat16 leaves."""
    low, high = (float(value) for value in images.aminmax()) if images.numel() else (0.0, 1.0)
    if not (low >= -0.01 and high <= 1.01):  # NaN is not either
        if not math.isfinite(high - low):
            fix = "look where they are read or computed"
        elif low < 0:
            fix = "take off what normalizes them"
        else:
            fix = "divide 0..255 by 255, or give them as uint8"
        raise ValueError(f"{name} of float must lie in 0..1, got {low:.4g} to {high:.4g}; {fix}")


def triangle(start: Tensor, extent: Tensor, size: int, out: int) -> Tensor:
    """Return the matrices [N, out, size] that resample an axis with the triangle filter.

    Output pixel i looks at the point start + extent · (i + 1/2) / out of the axis (both in shares
    of it, [N]; a negative extent runs backwards). The filter is one input pixel wide to either
    side (bilinear), or one output pixel where that is more; its weights sum to 1 also at the edge,
    where it is cut. This is what PIL does.
    """
    step = (torch.arange(out, device=start.device) + 0.5) / out
    center = (start[:, None] + extent[:, None] * step) * size - 0.5  # [N, out], in input pixels
    reach = (extent.abs() * (size / out)).clamp(min=1)[:, None, None]
    pixel = torch.arange(size, device=start.device)
    # in place where that can be: memory costs more here than arithmetic
    distance = (pixel - center[..., None]).abs_().div_(reach)
    weight = (1 - distance).clamp_(min=0)
    return weight.div_(weight.sum(2, keepdim=True))
