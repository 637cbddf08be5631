"""Pictures with alternative text, in one look for the whole course.

Each function returns a `Picture`. Colors are those of Okabe and Ito (2008), told apart by
color-blind eyes; the background is opaque, so a picture reads the same in a dark notebook. Nothing
here touches pyplot or changes a setting outside the figure.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mmlite.course.picture import Picture
from mmlite.experiments.costs import MachineLimits
from mmlite.support import checks
from mmlite.views import check_range

MARKERS = "os^Dvx*"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LOOK: dict = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLORS),  # type: ignore[attr-defined]
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


def axes_of(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def legend_above(figure: Figure, columns: int = 2) -> None:
    """Put a legend above the data, which lie anywhere, and make room for it."""
    legend = figure.legend(loc="outside upper left", ncols=columns)
    rows = math.ceil(len(legend.get_texts()) / columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * rows)


def _texts(**named: str) -> None:
    for name, value in named.items():
        checks.text(name, value)


def _mapping(name: str, value: Mapping, empty: bool = False) -> None:
    """Raise a ValueError unless it is a mapping from names, and not an empty one."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise checks.wrong(name, "a mapping from names", value)
    if not value and not empty:
        raise checks.wrong(name, "a mapping with at least one entry", value)


def _references(named: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers at which a line is to stand, by its name in the legend."""
    _mapping("references", named, empty=True)
    return {name: checks.real("references", value) for name, value in named.items()}


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    """Return the numbers of a list, tuple, array or tensor; NaN leaves a gap in a line."""
    listed = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(listed, str) or not isinstance(listed, (Sequence, range)):
        raise checks.wrong(name, "a list of numbers", values)
    return [
        value if value != value else checks.real(f"an entry of {name}", value, finite=False)
        for value in listed
    ]


def _pair(name: str, value: tuple) -> tuple:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise checks.wrong(name, "a pair", value)
    return tuple(value)


def array(name: str, values: Tensor):
    """Return a tensor [M] as NumPy's array, whatever its precision and place.

    Raises:
        ValueError: it is no such tensor, or holds NaN or infinities, which a picture leaves out in
            silence.
    """
    if not isinstance(values, Tensor) or values.dim() != 1 or values.is_complex():
        raise checks.wrong(name, "a tensor of numbers [M]", values)
    values = values.detach().cpu()
    values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if not bool(values.isfinite().all()):
        raise ValueError(f"there is NaN or an infinity in {name}, which cannot be drawn")
    return values.numpy()


def image_grid(
    images: Tensor, columns: int, alt: str, titles: Sequence[str] = (), scale: float = 0.8
) -> Picture:
    """Show images [N, C, H, W], uint8 or float in 0..1, row by row; C = 1 or 3.

    Args:
        images: the images.
        columns: images in a row.
        alt: alternative text.
        titles: a line above each image; fewer titles than images leave the rest bare.
        scale: an image's side in inches.

    Raises:
        ValueError: the images have another shape, type or range, or there is no column.
    """
    checks.tensor("images", images, "a tensor [N, C, H, W]")
    columns, scale = checks.whole("columns", columns, 1), checks.real("scale", scale, above=0)
    if isinstance(titles, str) or not isinstance(titles, Sequence):
        raise checks.wrong("titles", "a list of strings", titles)
    _texts(alt=alt, **{f"titles[{i}]": title for i, title in enumerate(titles)})
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(
            f"image_grid takes images [N, C, H, W] with C = 1 or 3, got {list(images.shape)}"
        )
    if images.dtype != torch.uint8 and not checks.is_float(images):
        raise ValueError(f"images must be uint8 or float, got {images.dtype}")
    pixels = images.detach().cpu()
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    check_range(pixels)
    pixels = pixels.clamp(0, 1).permute(0, 2, 3, 1)
    rows = math.ceil(len(pixels) / columns)
    with mpl.rc_context(LOOK):
        tall = scale * (1.25 if titles else 1.05)
        figure = Figure(figsize=(columns * scale, rows * tall), layout="constrained")
        for index, pixel in enumerate(pixels):
            axes = figure.add_subplot(rows, columns, index + 1)
            shown = pixel if pixel.shape[2] == 3 else pixel[..., 0]
            axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            if index < len(titles):
                axes.set_title(titles[index], fontsize=8, pad=2)
        return Picture(figure, alt)


def matrices(named: Mapping[str, Tensor], alt: str, least: float = -1.0) -> Picture:
    """Show matrices side by side in one scale of colors, from `least` (−1 or 0) to 1.

    Args:
        named: the matrices [D, E] by their titles.
        alt: alternative text.
        least: −1 for correlations, drawn from blue through white to red; 0 for shares, drawn from
            white to blue.

    Raises:
        ValueError: an argument is another thing.
    """
    _mapping("named", named)
    _texts(alt=alt)
    least = checks.real("least", least, least=-1, most=0)
    for matrix in named.values():
        if not isinstance(matrix, Tensor) or matrix.dim() != 2 or matrix.is_complex():
            raise checks.wrong("each of named", "a tensor [D, E]", matrix)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(2.6 * len(named) + 0.7, 2.9), layout="constrained")
        axes = figure.subplots(1, len(named), squeeze=False)[0]
        for one, (title, matrix) in zip(axes, named.items(), strict=True):
            colors = "RdBu_r" if least < 0 else "Blues"
            pixels = matrix.detach().cpu().float().numpy()
            shown = one.imshow(pixels, cmap=colors, vmin=least, vmax=1, interpolation="nearest")
            one.set_title(title, fontsize=9)
            one.grid(False)
        figure.colorbar(shown, ax=list(axes), shrink=0.8)
        return Picture(figure, alt)


def histogram(
    values: Tensor, xlabel: str, alt: str, references: Mapping[str, float], title: str = ""
) -> Picture:
    """Draw how often values [M] occur, with a named vertical line at each reference.

    Raises:
        ValueError: an argument is another thing, or a value is NaN or infinite.
    """
    _texts(xlabel=xlabel, alt=alt, title=title)
    references = _references(references)
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(5.5, 2.8)
        axes.hist(array("values", values), bins=30, color=COLORS[5], edgecolor="white")
        looks = zip(cycle(COLORS[1:]), cycle(("-", "--", ":", "-.")), strict=False)
        for (name, value), (color, style) in zip(references.items(), looks, strict=False):
            axes.axvline(value, color=color, linestyle=style, linewidth=2, label=name)
        axes.set(xlabel=xlabel, ylabel="how many", title=title)
        if references:
            legend_above(figure)
        return Picture(figure, alt)


def points(
    series: Mapping[str, tuple[Tensor, Tensor]], xlabel: str, ylabel: str, alt: str
) -> Picture:
    """Draw named sets of points, each a pair (x [D], y [D]), told apart by color and marker.

    Raises:
        ValueError: an argument is another thing, or a value is NaN or infinite.
    """
    _mapping("series", series)
    _texts(xlabel=xlabel, ylabel=ylabel, alt=alt)
    drawn = {
        name: [array("series", part) for part in _pair("each of series", pair)]
        for name, pair in series.items()
    }
    if any(len(x) != len(y) for x, y in drawn.values()):
        raise ValueError("series must have as many x as y in each pair")
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(5.5, 3.2)
        for (name, (x, y)), marker in zip(drawn.items(), cycle(MARKERS), strict=False):
            axes.scatter(x, y, label=name, marker=marker, s=18, alpha=0.7)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if len(series) > 1:
            legend_above(figure)
        return Picture(figure, alt)


def lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    alt: str,
    log: str = "",
) -> Picture:
    """Draw one line for each named series over x, told apart by color and by marker.

    `log` names the axes that are logarithmic: "", "x", "y" or "xy".

    Raises:
        ValueError: an argument is another thing, or a series is longer or shorter than x.
    """
    _texts(xlabel=xlabel, ylabel=ylabel, alt=alt)
    _mapping("series", series)
    log = checks.choice("log", log, ("", "x", "y", "xy"))
    x = _numbers("x", x)
    series = {name: _numbers("series", values) for name, values in series.items()}
    for name, values in series.items():
        if len(values) != len(x):
            raise ValueError(
                f"series must have {len(x)} numbers each, as x has; {name!r} has {len(values)}"
            )
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(5.5, 2.8)
        for (name, values), marker in zip(series.items(), cycle(MARKERS), strict=False):
            few = marker if len(x) <= 20 else None
            axes.plot(x, values, label=name, marker=few, markersize=4)
        scales = {f"{axis}scale": "log" if axis in log else "linear" for axis in "xy"}
        axes.set(xlabel=xlabel, ylabel=ylabel, **scales)
        if "x" in log and len(x) <= 12:  # powers of ten say little of a few numbers
            ticks = _apart(x)
            axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
            axes.set_xticks([], minor=True)
        if len(series) > 1:
            legend_above(figure)
        return Picture(figure, alt)


def _apart(x: Sequence[float]) -> list[float]:
    """Return the numbers of a logarithmic axis whose labels have room beside each other."""
    positive = sorted({value for value in x if 0 < value < math.inf})
    kept: list[float] = []
    for value in positive:
        if not kept or math.log(value / kept[-1]) >= math.log(positive[-1] / positive[0]) / 16:
            kept.append(value)
    return kept


def roofline(
    limits: MachineLimits, points: Mapping[str, Sequence[tuple[float, float]]], alt: str
) -> Picture:
    """Draw a machine's roofline, and named sets of (intensity, operations per second) under it.

    Both axes are logarithmic. The roof is what the machine can reach: along the slope bytes bound
    it, on the flat part operations.

    Raises:
        ValueError: an argument is another thing.
    """
    checks.instance("limits", limits, MachineLimits, "MachineLimits, as measure_limits returns")
    _mapping("points", points, empty=True)
    _texts(alt=alt)
    drawn = {
        name: [_numbers("points", _pair("each of points", pair)) for pair in pairs]
        for name, pairs in points.items()
        if checks.instance("each of points", pairs, (list, tuple), "a list of pairs")
    }
    ends = [x for pairs in drawn.values() for x, _ in pairs] + [limits.ridge]
    low, high = min(ends) / 2, max(ends) * 2
    roof = [low, limits.ridge, high]
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(5.5, 3.2)
        heights = [limits.attainable(x) / 1e9 for x in roof]
        axes.plot(roof, heights, color=COLORS[6], label="roof")
        looks = zip(cycle(COLORS), cycle(MARKERS[:5]), strict=False)
        for (name, pairs), (color, marker) in zip(drawn.items(), looks, strict=False):
            x, y = zip(*pairs, strict=True)
            axes.scatter(x, [v / 1e9 for v in y], label=name, color=color, marker=marker, s=24)
        axes.set(
            xlabel="intensity (operations per byte)",
            ylabel="10⁹ operations a second",
            xscale="log",
            yscale="log",
        )
        legend_above(figure, 4)
        return Picture(figure, alt)


def landscape(
    function: Callable[[Tensor], Tensor],
    paths: Mapping[str, Tensor],
    xlabel: str,
    ylabel: str,
    alt: str,
    span: tuple[float, float] = (-1.0, 3.0),
    title: str = "",
) -> Picture:
    """Draw contours of a function of two numbers, and named paths over them as arrows.

    Args:
        function: from points [M, 2] to values [M].
        paths: points [K, 2] by name, joined from first to last.
        xlabel: what the first number is.
        ylabel: what the second is.
        alt: alternative text.
        span: least and greatest value shown of both.
        title: a line above.

    Raises:
        ValueError: an argument is another thing.
    """
    checks.function("function", function)
    _mapping("paths", paths, empty=True)
    _texts(xlabel=xlabel, ylabel=ylabel, alt=alt, title=title)
    low, high = (checks.real("span", end) for end in _pair("span", span))
    for path in paths.values():
        if not isinstance(path, Tensor) or path.dim() != 2 or path.shape[1] != 2 or len(path) < 2:
            raise checks.wrong("each of paths", "a tensor of at least two points [K, 2]", path)
    axis = torch.linspace(low, high, 61)
    points_of_grid = torch.cartesian_prod(axis, axis)
    values = function(points_of_grid).reshape(61, 61).T.detach().cpu()
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(4.2, 3.6)
        axes.contour(axis, axis, values, levels=20, cmap="Blues_r", linewidths=0.8)
        looks = zip(cycle(COLORS[1:]), cycle(MARKERS[:5]), strict=False)
        for (name, path), (color, marker) in zip(paths.items(), looks, strict=False):
            path = path.detach().cpu()
            axes.plot(*path.T, color=color, marker=marker, markersize=5, label=name)
            axes.annotate(
                "",
                xy=tuple(path[-1].tolist()),
                xytext=tuple(path[-2].tolist()),
                arrowprops={"arrowstyle": "->", "color": color, "lw": 2},
            )
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(low, high), ylim=(low, high), title=title)
        if paths:
            legend_above(figure)
        return Picture(figure, alt)


def bars(
    values: Mapping[str, float],
    ylabel: str,
    alt: str,
    references: Mapping[str, float] | None = None,
    errors: Sequence[float] | None = None,
) -> Picture:
    """Draw one horizontal bar for each name, with its value; references are named dashed lines.

    Raises:
        ValueError: an argument is another thing.
    """
    _mapping("values", values)
    _texts(ylabel=ylabel, alt=alt)
    values = {name: checks.real("values", value) for name, value in values.items()}
    references = _references({} if references is None else references)
    errors = None if errors is None else _numbers("errors", errors)
    if errors is not None and len(errors) != len(values):
        raise ValueError(f"errors must have {len(values)} numbers, one per bar, got {len(errors)}")
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(5.5, 0.5 + 0.4 * len(values))
        names = list(values)
        drawn = axes.barh(names, list(values.values()), color=COLORS[0], xerr=errors, height=0.6)
        axes.bar_label(drawn, fmt="%.3g", padding=4)
        axes.margins(x=0.12)
        axes.invert_yaxis()
        axes.grid(False)
        axes.set(xlabel=ylabel)
        for (name, value), color in zip(references.items(), cycle(COLORS[1:]), strict=False):
            axes.axvline(value, linestyle="--", color=color, label=name)
        if references:
            legend_above(figure)
        return Picture(figure, alt)
