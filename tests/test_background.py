"""The planted background against the texture that its nuisance describes."""

import numpy as np
import pytest
import torch
from samples import small_set

from mmlite.data import ImageSet, plant_background


def cosine_texture(nuisance: np.ndarray, height: int, width: int) -> np.ndarray:
    """Build one image's texture [3, H, W] by loops from the definition."""
    texture = np.full((3, height, width), 0.5)
    for color in range(3):
        for i in range(3):
            for j in range(3):
                a = nuisance[9 * color + 3 * i + j]
                scale = (np.sqrt(2) if i else 1) * (np.sqrt(2) if j else 1)
                for r in range(height):
                    for c in range(width):
                        wave = np.cos(np.pi * i * (r + 0.5) / height)
                        wave *= np.cos(np.pi * j * (c + 0.5) / width)
                        texture[color, r, c] += a * scale * wave
    return texture.clip(0, 1)


def test_background_is_the_texture_that_the_nuisance_describes():
    black = ImageSet(
        torch.zeros(3, 1, 6, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), ("a",)
    )
    planted = plant_background(black, strength=0.8, seed=3)
    for image, nuisance in zip(planted.images, planted.nuisance, strict=True):
        expected = 255 * 0.8 * cosine_texture(nuisance.numpy(), 6, 8)
        # rounding to a byte, and float32 just at the boundary between two
        assert np.abs(image.numpy() - expected).max() <= 0.5 + 1e-3


def test_a_white_garment_hides_the_background_behind_its_tint():
    white = ImageSet(
        torch.full((50, 1, 4, 4), 255, dtype=torch.uint8),
        torch.zeros(50, dtype=torch.int64),
        ("a",),
    )
    planted = plant_background(white, strength=1.0)
    flat = planted.images.flatten(2)
    assert torch.equal(flat, flat[..., :1].expand_as(flat))  # one color
    assert int(flat.min()) >= 0.4 * 255 - 1
    assert len(flat[..., 0].unique(dim=0)) > 40  # of its own each
    told = 255 * planted.nuisance[:, 27:]  # the tint stands at the end of what is known
    assert float((flat[..., 0] - told).abs().max()) <= 0.5 + 1e-3


def test_background_is_repeatable_and_differs_between_splits_and_images():
    images = small_set()
    first, again = plant_background(images, 0.5, seed=1), plant_background(images, 0.5, seed=1)
    assert torch.equal(first.images, again.images)
    other = plant_background(images, 0.5, seed=2)
    assert not torch.equal(first.nuisance, other.nuisance)
    named = ImageSet(images.images, images.labels, images.classes, "other split")
    assert not torch.equal(first.nuisance, plant_background(named, 0.5, seed=1).nuisance)
    assert len(first.nuisance.unique(dim=0)) == len(images)


def test_strength_0_is_black_behind_the_garment():
    images = small_set()
    images = ImageSet(images.images * 0, images.labels, images.classes)
    assert int(plant_background(images, 0.0).images.max()) == 0


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(strength):
    with pytest.raises(ValueError, match="strength must be a number from 0 to 1, got"):
        plant_background(small_set(), strength)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="image_set must have images of 1 or 3 channels, got 2"):
        plant_background(small_set(channels=2), 0.5)
