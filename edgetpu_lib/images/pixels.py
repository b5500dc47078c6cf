"""Crop, resize and normalize images with NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images.normalization import MEAN, STDDEV, Resize
from edgetpu_lib.images.opening import open_image, to_rgb

# Source: tensorflow/tpu efficientnet preprocessing.py: 32 pixels of padding at 224.
CROP_FRACTION = 0.875


# `normalization.Resize`, and the square that training takes random crops of.
Window = Literal["crop", "square", "stretch"]


def window_of(
    height: int, width: int, image_size: int, resize: Window = "crop"
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of what a network sees of an image, in pixels.

    Args:
        height: of the image, pixels.
        width: likewise.
        image_size: of the network's input, pixels.
        resize: "crop" is the evaluation crop, about 87.5 % of the largest centred
            square; "square" is that square; "stretch" is the whole image.

    Raises:
        InputError: `resize` is none of these.

    Source: tensorflow/tpu efficientnet preprocessing.py, `_decode_and_center_crop`: the
        padding is rounded, the side truncated, the offsets rounded up.
    """
    if resize == "stretch":
        return 0, 0, height, width
    # The reference has no whole square; with it, offsets are rounded down.
    padding, up = 0, 0
    if resize == "crop":
        padding, up = padding_of(image_size), 1
    elif resize != "square":
        raise InputError(f"resize={resize!r} is unknown; use crop or stretch")
    side = max(1, int(image_size / (image_size + padding) * min(height, width)))
    return (height - side + up) // 2, (width - side + up) // 2, side, side


def padding_of(image_size: int) -> int:
    """Return how many pixels the evaluation crop leaves out, at a network's scale."""
    return round(image_size * (1 / CROP_FRACTION - 1))


def square_side(shape: tuple[int, int], resize: Resize) -> int:
    """Return the side of the square image that an input takes the middle of, pixels.

    Raises:
        InputError: images are stretched, but the input is no square.
    """
    height, width = shape
    if resize == "stretch" and height != width:
        raise InputError(
            f"an input of {height} × {width} pixels takes the middle of a square, so"
            " that resize=stretch would cut images; use crop, or a square input"
        )
    return max(shape)


def resize_bicubic(pixels: np.ndarray, image_size: int) -> np.ndarray:
    """Resize as TensorFlow 1 did: no half-pixel centres, no antialiasing.

    Takes uint8 or float32 [height, width, 3]; gives float32 [image_size, image_size,
    3], which overshoots 0..255.
    """
    rows, row_weights = _bicubic_taps(pixels.shape[0], image_size)
    columns, column_weights = _bicubic_taps(pixels.shape[1], image_size)
    pixels = pixels.astype(np.float32)
    high = sum(
        pixels[rows[:, tap]] * row_weights[:, tap, None, None]
        for tap in range(rows.shape[1])
    )
    return sum(
        high[:, columns[:, tap]] * column_weights[:, tap, None]
        for tap in range(columns.shape[1])
    )


def _bicubic_taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Return source indices and weights of Keys' cubic kernel with a = −0.75.

    Source: tensorflow/core/kernels/image/resize_bicubic_op.cc: the kernel comes from a
    table of 1024 steps, which is rebuilt here for bit-exact results.
    """
    steps, a = 1024, -0.75
    position = np.float32(old) / np.float32(new) * np.arange(new, dtype=np.float32)
    whole = np.floor(position).astype(np.int64)
    fraction = position - whole.astype(np.float32)
    # The table is made in double precision and stored in single, as there.
    x = np.arange(steps + 1) / steps
    near = (((a + 2) * x - (a + 3)) * x * x + 1).astype(np.float32)
    x = x + 1
    far = (((a * x - 5 * a) * x + 8 * a) * x - 4 * a).astype(np.float32)
    step = np.rint(fraction * steps).astype(np.int64)
    taps = np.clip(whole[:, None] + np.arange(-1, 3), 0, old - 1)
    weights = [far[step], near[step], near[steps - step], far[steps - step]]
    return taps, np.stack(weights, axis=1)


def normalize(
    pixels: np.ndarray,
    mean: float | Sequence[float] = MEAN,
    stddev: float | Sequence[float] = STDDEV,
) -> np.ndarray:
    """Map pixels, 0..255 with RGB last, to a model's float32 input.

    Returns (pixel − mean) / stddev, by default −0.992..1.0. `mean` and `stddev` are one
    number for all channels, or three.
    """
    mean, stddev = np.asarray(mean, np.float32), np.asarray(stddev, np.float32)
    return (pixels.astype(np.float32) - mean) / stddev


def fill_batch(images: np.ndarray, batch_size: int) -> np.ndarray:
    """Append zeros to a smaller batch: networks are compiled for one batch size."""
    missing = batch_size - len(images)
    return np.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round and clip to uint8, 0..255."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def load_on_device(
    path: str | Path, image_size: int, *, resize: Resize = "crop"
) -> np.ndarray:
    """Load an image with Pillow alone, for a board without TensorFlow.

    JPEG pixels may differ by a few levels from `data.load_image`, which uses the
    reference's decoder. `resize` is as for `window_of`. Returns float32 [image_size,
    image_size, 3], RGB, 0..255 with bicubic overshoot.

    Raises:
        InputError: the image cannot be used; the message says why.
    """
    rgb = to_rgb(open_image(path)[1], path)
    top, left, height, width = window_of(*rgb.shape[:2], image_size, resize)
    return resize_bicubic(rgb[top : top + height, left : left + width], image_size)
