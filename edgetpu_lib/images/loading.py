"""Load images as the reference's evaluation does, with TensorFlow's decoder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import opening, pixels
from edgetpu_lib.images.pixels import Window


def load_image(
    path: str | Path, image_size: int, *, resize: Window = "crop"
) -> np.ndarray:
    """Load an image as a network sees it, upright, bit-exact with the reference.

    Args:
        path: JPEG, decoded by TensorFlow, or any other format that Pillow reads.
        image_size: height and width of the result.
        resize: "crop" cuts the centre out, "stretch" takes the whole image, "square"
            the largest square; see `pixels.window_of`.

    Returns:
        float32 [image_size, image_size, 3], RGB, 0..255 with bicubic overshoot.

    Raises:
        InputError: the image cannot be used; the message says why.
    """
    import tensorflow as tf

    content, height, width = croppable(path)
    window = pixels.window_of(height, width, image_size, resize)
    if isinstance(content, bytes):
        with named_damage(path):
            crop = tf.io.decode_and_crop_jpeg(content, window, channels=3)
    else:
        top, left, height, width = window
        crop = content[top : top + height, left : left + width]
    # Bit-exact with `pixels.resize_bicubic`, but two or three times as fast.
    size = [image_size, image_size]
    return tf.raw_ops.ResizeBicubic(images=crop[None], size=size)[0].numpy()


def croppable(path: Any) -> tuple[bytes | np.ndarray, int, int]:
    """Open an image for TensorFlow to cut.

    Returns:
        The bytes of a JPEG, which can be cut while it is decoded, or, of a JPEG that is
        to be turned or shrunk and of any other format, uint8 [height, width, 3]; and
        height and width.

    Raises:
        InputError: the image cannot be used.
    """
    import tensorflow as tf

    encoded, image = opening.open_image(path)
    if image.format != "JPEG":
        rgb = opening.to_rgb(image, path)
        return rgb, *rgb.shape[:2]
    orientation, ratio = opening.orientation_of(image), opening.jpeg_ratio(image)
    if orientation == ratio == 1:
        return encoded, image.height, image.width
    # Pillow's decoder uses another DCT and differs by up to 15 levels.
    with named_damage(path):
        rgb = tf.io.decode_jpeg(encoded, channels=3, ratio=ratio).numpy()
    rgb = opening.upright(rgb, orientation)
    return rgb, *rgb.shape[:2]


@contextlib.contextmanager
def named_damage(path: Any) -> Iterator[None]:
    """Turn TensorFlow's error at a damaged JPEG into one that names the file."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"{path} is a damaged or cut JPEG; replace or remove it"
        ) from error
