"""Views that are wrong by chance alone, and the sentences that say how."""

import pytest
import torch
from right_answers import RIGHT
from torch.nn import functional as F

from mmlite.exercises import find, judge

EXERCISE = find("01.3")


def made(images, shift, flip):
    """Cut views out of images, one by one: shift [N, 2] in 0..6 and flip [N] bool."""
    height, width = images.shape[2:]
    padded = F.pad(images, [3] * 4)
    views = [
        image[:, top : top + height, left : left + width]
        for image, (top, left) in zip(padded, shift.tolist(), strict=True)
    ]
    turned = [v.flip(2) if f else v for v, f in zip(views, flip.tolist(), strict=True)]
    return torch.stack(turned)


def view(images, g, low=0, high=7, p=0.5):
    n = len(images)
    shift = torch.randint(low, high, (n, 2), generator=g)
    return made(images, shift, torch.rand(n, generator=g) < p)


def twice(**how):
    return lambda images, g: (view(images, g, **how), view(images, g, **how))


def only(axis):
    def one(images, g):
        shift = torch.randint(0, 7, (len(images), 2), generator=g)
        shift[:, 1 - axis] = 3
        return made(images, shift, torch.rand(len(images), generator=g) < 0.5)

    return lambda images, g: (one(images, g), one(images, g))


def with_draws(draws):
    """Make two views of draws(n, g): the shifts and the flips of both."""

    def answer(images, g):
        (s1, f1), (s2, f2) = draws(len(images), g)
        return made(images, s1, f1), made(images, s2, f2)

    return answer


def shifts(n, g):
    return torch.randint(0, 7, (n, 2), generator=g)


def coins(n, g):
    return torch.rand(n, generator=g) < 0.5


def shared_flips(n, g):
    flip = coins(n, g)
    return (shifts(n, g), flip), (shifts(n, g), flip)


def shared_rows(n, g):
    one, two = shifts(n, g), shifts(n, g)
    two[:, 0] = one[:, 0]
    return (one, coins(n, g)), (two, coins(n, g))


def opposite_views(n, g):
    one, flip = shifts(n, g), coins(n, g)
    return (one, flip), (6 - one, ~flip)


def neighbors_alike(n, g):
    def pairs():
        return shifts(n // 2, g).repeat_interleave(2, 0), coins(n // 2, g).repeat_interleave(2)

    return pairs(), pairs()


def flip_by_shift(n, g):
    one, two = shifts(n, g), shifts(n, g)
    return (one, one[:, 0] > 2), (two, two[:, 1] > 2)


def unseeded_flips(n, g):
    return (shifts(n, g), coins(n, None)), (shifts(n, g), coins(n, None))


def always_the_same(images, g):
    g = torch.Generator().manual_seed(0)
    return view(images, g), view(images, g)


WRONG = {
    "up to 2": (twice(low=1, high=6), "along the height no image is shifted by −3 or 3 pixels"),
    "never +3": (twice(high=6), "stops at 5"),
    "never −3": (twice(low=1), "along the height no image is shifted by −3 pixels"),
    "0 and 1": (twice(low=3, high=5), "no image is shifted by −3, −2, −1, 2 or 3 pixels"),
    "the width alone": (only(1), "the first view: along the height no image is shifted by"),
    "the height alone": (only(0), "the first view: along the width no image is shifted"),
    "flips at 30 %": (twice(p=0.3), "about half of the images of the first view must be flipped"),
    "flips at 90 %": (twice(p=0.9), "about half of the images of the first view must be flipped"),
    "all flipped": (twice(p=2.0), "every image of the first view is flipped"),
    "none flipped": (twice(p=-1.0), "never flipped"),
    "the first view unchanged": (
        lambda images, g: (images.clone(), view(images, g)),
        "no image of the first view is shifted",
    ),
    "one flip decision for both": (with_draws(shared_flips), "the two views of an image must be"),
    "one shift of rows for both": (with_draws(shared_rows), "the two views of an image must be"),
    "opposite views": (with_draws(opposite_views), "the two views of an image must be"),
    "two by two": (with_draws(neighbors_alike), "the images of a batch must be drawn indep"),
    "flipped by shift": (with_draws(flip_by_shift), "must be"),
    "flips from elsewhere": (with_draws(unseeded_flips), "the same seed does not repeat"),
    "a seed of its own": (always_the_same, "here they are the same, so where do"),
    "floats of 0 to 1": (
        lambda images, g: tuple(v / 255 for v in twice()(images, g)),
        "must have the type of images",
    ),
    "a constant border": (
        lambda images, g: tuple(v.clamp(min=1) for v in twice()(images, g)), "filled with 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_views_of_a_wrong_law_fail_for_every_seed(name):
    answer, sentence = WRONG[name]
    for seed in range(2):
        verdict = judge(EXERCISE, answer, seed=seed)  # the instant check alone
        assert verdict.status == "wrong"
        assert sentence in verdict.message


def test_a_flip_for_a_whole_view_fails_for_every_seed():
    def one_decision(images, g):
        def one():
            flip = torch.rand(1, generator=g).expand(len(images)) < 0.5
            return made(images, shifts(len(images), g), flip)

        return one(), one()

    for seed in range(20):  # where it passed eight times
        verdict = judge(EXERCISE, one_decision, seed=seed)
        assert verdict.mistake == "one flip for a view"


def test_views_of_the_right_law_pass_for_every_seed():
    answers = [twice(), *RIGHT["01.3"]]
    for seed in range(8):
        for answer in answers:
            assert judge(EXERCISE, answer, seed=seed).status == "passed", seed
