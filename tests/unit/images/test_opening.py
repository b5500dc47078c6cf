"""Photos of every kind are read upright; what is no photo is refused at once."""

import os

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import loading, opening, pixels
from edgetpu_lib.training import augment

LOADERS = [pixels.load_on_device, data.load_image]


@pytest.fixture
def photo():
    """Return an image of 60 × 40 whose corners differ."""
    rng = np.random.default_rng(3)
    small = rng.integers(30, 220, (4, 6, 3), np.uint8)
    return Image.fromarray(small).resize((60, 40), Image.BICUBIC)


def save_turned(photo, path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(path, exif=exif, quality=98)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_obeyed_as_pillow_does(photo, tmp_path, suffix, orientation):
    path = save_turned(photo, tmp_path / f"photo.{suffix}", orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    _, image = opening.open_image(path)
    np.testing.assert_array_equal(opening.to_rgb(image, path), expected)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_both_loaders_give_the_upright_photo(photo, tmp_path, load, orientation):
    turned = save_turned(photo, tmp_path / "turned.jpg", orientation)
    with Image.open(turned) as image:
        ImageOps.exif_transpose(image).save(tmp_path / "upright.png")
    expected = pixels.load_on_device(tmp_path / "upright.png", 32)
    assert np.abs(load(turned, 32) - expected).mean() < 3


def test_training_crops_are_upright(photo, tmp_path):
    turned = save_turned(photo, tmp_path / "turned.jpg", 6)
    content, height, width = loading.croppable(turned)
    assert content.shape == (60, 40, 3) == (height, width, 3)
    ImageOps.exif_transpose(Image.open(turned)).save(tmp_path / "upright.png")
    crop = augment.random_crop(turned, 24, (1, 2))
    expected = augment.random_crop(tmp_path / "upright.png", 24, (1, 2))
    assert np.abs(crop - expected).mean() < 3


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_senseless_orientation_means_upright(photo, tmp_path, value):
    path = save_turned(photo, tmp_path / "photo.png", value)
    _, image = opening.open_image(path)
    assert opening.to_rgb(image, path).shape == (40, 60, 3)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpeg_is_shrunk_while_it_is_decoded(
    photo, tmp_path, monkeypatch, load, orientation
):
    path = save_turned(photo.resize((600, 400)), tmp_path / "large.jpg", orientation)
    whole = load(path, 32)
    monkeypatch.setattr(opening, "MAX_PIXELS", 600 * 400 // 10)
    monkeypatch.setattr(opening, "MAX_JPEG_PIXELS", 600 * 400)
    assert opening.jpeg_ratio(opening.open_image(path)[1]) == 4
    assert np.abs(load(path, 32) - whole).mean() < 6
    monkeypatch.setattr(opening, "MAX_JPEG_PIXELS", 600 * 400 - 1)
    with pytest.raises(InputError, match="600×400"):
        load(path, 32)


def test_jpeg_beyond_pillows_own_limit_is_opened(tmp_path, monkeypatch, photo):
    photo.save(tmp_path / "photo.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert data.load_image(tmp_path / "photo.jpg", 32).shape == (32, 32, 3)


def test_picture_of_one_row_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MAX_SIDE", 2_000)
    Image.new("L", (2_001, 1)).save(tmp_path / "row.png")
    with pytest.raises(InputError, match="2001×1"):
        data.load_image(tmp_path / "row.png", 32)


def float_tiff(path, values):
    Image.fromarray(np.asarray(values, np.float32)).save(path)
    return path


def test_float_tiff_of_zero_to_one_is_not_black(tmp_path):
    values = np.linspace(0, 1, 600).reshape(20, 30)
    unit = float_tiff(tmp_path / "unit.tif", values)
    full = float_tiff(tmp_path / "full.tif", 255 * values)
    loaded = data.load_image(unit, 16)
    assert loaded.max() > 180
    np.testing.assert_array_equal(loaded, data.load_image(full, 16))


@pytest.mark.parametrize("value", [-1, 300, np.nan, np.inf])
def test_float_tiff_of_another_range_is_refused(tmp_path, value):
    path = float_tiff(tmp_path / "odd.tif", [[0, 1], [2, value]])
    with pytest.raises(InputError, match="odd.tif"):
        data.load_image(path, 16)


@pytest.fixture(params=["pipe", "device", "folder", "dangling", "loop"])
def no_plain_file(request, tmp_path):
    """Return a path with an image's name that is no plain file."""
    path = tmp_path / "x.jpg"
    make = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere.jpg"),
        "loop": lambda: path.symlink_to(path),
    }
    make[request.param]()
    return path


@pytest.mark.parametrize("load", LOADERS)
def test_only_plain_files_are_opened(no_plain_file, load):
    with pytest.raises(InputError, match="x.jpg"):
        load(no_plain_file, 32)


def test_file_without_end_is_refused(tmp_path, monkeypatch):
    from edgetpu_lib.base import plain_files

    monkeypatch.setattr(plain_files, "MAX_FILE_BYTES", 10)
    (tmp_path / "x.jpg").write_bytes(bytes(11))
    with pytest.raises(InputError, match="larger"):
        data.load_image(tmp_path / "x.jpg", 32)
