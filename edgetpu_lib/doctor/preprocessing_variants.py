"""Prepare images correctly and in the usual wrong ways, and make synthetic images.

All are given as `calibrate` takes them, pixels before (pixel − 127) / 128: what an
application would feed the network is converted back to those. A network that takes
other pixels (`pixel_scale`) gets what it takes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.images import opening, pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite.contract import OWN, PixelScale

RIGHT = "right"
BGR, CROPPED, SQUARE, WHOLE = "bgr", "cropped", "square", "whole"
UNIT, DIVIDED = "0..1", "divided twice"
# Wrong variant → the cause it is reported as, and how its images are described. Of
# cropped and uncropped ones, images have those that are wrong for the model.
FAULTS = {
    BGR: ("preprocessing-bgr", "with red and blue exchanged"),
    CROPPED: ("preprocessing-crop", "with the centre crop"),
    SQUARE: ("preprocessing-no-crop", "without the centre crop"),
    WHOLE: ("preprocessing-no-crop", "squeezed whole to a square"),
    UNIT: ("preprocessing-div255", "divided by 255 instead of normalised"),
    DIVIDED: ("preprocessing-div255", "divided by 255, then normalised"),
}
NOISE = "noise"
# The ranges of noise images differ little, so this many suffice.
_NOISE_IMAGES = 48


def prepare_variants(
    images: data.Images,
    image_size: int,
    *,
    pixel_scale: PixelScale = OWN,
    resize: Resize = "crop",
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names of variants and RGB pixels [images, size, size, 3].

    `resize` is how images become square rightly.

    Raises:
        InputError: an image cannot be used.
    """
    arrays = data.load_pixels(images, image_size, resize=resize)
    yield RIGHT, _for_network(arrays, pixel_scale)
    yield BGR, _for_network(arrays[..., ::-1], pixel_scale)
    if resize == "stretch":
        cropped = data.load_pixels(images, image_size)
        yield CROPPED, _for_network(cropped, pixel_scale)
    else:
        squares = data.load_pixels(images, image_size, resize="square")
        yield SQUARE, _for_network(squares, pixel_scale)
        squeeze = functools.partial(_squeeze, image_size=image_size)
        wholes = np.stack(list(parallel.map_in_order(squeeze, images.paths)))
        yield WHOLE, _for_network(wholes, pixel_scale)
    divided = arrays.astype(np.float32) / 255
    yield UNIT, _before_normalisation(divided)
    yield DIVIDED, _for_network(divided, pixel_scale)


def synthetic_images(
    image_size: int, *, pixel_scale: PixelScale = OWN
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and pixels of images that no camera takes, from fixed seeds.

    Those with `NOISE` in the name are used for calibration by mistake; any may be the
    single outlier of a calibration set.
    """
    fit = functools.partial(_for_network, pixel_scale=pixel_scale)
    rng = np.random.default_rng(0)
    shape = (_NOISE_IMAGES, image_size, image_size, 3)
    yield f"{NOISE} of bytes", fit(rng.integers(0, 256, shape, np.uint8))
    yield f"{NOISE} of 0..1", _before_normalisation(rng.random(shape, np.float32))
    both_signs = rng.uniform(-1, 1, shape).astype(np.float32)
    yield f"{NOISE} of −1..1", _before_normalisation(both_signs)
    normal = rng.standard_normal(shape, np.float32)
    yield f"normal {NOISE}", _before_normalisation(normal)
    saturated = rng.integers(0, 2, shape, np.uint8) * 255
    grey = np.repeat(saturated[..., :1], 3, axis=-1)
    yield f"black and white {NOISE}", fit(grey)
    yield f"saturated {NOISE}", fit(saturated)
    yield "black", fit(np.zeros((1, *shape[1:]), np.uint8))
    yield "white", fit(np.full((1, *shape[1:]), 255, np.uint8))
    row, column = np.indices((image_size, image_size))
    for side in (1, 2, 4, 8):
        board = ((row // side + column // side) % 2 * 255).astype(np.uint8)
        boards = np.stack([board] * 3, -1)[None]
        yield f"a checkerboard of {side}-pixel fields", fit(boards)


def _before_normalisation(fed: np.ndarray) -> np.ndarray:
    """Return the pixels that `pixels.normalize` turns into what is fed."""
    return fed * np.float32(pixels.STDDEV) + np.float32(pixels.MEAN)


def _for_network(images: np.ndarray, pixel_scale: PixelScale) -> np.ndarray:
    """Return images such that the network is fed what it was made for."""
    if pixel_scale == OWN:
        return images
    return _before_normalisation(pixels.normalize(images, *pixel_scale))


def _squeeze(path: Path, image_size: int) -> np.ndarray:
    """Load a whole image, resized to a square: uint8 [size, size, 3]."""
    _, image = opening.open_image(path)
    return pixels.to_uint8(
        pixels.resize_bicubic(opening.to_rgb(image, path), image_size)
    )
