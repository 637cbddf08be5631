"""Views against PIL's resampling and torchvision's colors, and the statistics of the draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from mmlite.views import TwoViews, triangle

STILL = {"crop": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "gray": 0.0}


def some_images(count: int = 4, channels: int = 3, height: int = 12, width: int = 12):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, height, width), generator=generator)
    return images.to(torch.uint8)


# geometry


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 40),
    out=st.integers(1, 40),
    start=st.floats(0, 0.6),
    extent=st.floats(0.05, 1.0),
)
def test_triangle_resamples_as_pil_does(size, out, start, extent):
    extent = min(extent, 1 - start)
    signal = np.random.default_rng(size * out).random((1, size)).astype(np.float32)
    box = (start * size, 0, (start + extent) * size, 1)
    expected = np.asarray(Image.fromarray(signal).resize((out, 1), Image.Resampling.BILINEAR, box))
    matrix = triangle(torch.tensor([start]), torch.tensor([extent]), size, out)[0]
    # 1e-4: a pixel at the very rim of the filter may be in for one and out for the other
    assert np.abs(matrix.numpy() @ signal[0] - expected[0]).max() < 1e-4


def test_triangle_backwards_is_the_mirror_image():
    forward = triangle(torch.tensor([0.2]), torch.tensor([0.5]), 10, 7)
    backward = triangle(torch.tensor([0.7]), torch.tensor([-0.5]), 10, 7)
    assert torch.allclose(backward, forward.flip(1), atol=1e-6)


def test_nothing_random_leaves_the_image():
    images = some_images()
    x1, x2 = TwoViews(**STILL)(images)
    # float32 products with a unit matrix
    assert torch.allclose(x1, images / 255, atol=1e-6)
    assert torch.equal(x1, x2)


def test_a_certain_flip_is_a_flip_and_keeps_rows_apart_from_columns():
    images = some_images(height=9, width=14)
    x1, _ = TwoViews(**(STILL | {"flip": 1.0}))(images)
    assert torch.allclose(x1, (images / 255).flip(3), atol=1e-6)


def test_crops_keep_the_share_of_area_and_the_ratio_they_were_asked_for():
    # A ramp along each axis shows where a crop begins and ends.
    count, side = 4000, 64
    ramp = (torch.arange(side) + 0.5) / side
    images = torch.stack([ramp[:, None].expand(side, side), ramp.expand(side, side)])
    images = torch.cat([images, torch.zeros(1, side, side)]).expand(count, -1, -1, -1)
    views = TwoViews(**(STILL | {"crop": (0.2, 0.5), "ratio": (0.75, 4 / 3)}))
    x1, _ = views(images, torch.Generator().manual_seed(0))
    step = side / (side - 1)  # from pixel center to pixel center
    tall = (x1[:, 0, -2, 5] - x1[:, 0, 1, 5]) * (side - 1) / (side - 3) * step
    wide = (x1[:, 1, 5, -2] - x1[:, 1, 5, 1]) * (side - 1) / (side - 3) * step
    area, ratio = tall * wide, wide / tall
    # 0.02: the ramp is flat in the last half pixel of each border
    assert 0.18 < float(area.min()) < 0.23
    assert 0.47 < float(area.max()) < 0.52
    # the mean of a uniform draw, within 5 standard errors of 4,000
    assert abs(float(area.mean()) - 0.35) < 5 * 0.3 / math.sqrt(12 * count) + 0.01
    assert float(ratio.min()) > 0.72
    assert float(ratio.max()) < 1.37
    assert abs(float(ratio.log().mean())) < 0.02


def test_small_views_of_large_images_are_antialiased():
    checker = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    images = (255 * checker).to(torch.uint8).expand(2, 3, 64, 64)
    x1, _ = TwoViews(**(STILL | {"size": 8}))(images)
    assert x1.shape == (2, 3, 8, 8)
    # a filter two output pixels wide averages 256 squares to gray; sampling points would give
    # black or white
    assert float((x1 - 0.5).abs().max()) < 0.02


# color


def reference_color(image, brightness, contrast, saturation, turn):
    """Apply torchvision's formulas in float64, without its clamps; hue turns in YIQ."""
    image = brightness * image
    gray = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    image = contrast * image + (1 - contrast) * gray.mean()
    gray = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    image = saturation * image + (1 - saturation) * gray
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    y, i, q = np.einsum("ij,jhw->ihw", yiq, image)
    angle = 2 * math.pi * turn
    i, q = math.cos(angle) * i - math.sin(angle) * q, math.sin(angle) * i + math.cos(angle) * q
    return np.einsum("ij,jhw->ihw", np.linalg.inv(yiq), np.stack([y, i, q]))


@settings(max_examples=30, deadline=None)
@given(draws=st.lists(st.floats(0, 1), min_size=4, max_size=4), seed=st.integers(0, 1000))
def test_color_matrix_is_the_four_jitters_one_after_the_other(draws, seed):
    views = TwoViews(jitter=0.8, jitter_probability=1.0, gray=0.0)
    image = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(seed))
    u = torch.tensor([0.0, *draws, 1.0])[:, None]
    matrix, offset = views._color(u, image.mean((1, 2))[None])
    got = torch.einsum("ij,jhw->ihw", matrix[0], image) + offset[0][:, None, None]
    b, c, s = (1 + 0.8 * (2 * d - 1) for d in draws[:3])
    expected = reference_color(image.double().numpy(), b, c, s, 0.2 * (2 * draws[3] - 1))
    assert np.abs(got.numpy() - expected).max() < 1e-5  # float32


@pytest.mark.parametrize(
    ("place", "apply"),
    [
        (1, tv.adjust_brightness),
        (2, tv.adjust_contrast),
        (3, tv.adjust_saturation),
    ],
)
def test_each_jitter_is_torchvisions_where_nothing_is_clamped(place, apply):
    image = 0.4 + 0.2 * torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    u = torch.full((6, 1), 0.5)
    u[0], u[5], u[place] = 0.0, 1.0, 0.8  # a factor of 1 + 0.4 · 0.6
    matrix, offset = TwoViews(jitter=0.4, jitter_probability=1.0)._color(
        u, image.mean((1, 2))[None]
    )
    got = torch.einsum("ij,jhw->ihw", matrix[0], image) + offset[0][:, None, None]
    # torchvision rounds the gray's weights to 0.2989, 0.587 and 0.114
    assert torch.allclose(got, apply(image, 1.24), atol=2e-4)


def test_a_certain_gray_has_three_equal_channels_of_the_right_brightness():
    images = some_images()
    x1, _ = TwoViews(**(STILL | {"gray": 1.0}))(images)
    expected = np.stack(
        [np.asarray(Image.fromarray(i.permute(1, 2, 0).numpy()).convert("L")) for i in images]
    )
    assert torch.equal(x1[:, 0], x1[:, 1])
    # PIL rounds to a byte
    assert np.abs(255 * x1[:, 0].numpy() - expected).max() < 0.51


def test_one_channel_images_get_brightness_and_contrast():
    images = some_images(count=200, channels=1)
    x1, _ = TwoViews(**(STILL | {"jitter": 0.8}))(images, torch.Generator().manual_seed(0))
    assert x1.shape == images.shape
    assert float(x1.min()) >= 0
    assert float(x1.max()) <= 1
    unchanged = [torch.allclose(v, i / 255, atol=1e-5) for v, i in zip(x1, images, strict=True)]
    # probability 0.2 each: 40 ± 5.7 of 200
    assert 15 < sum(unchanged) < 70


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_each_of_many_channels_is_changed_as_if_it_were_alone(channels):
    images = some_images(count=30, channels=channels)
    views = TwoViews(jitter=0.8, gray=0.0)
    together = views(images, torch.Generator().manual_seed(0))
    for c in range(channels):
        alone = views(images[:, c : c + 1], torch.Generator().manual_seed(0))
        for whole, one in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[:, c : c + 1], one, rtol=0, atol=1e-5)  # float32


def test_many_channels_brightness_and_contrast_by_hand():
    images = torch.rand(1, 5, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = torch.tensor([0.0, 0.7, 0.9, 0.1, 0.1, 1.0])[:, None]
    matrix, offset = TwoViews(jitter=0.5, jitter_probability=1.0)._color(
        u, images.mean((2, 3)).float()
    )
    got = torch.einsum("ij,jhw->ihw", matrix[0].double(), images[0]) + offset[0][:, None, None]
    bright = (1 + 0.5 * 0.4) * images[0]
    wanted = 1.4 * bright - 0.4 * bright.mean((1, 2), keepdim=True)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


# draws


def test_every_image_and_view_has_a_draw_of_its_own():
    images = some_images(1).expand(16, -1, -1, -1)
    x1, x2 = TwoViews()(images, torch.Generator().manual_seed(0))
    views = torch.cat([x1, x2]).flatten(1)
    assert len(views.unique(dim=0)) == 32


def test_a_seed_repeats_the_views_and_the_next_call_moves_on():
    images, views = some_images(), TwoViews()
    generator = torch.Generator().manual_seed(5)
    first, second = views(images, generator), views(images, generator)
    again = views(images, torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])


def test_without_a_generator_the_global_seed_decides():
    images, views = some_images(), TwoViews()
    torch.manual_seed(3)
    first = views(images)
    torch.manual_seed(3)
    assert torch.equal(first[0], views(images)[0])


@pytest.mark.parametrize(("name", "share"), [("flip", 0.5), ("gray", 0.2)])
def test_probabilities_are_kept(name, share):
    images = some_images(1).expand(2000, -1, -1, -1)
    x1, _ = TwoViews(**(STILL | {name: share}))(images, torch.Generator().manual_seed(0))
    changed = (x1 - images / 255).flatten(1).abs().amax(1) > 1e-4
    # 5 standard deviations of 2,000 draws
    assert abs(float(changed.float().mean()) - share) < 5 * math.sqrt(share * (1 - share) / 2000)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 5),
    channels=st.integers(1, 5),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.one_of(st.none(), st.integers(1, 24)),
)
def test_views_are_in_range_for_every_size(count, channels, height, width, size):
    images = some_images(count, channels, height, width)
    gray = 0.2 if channels in (1, 3) else 0.0
    for view in TwoViews(jitter=0.8, size=size, gray=gray)(images):
        assert view.shape == (count, channels, size or height, size or width)
        assert view.dtype == torch.float32
        assert bool(((view >= 0) & (view <= 1)).all())


def test_float_images_are_taken_as_they_are():
    images = some_images()
    generator = torch.Generator()
    from_bytes = TwoViews()(images, generator.manual_seed(0))[0]
    from_floats = TwoViews()(images / 255, generator.manual_seed(0))[0]
    assert torch.allclose(from_bytes, from_floats, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_8_bits_and_more(channels):
    images = some_images(channels=channels)
    wide = (images.to(torch.int32) * 257).to(torch.uint16)  # 255 · 257 = 65535
    generator = torch.Generator()
    for a, b in zip(
        TwoViews()(images, generator.manual_seed(0)),
        TwoViews()(wide, generator.manual_seed(0)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)  # float32
    finer = TwoViews(**STILL)(torch.full((1, 1, 2, 2), 1000, dtype=torch.uint16))[0]
    torch.testing.assert_close(finer, torch.full((1, 1, 2, 2), 1000 / 65535))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"images must be \[N, C, H, W\]"),
        (torch.zeros(2, 0, 8, 8), "none of them 0"),
        (torch.zeros(2, 2, 8, 8), r"2 channels have no gray, .* gray=0, got 0\.2"),
        (torch.zeros(2, 4, 8, 8), "4 channels have no gray"),
        (torch.zeros(2, 8, 8, 3), r"images of shape \[2, 8, 8, 3\] have their channels last"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "uint16 or float, got torch.int64"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int16), "uint16 or float, got torch.int16"),
        (torch.full((2, 3, 8, 8), 255.0), "must lie in 0..1, got 255 to 255; divide"),
        (torch.randn(2, 3, 8, 8), r"must lie in 0\.\.1, got -.*; take off what normalizes"),
        (torch.full((2, 3, 8, 8), math.nan), r"must lie in 0\.\.1, got nan to nan; look where"),
    ],
)
def test_wrong_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        TwoViews()(images)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": (0.0, 1.0)},
        {"crop": (0.8, 0.2)},
        {"ratio": (0.0, 1.0)},
        {"flip": 1.5},
        {"gray": -0.1},
        {"jitter_probability": 2.0},
        {"jitter": -1.0},
        {"size": 0},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TwoViews(**wrong)


def test_views_compile_without_a_graph_break():
    images, views = some_images(), TwoViews()
    compiled = torch.compile(lambda x: views(x), fullgraph=True, backend="eager")
    assert compiled(images)[0].shape == images.shape


@pytest.mark.gpu
def test_views_on_a_gpu_are_those_of_the_cpu_and_do_not_wait_for_it():
    images, views = some_images(), TwoViews(jitter=0.8)
    expected = views(images, torch.Generator().manual_seed(0))[0]
    on_gpu = images.cuda()
    views(on_gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = views(on_gpu, torch.Generator("cuda").manual_seed(0))[0]
        got = views(on_gpu, torch.Generator().manual_seed(0))[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(got.cpu(), expected, atol=1e-4)  # TF32 may be on


def test_autocast_does_not_round_pixels():
    images = some_images()
    wanted = TwoViews()(images, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TwoViews()(images, torch.Generator().manual_seed(1))
    for one, other in zip(wanted, found, strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one, other)
