"""What exercise 01.3 asks of random views, as properties that hold or do not.

Each image of each view gets a draw of its own: a shift of −3..3 pixels along both axes, every one
as likely as the others, the border filled with 0, and with probability 1/2 a flip left to right.
The images' pixels say where they come from, so a view's shift and flip can be read off; the laws of
2,000 of them are then held against the ones asked for by Pearson's χ² test. A right answer fails
one of the tests by bad luck once in 10¹⁰ judgments.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

REACH = 3  # pixels by which a view may be shifted either way
SHIFTS = 2 * REACH + 1
HEIGHT, WIDTH = 10, 8
# what χ² exceeds by luck once in 10¹¹, by its degrees of freedom: scipy.stats.chi2.isf(1e-11, d)
LIMITS = {1: 46.3, 6: 63.2, 36: 124.8}
HOLDS, FAILS, NEVER, ALIKE, ALWAYS, ABSENT = 1, 0, -1, -2, -3, -10
# how a view may be made wrongly: how the border is filled, and the axis of the flip
OTHERS = {NEVER: ("constant", 2), ALIKE: ("circular", 3)}
FIRST, SECOND = "the first view", "the second view"
NO_VIEW = (
    "each view must be its image, shifted by at most 3 pixels, filled with 0 and perhaps flipped "
    "left to right: here some view is not"
)
# property: what fails it, by how; in the order in which they are told
SENTENCES = (
    {FAILS: "the function must return two tensors of the shape of images"},
    {FAILS: "the views must have the type of images: a crop and a flip keep it"},
    dict.fromkeys((FAILS, NEVER, ALIKE), NO_VIEW),
    *(
        {
            NEVER: f"no image of {view} is shifted: draw a shift for each image of both views",
            ALIKE: f"all images of {view} get the same shift: draw one for each image",
        }
        for view in (FIRST, SECOND)
    ),
    *(
        {
            FAILS: f"{view}: along the {axis} each shift from −3 to 3 pixels must come, every one "
            "as often as the others: here some come too often, too rarely or never"
        }
        for view in (FIRST, SECOND)
        for axis in ("height", "width")
    ),
    *(
        {
            NEVER: f"no image of {view} is flipped: with probability 1/2 turn each left to right",
            ALWAYS: f"every image of {view} is flipped: about half of them must be",
            ALIKE: f"all images of {view} are flipped or none is: decide for each image",
            FAILS: f"about half of the images of {view} must be flipped left to right, not fewer "
            "and not more",
        }
        for view in (FIRST, SECOND)
    ),
    {FAILS: "the shifts along both axes must be drawn independently: one tells of the other here"},
    {FAILS: "shift and flip of an image must be drawn independently: one tells of the other here"},
    {FAILS: "the images of a batch must be drawn independently: one tells of the next here"},
    dict.fromkeys(
        (FAILS, ALIKE),
        "the two views of an image must be drawn independently: one tells of the other here",
    ),
    {
        NEVER: "the same generator seed must give the same views: draw every number from generator",
        FAILS: "the next call with the same generator must give other views: here they are the "
        "same, so where do their numbers come from?",
    },
)


def coordinates(generator: Generator, count: int) -> tuple[Tensor, int]:
    """Return uint8 images whose pixels say which image, row and column they are, and a seed."""
    row = torch.arange(1, HEIGHT + 1)[:, None].expand(HEIGHT, WIDTH)
    column = torch.arange(1, WIDTH + 1).expand(HEIGHT, WIDTH)
    places = torch.stack([row, column]).expand(count, 2, HEIGHT, WIDTH)
    number = torch.arange(count)
    which = torch.stack([1 + number % 250, 1 + number // 250], 1)[:, :, None, None]
    seed = int(torch.randint(0, 2**31 - 1, (), generator=generator))
    images = torch.cat([places, which.expand(count, 2, HEIGHT, WIDTH)], 1)
    return images.to(torch.uint8).contiguous(), seed


def observe(function, images: Tensor, seed: int) -> Tensor:
    """Return the properties of `SENTENCES`: 1 for one that holds, else how it fails.

    Those behind the first that fails for want of views are 0.
    """
    generator = Generator().manual_seed(seed)
    result = function(images, generator)
    said = torch.zeros(len(SENTENCES), dtype=torch.int64)
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        return said
    if not all(isinstance(v, Tensor) and v.shape == images.shape for v in result):
        return said
    said[0] = HOLDS
    said[1] = HOLDS if all(view.dtype == images.dtype for view in result) else FAILS
    read = _read_all(result, images)
    if read is None:
        said[2] = _other_kind(result, images)
        return said
    said[2] = HOLDS
    again = function(images, Generator().manual_seed(seed))
    later = [function(images, generator) for _ in range(2)]
    calls = [read]
    for views in later:
        if (more := _read_all(views, images)) is None:
            said[2] = FAILS
            return said
        calls.append(more)
    by_view = [[call[view] for call in calls] for view in range(2)]
    pairs = [(one, one) for one in read]
    flips_as_numbers = [(one[:, :2], one[:, 2]) for one in read]
    rest = [_shifts(by_view[0]), _shifts(by_view[1])]
    rest += [_uniform(one[:, axis]) for one in read for axis in range(2)]
    rest += [_flips(by_view[view], _more(function, images, generator, view)) for view in range(2)]
    rest.append(min(_apart(one[:, 0], other[:, 1]) for one, other in pairs))
    rest.append(min(_apart(s[:, axis], f) for s, f in flips_as_numbers for axis in range(2)))
    rest.append(min(_apart(one[:-1, part], one[1:, part]) for one in read for part in range(3)))
    same = torch.equal(*read)
    rest.append(
        ALIKE if same else min(_apart(a, b) for a, b in zip(read[0].T, read[1].T, strict=True))
    )
    repeats = all(torch.equal(a, b) for a, b in zip(result, again, strict=True))
    moves_on = any(not torch.equal(a, b) for a, b in zip(result, later[0], strict=True))
    said[3:] = torch.tensor([*rest, NEVER if not repeats else HOLDS if moves_on else FAILS])
    return said


def explain(said: Tensor) -> str | None:
    """Return the sentence of the first property that fails, or None if this is no observation."""
    if said.shape != (len(SENTENCES),):
        return None
    failed = [(n, how) for n, how in enumerate(said.tolist()) if how != HOLDS]
    if not failed:
        return None
    place, how = failed[0]
    if how <= ABSENT and FAILS in SENTENCES[place]:
        along = SENTENCES[place][FAILS].partition(" each shift")[0]
        return (
            f"{along} no image is shifted by {_absent(how)} pixels, but every shift from −3 to 3 "
            "must come"
        )
    return SENTENCES[place].get(how)


def _read(view: Tensor, images: Tensor) -> Tensor | None:
    """Return [N, 3]: the (down, right) shift and the flip of each view, or None if it is not one.

    Two pixels in the middle, which no shift moves out of sight, tell where they come from; the view
    that this makes is cut out anew and compared. Nothing is shared with the reference.
    """
    if view.shape != images.shape:
        return None
    count, _, height, width = images.shape
    row, column = height // 2, width // 2 - 1
    whole = view.long()
    flip = (whole[:, 1, row, column] > whole[:, 1, row, column + 1]).long()
    seen = torch.where(flip == 1, whole[:, 1, row, width - 1 - column], whole[:, 1, row, column])
    read = torch.stack([whole[:, 0, row, column] - 1 - row, seen - 1 - column, flip], 1)
    read[:, :2] += REACH
    if not bool(((read >= 0) & (read < SHIFTS)).all()):
        return None
    padded = F.pad(images, [REACH] * 4)
    rows = read[:, 0, None] + torch.arange(height, device=view.device)
    columns = read[:, 1, None] + torch.arange(width, device=view.device)
    which = torch.arange(count, device=view.device)
    made = padded.movedim(1, 3)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    made = made.movedim(3, 1)
    made = torch.where(flip[:, None, None, None] == 1, made.flip(3), made)
    return read if bool((made == view).all()) else None


def _read_all(views: Sequence[Tensor], images: Tensor) -> list[Tensor] | None:
    """Return what `_read` reads of each of several views, or None if one of them is none."""
    read = [_read(view, images) for view in views]
    whole = [one for one in read if one is not None]
    return whole if len(whole) == len(read) else None


def _other_kind(views, images: Tensor) -> int:
    """Return by which of the known wrong ways views that are none were made, if by any."""
    some = slice(0, 100)  # enough to tell
    for kind, how in OTHERS.items():
        if all(_is_made(view[some], images[some], *how) for view in views):
            return kind
    return FAILS


def _is_made(view: Tensor, images: Tensor, border: str, axis: int) -> bool:
    """Whether each view is its image shifted, but with another border or another axis flipped."""
    count, _, height, width = images.shape
    found = torch.zeros(count, dtype=torch.bool, device=view.device)
    padded, view = F.pad(images.float(), [REACH] * 4, mode=border), view.float()
    for top in range(SHIFTS):
        for left in range(SHIFTS):
            shifted = padded[:, :, top : top + height, left : left + width]
            for candidate in (shifted, shifted.flip(axis)):
                found |= (candidate == view).flatten(1).all(1)
    return bool(found.all())


def _shifts(calls: list[Tensor]) -> int:
    """Return whether a view's images are shifted each in its own way, in several calls."""
    if all(bool((read[:, :2] == REACH).all()) for read in calls):
        return NEVER
    return ALIKE if all(len(read[:, :2].unique(dim=0)) == 1 for read in calls) else HOLDS


def _more(function, images: Tensor, generator: Generator, view: int) -> Iterator[float]:
    """Return the shares of flips in a view of further small batches."""
    few = images[:8].clone()
    for _ in range(40):
        read = _read(function(few, generator)[view], few)
        yield -1.0 if read is None else float(read[:, 2].float().mean())


def _flips(calls: list[Tensor], more: Iterator[float]) -> int:
    """Return whether about half of a view's images are flipped.

    Where all or none are, `more` tells whether that is so by a decision for the whole view: luck
    would make 40 of them alike once in 10¹².
    """
    shares = [float(read[:, 2].float().mean()) for read in calls]
    if all(share in (0, 1) for share in shares):
        decisions = {*shares, *more}
        return {frozenset({0.0}): NEVER, frozenset({1.0}): ALWAYS}.get(frozenset(decisions), ALIKE)
    count = len(calls[0])
    # the share in units of its standard deviation, squared, is χ² with one degree of freedom
    return HOLDS if 4 * count * (shares[0] - 0.5) ** 2 < LIMITS[1] else FAILS


def _uniform(shifts: Tensor) -> int:
    """Return whether all shifts come equally often; −10 and less say which never come, as bits."""
    counts = torch.bincount(shifts, minlength=SHIFTS).double()
    absent = [shift for shift, count in enumerate(counts.tolist()) if not count]
    if absent:
        return ABSENT - sum(1 << shift for shift in absent)
    expected = len(shifts) / SHIFTS
    statistic = float(((counts - expected).square() / expected).sum())
    return HOLDS if statistic < LIMITS[6] else FAILS


def _absent(said: int) -> str:
    """Return in words which shifts never come."""
    shifts = [str(n - REACH).replace("-", "−") for n in range(SHIFTS) if (ABSENT - said) >> n & 1]
    return " or ".join([", ".join(shifts[:-1]), shifts[-1]] if len(shifts) > 1 else shifts)


def _apart(one: Tensor, other: Tensor) -> int:
    """Return whether two draws look independent; one that never varies tells of nothing."""
    table = torch.zeros(SHIFTS, SHIFTS, dtype=torch.float64)
    ones = torch.ones(len(one), dtype=torch.float64)
    table.index_put_((one.cpu(), other.cpu()), ones, accumulate=True)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    expected = table.sum(1, keepdim=True) * table.sum(0) / len(one)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    limit = next(limit for known, limit in LIMITS.items() if known >= freedom)
    return HOLDS if float(((table - expected).square() / expected).sum()) < limit else FAILS
