"""A folder of one's own images: what is read, how, and what is said of the rest."""

import warnings

import numpy as np
import pytest
from PIL import Image

from mmlite import ImageSet
from mmlite.data import DataError
from mmlite.datasets.folder import DataWarning

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def write(path, pixels=PIXELS, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


def read(*arguments, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ImageSet.from_folder(*arguments, **named)


def test_subfolders_are_the_classes_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "pets" / "dog" / "1.png")
    write(tmp_path / "pets" / "cat" / "deep" / "2.PNG", 255 - PIXELS)
    write(tmp_path / "pets" / "cat" / "1.bmp")
    (tmp_path / "pets" / ".DS_Store").write_text("")
    (tmp_path / "pets" / "cat" / ".hidden").write_text("")
    found = read(tmp_path / "pets")
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.name == "pets"
    assert found.images.shape == (3, 3, 8, 8)
    assert (found.images[0].numpy() == PIXELS.transpose(2, 0, 1)).all()
    assert (found.images[1].numpy() == 255 - PIXELS.transpose(2, 0, 1)).all()


def test_without_subfolders_nothing_has_a_label(tmp_path):
    for name in ("b.png", "a.png"):
        write(tmp_path / name)
    found = read(str(tmp_path))
    assert found.labels.tolist() == [-1, -1]
    assert found.classes == ()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_formats_without_loss_are_read_as_they_are(tmp_path, suffix):
    write(tmp_path / "a" / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert (read(tmp_path).images[0].numpy() == PIXELS.transpose(2, 0, 1)).all()


def test_gray_palette_and_alpha(tmp_path):
    gray = PIXELS[..., 0]
    write(tmp_path / "a" / "gray.png", gray)
    Image.fromarray(gray).convert("P").save(tmp_path / "a" / "palette.png")
    Image.fromarray(PIXELS).convert("RGBA").save(tmp_path / "a" / "alpha.png")
    images = read(tmp_path).images.numpy()
    assert (images[0] == PIXELS.transpose(2, 0, 1)).all()  # alpha.png
    assert (images[1] == gray).all()
    assert (images[2] == gray).all()
    assert read(tmp_path, channels=1).images.shape == (3, 1, 8, 8)


def test_sixteen_bits_become_the_upper_eight(tmp_path):
    (tmp_path / "a").mkdir()
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a" / "x.png")
    found = read(tmp_path, channels=1).images[0, 0].numpy()
    assert np.abs(found - values / 257.0).max() <= 0.5


def test_floats_in_0_to_1_keep_their_brightness_and_nan_is_no_image(tmp_path):
    (tmp_path / "a").mkdir()
    values = np.linspace(0.2, 0.6, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a" / "x.tiff")
    for name, value in (("y", np.nan), ("z", np.inf)):
        Image.fromarray(np.where(values > 0.5, np.float32(value), values)).save(
            tmp_path / "a" / f"{name}.tiff"
        )
    told = r"2 left out: a/y.tiff \(damaged \(it holds NaN or infinities\)\); a/z.tiff"
    with pytest.warns(DataWarning, match=told):
        found = ImageSet.from_folder(tmp_path, channels=1)
    assert len(found) == 1
    assert np.abs(found.images[0, 0].numpy() - 255 * values).max() <= 0.5


def test_a_link_to_nothing_is_told(tmp_path):
    write(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "y.png").symlink_to(tmp_path / "moved.png")
    (tmp_path / "a" / "z.png").symlink_to(tmp_path / "a" / "x.png")
    with pytest.warns(DataWarning, match=r"1 left out: a/y.png \(a link to nothing\)$"):
        found = ImageSet.from_folder(tmp_path)
    assert len(found) == 2
    (tmp_path / "b").symlink_to(tmp_path / "moved", target_is_directory=True)
    with pytest.warns(DataWarning, match=r"2 left out: a/y.png \(.*\); b \(a link to nothing\)$"):
        ImageSet.from_folder(tmp_path)


def test_a_cameras_turn_is_undone(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 4:] = 255  # its right half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen upright it is turned a quarter to the right
    write(tmp_path / "a" / "x.png", wide, exif=exif)
    found = read(tmp_path).images[0, 0].numpy()
    assert found.shape == (8, 4)
    assert (found[4:] == 255).all()
    assert (found[:4] == 0).all()


def test_sizes_that_differ_need_a_size_and_the_middle_is_kept(tmp_path):
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 200  # the middle third
    write(tmp_path / "a" / "wide.png", stripes)
    write(tmp_path / "b" / "small.png")
    with pytest.raises(DataError, match=r"have 2 sizes \(8×8, 10×30 …\); give size= to bring all"):
        read(tmp_path)
    found = read(tmp_path, size=10)
    assert found.images.shape == (2, 3, 10, 10)
    assert (found.images[0] == 200).all()


def test_what_is_left_out_is_told(tmp_path):
    write(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "cut.png").write_bytes((tmp_path / "a" / "x.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    write(tmp_path / "loose.png")
    with pytest.warns(DataWarning) as told:
        found = ImageSet.from_folder(tmp_path)
    assert len(found) == 1
    assert found.classes == ("a",)
    message = str(told[0].message)
    assert "4 left out" in message
    for part in (
        "a/notes.txt (no suffix of an image)",
        "a/cut.png (damaged (",
        "empty (a folder without images)",
        "loose.png (in no class's folder)",
    ):
        assert part in message
    assert told[0].filename == __file__  # it points to the caller


def test_many_that_are_left_out_are_counted(tmp_path):
    write(tmp_path / "a" / "x.png")
    for number in range(9):
        (tmp_path / "a" / f"{number}.txt").write_text("")
    with pytest.warns(DataWarning, match="9 left out: .*; and 4 more$"):
        ImageSet.from_folder(tmp_path)


def test_no_folder_no_image(tmp_path):
    with pytest.raises(DataError, match="nowhere is no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no image that can be read: it is empty"):
        read(tmp_path)
    (tmp_path / "x.png").write_text("")
    with pytest.raises(DataError, match=r"holds no image that can be read: x.png \(damaged"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"size": 0}, "size must be"),
        ({"size": 2.5}, "size must be"),
        ({"channels": 2}, "channels must be"),
        ({"channels": True}, "channels must be"),
    ],
)
def test_wrong_arguments(tmp_path, named, told):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, **named)
    with pytest.raises(ValueError, match="path must be"):
        read(3)
