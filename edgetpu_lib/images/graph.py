"""Load images with TensorFlow operators, for a SavedModel that takes image files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import Resize

if TYPE_CHECKING:
    import tensorflow as tf


def load_image(
    encoded: tf.Tensor, image_size: int, *, resize: Resize = "crop"
) -> tf.Tensor:
    """Decode, crop and resize an image file as `data.load_image` does.

    TensorFlow reads no EXIF data: a photo that is to be turned must be turned before.

    Args:
        encoded: string scalar, the bytes of a JPEG, PNG, GIF or BMP file.
        image_size: height and width of the result, pixels.
        resize: as for `pixels.window_of`.

    Returns:
        float32 [image_size, image_size, 3], RGB, 0..255.
    """
    import tensorflow as tf

    def crop_jpeg():
        height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(encoded))
        window = tf.stack(window_of(height, width, image_size, resize))
        return tf.io.decode_and_crop_jpeg(encoded, window, channels=3)

    def crop_other():
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        height, width, _ = tf.unstack(tf.shape(image))
        return tf.image.crop_to_bounding_box(
            image, *window_of(height, width, image_size, resize)
        )

    crop = tf.cond(tf.io.is_jpeg(encoded), crop_jpeg, crop_other)
    resized = tf.raw_ops.ResizeBicubic(
        images=crop[None], size=[image_size, image_size], half_pixel_centers=False
    )
    return resized[0]


def window_of(
    height: tf.Tensor, width: tf.Tensor, image_size: int, resize: Resize = "crop"
) -> tuple[tf.Tensor | int, ...]:
    """Return `pixels.window_of` as tensors: top, left, height, width."""
    import tensorflow as tf

    if resize == "stretch":
        return 0, 0, height, width
    padding = pixels.padding_of(image_size)
    shorter = tf.cast(tf.minimum(height, width), tf.float64)
    side = tf.cast(image_size / (image_size + padding) * shorter, tf.int32)
    side = tf.maximum(1, side)
    return (height - side + 1) // 2, (width - side + 1) // 2, side, side
