"""Write a Keras model as a SavedModel of TensorFlow."""

from __future__ import annotations

from pathlib import Path

import keras

from edgetpu_lib.base.artifacts import InputError, atomic_path
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.images import graph
from edgetpu_lib.images.normalization import MEAN, STDDEV, Resize
from edgetpu_lib.weights.keras_files import is_opened


def save_saved_model(
    model: keras.Model,
    folder: str | Path,
    *,
    mean: float = MEAN,
    stddev: float = STDDEV,
    resize: Resize = "crop",
) -> Path:
    """Write a TensorFlow SavedModel.

    Its signature `serving_default` takes float32 [batch, height, width, 3], pixels as
    (pixel − mean) / stddev. `encoded_images`, of a square model, takes the bytes of
    JPEG, PNG, GIF or BMP files, strings [batch], which it crops or stretches, as
    `resize` says and as `data.load_image` does. Both give the model's outputs.

    The folder is made, or replaced as a whole, and returned.

    Raises:
        InputError: the folder cannot be written, or holds something else.
    """
    if any(Path(folder).glob("*")) and not (Path(folder) / "saved_model.pb").exists():
        raise InputError(
            f"{folder} holds other files, which a SavedModel would replace;"
            " choose a new folder"
        )
    import tensorflow as tf

    with atomic_path(folder) as path, quiet_native():
        try:
            _export(model, path, mean, stddev, resize)
        except tf.errors.OpError as error:
            # TensorFlow raises its own kind of error for a full disk.
            reason = str(error).splitlines()[0].split("; ")[-1]
            raise OSError(reason) from error
    return Path(folder)


def _export(
    model: keras.Model, path: Path, mean: float, stddev: float, resize: Resize
) -> None:
    import tensorflow as tf

    first, size, width, channels = model.inputs[0].shape
    batch = tf.TensorSpec((first, size, width, channels), tf.float32, "images")
    files = tf.TensorSpec((None,), tf.string, "encoded_images")

    @tf.function(input_signature=[batch], autograph=False)
    def serving_default(images):
        scores = keras.tree.flatten(model(images, training=False))
        # One output keeps the name that TensorFlow gives it.
        several = {f"output_{number}": each for number, each in enumerate(scores)}
        return several if len(scores) > 1 else scores[0]

    @tf.function(input_signature=[files], autograph=False)
    def encoded_images(encoded_images):
        images = tf.map_fn(
            lambda encoded: graph.load_image(encoded, size, resize=resize),
            encoded_images,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        return serving_default((images - mean) / stddev)

    # Keras' own export tracks every weight twice, and so stores it twice.
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    # A model that came as a SavedModel has them where it was opened.
    module.opened = [each for each in model.layers if is_opened(each)]
    functions = [serving_default]
    if first is None and size == width:
        functions.append(encoded_images)
    tf.saved_model.save(module, str(path), {f.__name__: f for f in functions})
