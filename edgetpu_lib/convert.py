"""Export a Keras model: SavedModel, float TFLite, full-integer TFLite.

Takes a model and calibration photos; gives files for servers, phones and boards.
Next: `evaluate` compares them, `deploy` runs them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import data, interpreter, pixels
from edgetpu_lib.artifacts import InputError, atomic_path
from edgetpu_lib.quiet import quiet_native

# With these, a raw uint8 pixel is the quantized value of (pixel − 127) / 128.
INPUT_SCALE = 1 / 128
INPUT_ZERO_POINT = 127


def with_softmax(model: keras.Model) -> keras.Model:
    """Return a model that gives probabilities where `model` gives logits."""
    probabilities = keras.layers.Softmax(name="probabilities")(model.output)
    return keras.Model(model.input, probabilities, name=model.name)


def to_float_tflite(model: keras.Model) -> bytes:
    """Convert to a float32 TFLite file of batch 1.

    Args:
        model: `with_softmax(…)` for a classifier, `build.feature_model(…)` for
            features.

    Returns:
        The file's bytes: float32 [1, size, size, 3] normalised to (pixel − 127) / 128
        in, what the model gives out, float32.
    """
    return _convert(_converter(model))


def to_int8_tflite(model: keras.Model, calibration: data.Photos) -> bytes:
    """Convert to a full-integer TFLite file of batch 1.

    Weights and activations are int8, input and output uint8. The input has scale
    1/128 and zero point 127: feed raw RGB bytes.

    Args:
        model: `with_softmax(…)` for a classifier, `build.feature_model(…)` for
            features.
        calibration: training photos whose activations set the ranges.

    Returns:
        The file's bytes: uint8 [1, size, size, 3] in, what the model gives out, uint8.

    Raises:
        InputError: there is no calibration photo, or one cannot be used.

    See: notebooks/04_quantize.ipynb.
    """
    import tensorflow as tf

    if not len(calibration):
        raise InputError("calibration needs at least one photo; got none")
    image_size = model.input_shape[1]
    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _representative(calibration, image_size)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    # One scale for the classifier's weights: TFLite up to 2.9, the Edge TPU's among
    # them, silently answers zero when there is one scale a class.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    content = _convert(converter)
    contract = interpreter.input_contract(interpreter.open_interpreter(content))
    if (contract.scale, contract.zero_point) != (INPUT_SCALE, INPUT_ZERO_POINT):
        raise RuntimeError(f"raw pixels would not be the input: {contract}")
    return content


def save_saved_model(model: keras.Model, folder: str | Path) -> Path:
    """Write a TensorFlow SavedModel.

    Args:
        model: `with_softmax(…)` for a classifier, `build.feature_model(…)` for
            features.
        folder: made, or replaced as a whole.

    Returns:
        The folder. Its signature `serving_default` takes float32
        [batch, size, size, 3] normalised, and gives what the model gives.

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
            model.export(path, verbose=False)
        except tf.errors.OpError as error:
            # TensorFlow's own kind for a full disk.
            reason = str(error).splitlines()[0].split("; ")[-1]
            raise OSError(reason) from error
    return Path(folder)


def _representative(photos: data.Photos, image_size: int) -> Iterator[list[np.ndarray]]:
    """Yield pictures as a device would see them: rounded, clipped, normalised."""
    stream = data.iterate_pixels(photos, image_size)
    for index, picture in enumerate(tqdm(stream, "calibration", len(photos), False)):
        picture = pixels.to_uint8(picture)
        if index == 0:
            # One black and one white pixel, so that the input range is always 0..255.
            picture[0, 0], picture[0, 1] = 0, 255
        yield [pixels.normalize(picture)[None]]


def _converter(model: keras.Model):
    """Return a TFLite converter of the model with a batch of one."""
    import tensorflow as tf

    # The batch is fixed in a wrapping input: the Edge TPU compiler refuses the open
    # batch that Keras leaves in a file.
    images = keras.Input(model.input_shape[1:], batch_size=1, name="images")
    wrapped = keras.Model(images, model(images), name=model.name)
    return tf.lite.TFLiteConverter.from_keras_model(wrapped)


def _convert(converter) -> bytes:
    """Run a converter without its chatter."""
    with (
        quiet_native(),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        return converter.convert()
