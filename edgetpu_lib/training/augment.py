"""Augment training images as the reference does, repeatably for each seed."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from edgetpu_lib.images import loading, pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.training.settings import Recipe, ResizeMethod

# Source: tensorflow/tpu efficientnet preprocessing.py, `_decode_and_random_crop`.
ASPECT_RATIOS = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
MIN_OBJECT_COVERED = 0.1
# Source: tensorflow/tpu efficientnet autoaugment.py, `_MAX_LEVEL`.
MAX_MAGNITUDE = 10
# The default of `keras.layers.MixUp`.
KERAS_MIXUP_ALPHA = 0.2


def random_crop(
    image: Any,
    image_size: int,
    seed: tuple[int, int],
    *,
    resize: Resize = "crop",
    min_area: float = 0.08,
    resize_method: ResizeMethod = "bicubic",
) -> np.ndarray:
    """Return a random crop of an image, mirrored in half of the cases.

    The crop has at least `min_area` of the image's area. Where ten attempts find none,
    it is the centre crop of evaluation. The same seed gives the same pixels.

    With `resize` "stretch" the crop has the proportions of the image and lies anywhere
    in it, and is stretched to the square.

    Returns:
        float32 [image_size, image_size, 3], RGB, 0..255; bicubic overshoots.

    Raises:
        InputError: the image cannot be decoded.

    Source: tensorflow/tpu efficientnet preprocessing.py, `preprocess_for_train`. Its
        main.py asks for bilinear with EdgeTPU models, but the input pipeline does not
        pass that on, so that the published weights were trained on bicubic crops: its
        log says "Use default resize_bicubic".
    """
    content, *_ = loading.croppable(image)
    is_jpeg = isinstance(content, bytes)
    cutter = _cutter(image_size, resize, min_area, is_jpeg, resize_method)
    with loading.named_damage(image):
        return cutter(content, seed).numpy()


@functools.cache
def _cutter(
    image_size: int,
    resize: Resize,
    min_area: float,
    jpeg: bool,
    resize_method: ResizeMethod,
) -> Any:
    """Return a compiled function that decodes, crops, resizes and mirrors an image."""
    import tensorflow as tf

    methods = {
        "bicubic": tf.raw_ops.ResizeBicubic,
        "bilinear": tf.raw_ops.ResizeBilinear,
    }
    resized_to_square = functools.partial(
        methods[resize_method], size=[image_size] * 2, half_pixel_centers=False
    )

    encoded = tf.TensorSpec([], tf.string)
    decoded = tf.TensorSpec([None, None, 3], tf.uint8)
    seeds = tf.TensorSpec([2], tf.int64)

    @tf.function(input_signature=[encoded if jpeg else decoded, seeds])
    def cut(content: Any, seed: Any) -> Any:
        shape = tf.io.extract_jpeg_shape(content) if jpeg else tf.shape(content)
        if resize == "stretch":
            window = _similar_window(shape[:2], seed, min_area)
        else:
            window = _distorted_window(shape, seed, min_area, image_size)
        if jpeg:
            crop = tf.io.decode_and_crop_jpeg(content, window, channels=3)
        else:
            top, left, height, width = tf.unstack(window)
            crop = content[top : top + height, left : left + width]
        resized = resized_to_square(images=crop[None])[0]
        return tf.image.stateless_random_flip_left_right(resized, seed + 1)

    return cut


def _distorted_window(shape: Any, seed: Any, min_area: float, image_size: int) -> Any:
    """Return a random window as the reference draws it: int32 [4].

    It is top, left, height and width, pixels. `shape` is int32 [3], `seed` int64 [2].
    """
    import tensorflow as tf

    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        [[[0.0, 0.0, 1.0, 1.0]]],
        seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=ASPECT_RATIOS,
        area_range=(min_area, 1.0),
        max_attempts=CROP_ATTEMPTS,
    )
    padding = pixels.padding_of(image_size)
    share = image_size / (image_size + padding)
    side = tf.cast(share * tf.cast(tf.reduce_min(shape[:2]), tf.float32), tf.int32)
    center = tf.concat([(shape[:2] - side + 1) // 2, [side, side]], 0)
    is_whole = tf.reduce_all(size[:2] == shape[:2])
    return tf.where(is_whole, center, tf.concat([begin[:2], size[:2]], 0))


def _similar_window(sides: Any, seed: Any, min_area: float) -> Any:
    """Return a random window with the proportions of the image: int32 [4].

    `sides` is int32 [2]: height and width of the image. Values are as those of
    `_distorted_window`.
    """
    import tensorflow as tf

    area, *place = tf.unstack(tf.random.stateless_uniform([3], seed))
    share = tf.sqrt(min_area + (1 - min_area) * area)
    whole = tf.cast(sides, tf.float32)
    kept = tf.maximum(1, tf.cast(tf.round(share * whole), tf.int32))
    room = tf.cast(sides - kept + 1, tf.float32)
    begin = tf.cast(tf.floor(tf.stack(place) * room), tf.int32)
    return tf.concat([begin, kept], 0)


class BatchAugmentation:
    """RandAugment and MixUp by Keras' layers, repeatable for each seed."""

    def __init__(self, recipe: Recipe) -> None:
        """Create the layers that the recipe asks for."""
        self.layers = []
        self._clips = recipe.randaugment
        if recipe.randaugment:
            self.layers.append(
                keras.layers.RandAugment(
                    value_range=(0, 255),
                    num_ops=recipe.randaug_num_layers,
                    factor=recipe.randaug_magnitude / MAX_MAGNITUDE,
                )
            )
        if alpha := recipe.mixup_alpha or KERAS_MIXUP_ALPHA * recipe.mixup:
            self.layers.append(keras.layers.MixUp(alpha))

    def __call__(
        self, images: np.ndarray, targets: np.ndarray, seed: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch augmented; MixUp blends the targets as it blends the images.

        Args:
            images: float32 [batch, size, size, 3], 0..255.
            targets: float32 [batch, classes], one-hot.
            seed: the same gives the same batch.
        """
        if self._clips:
            # As in the reference: its operations know values of 0..255 alone.
            images = np.clip(images, 0, 255)
        batch = {"images": images, "labels": targets}
        for layer in self.layers:
            for index, variable in enumerate(layer.variables):
                variable.assign(np.array([seed[0] + index, seed[1]], "uint32"))
            batch = layer(batch, training=True)
        to_numpy = keras.ops.convert_to_numpy
        return to_numpy(batch["images"]), to_numpy(batch["labels"])
