"""Export a Keras model: SavedModel, float TFLite, int8 TFLite.

Takes a model and calibration images; gives files for servers, phones and boards.
Next: `evaluate` compares them, `deploy` runs them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib import calibrate, data
from edgetpu_lib.base.artifacts import (
    InputError,
    atomic_path,
    save_metadata,
    write_file,
)
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.hardware import check
from edgetpu_lib.images import graph, pixels
from edgetpu_lib.tflite import edit

# With these, a uint8 pixel is itself the quantized value of (pixel − 127) / 128.
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
        The file's bytes. Input: float32 [1, size, size, 3], (pixel − 127) / 128.
        Output: the model's, float32.
    """
    import tensorflow as tf

    shape = (1, *model.input_shape[1:])
    # The Edge TPU compiler refuses the open batch size of Keras' own export.
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec(shape, tf.float32, name="images")],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()], model
    )
    # Converting the graph itself is four times as fast as by way of a SavedModel on
    # disk, and gives the same operators and predictions.
    converter.experimental_lower_to_saved_model = False
    with quiet_native(), contextlib.redirect_stdout(io.StringIO()):
        content = converter.convert()
    return _with_signature(content)


def _with_signature(content: bytes) -> bytes:
    """Add the signature `serving_default`, which names the input and the output."""
    model = edit.unpack(content)
    subgraph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = [_tensor_map(b"images", subgraph.inputs[0])]
    signature.outputs = [_tensor_map(b"output_0", subgraph.outputs[0])]
    model.signatureDefs = [signature]
    return edit.pack(model)


def _tensor_map(name: bytes, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def to_int8_tflite(
    model: keras.Model, calibration: data.Images | Iterable[np.ndarray]
) -> bytes:
    """Convert to an int8 TFLite file of batch 1 that the Edge TPU can run.

    Weights and activations are int8, input and output uint8. The input has scale
    1/128 and zero point 127, whatever the calibration images hold: feed raw RGB
    bytes.

    Args:
        model: as for `to_float_tflite`.
        calibration: training images, or arrays [size, size, 3], RGB, 0..255, on which
            the ranges of the activations are measured.

    Returns:
        The file's bytes. Input: uint8 [1, size, size, 3]. Output: the model's, uint8.
        The same model and calibration give the same bytes.

    Raises:
        InputError: there is no calibration image, or one cannot be used (it is
            named); or the result is not ready for the Edge TPU.

    See: notebooks/04_quantize.ipynb.
    """
    total = len(calibration) if hasattr(calibration, "__len__") else None
    if total == 0:
        raise InputError("calibration needs at least one image; got none")
    images = calibration
    if isinstance(calibration, data.Images):
        images = calibrate.device_images(calibration, model.input_shape[1])
    float_tflite = to_float_tflite(model)
    ranges = calibrate.measure_ranges(float_tflite, images, total=total)
    return quantize(float_tflite, ranges)


def quantize(float_tflite: bytes, ranges: calibrate.Ranges) -> bytes:
    """Quantize a float TFLite file to int8, given the range of every tensor.

    Takes the file of `to_float_tflite` and what `calibrate.measure_ranges` found in it.
    Returns the int8 file's bytes, which have passed the check.

    Raises:
        InputError: the result is not ready for the Edge TPU.
    """
    import tensorflow as tf

    # The second half of TensorFlow's quantization. Its first half measures ranges one
    # image at a time, on one core.
    from tensorflow.lite.python.convert import mlir_quantize

    with quiet_native():
        content = mlir_quantize(
            _with_ranges(float_tflite, ranges),
            input_data_type=tf.uint8,
            output_data_type=tf.uint8,
            # One scale for the classifier's weights: with one scale a class, TFLite up
            # to 2.9 (the Edge TPU's too) silently outputs zero.
            disable_per_channel_for_dense_layers=True,
        )
    report = check.require_ready(content)
    found = report.input.scale, report.input.zero_point
    if found != (INPUT_SCALE, INPUT_ZERO_POINT):
        raise RuntimeError(f"raw pixels would not be the input: {report.input}")
    return content


def _with_ranges(float_tflite: bytes, ranges: calibrate.Ranges) -> bytes:
    """Write ranges into a float file, from which the quantizer reads them."""
    model = edit.unpack(float_tflite)
    subgraph = model.subgraphs[0]
    limits = {index: (found.low, found.high) for index, found in ranges.tensors.items()}
    # The range of a byte, so that bytes are the quantized input.
    lowest, highest = pixels.normalize(np.array([0, 255]))
    limits[int(subgraph.inputs[0])] = float(lowest), float(highest)
    for index, (low, high) in limits.items():
        quantization = schema.QuantizationParametersT()
        quantization.min, quantization.max = [low], [high]
        subgraph.tensors[index].quantization = quantization
    return edit.pack(model)


def write_tflite(
    model: keras.Model,
    path: str | Path,
    calibration: data.Images | None = None,
    **facts: Any,
) -> Path:
    """Write a TFLite file and its metadata.

    Args:
        model: as for `to_float_tflite`.
        path: of the `.tflite` file.
        calibration: images that set the ranges of an int8 model; `None` keeps float32.
        **facts: for the metadata, besides those of `facts_of`.

    Raises:
        InputError: an image cannot be read, or the file cannot be written.
    """
    if calibration is None:
        content = to_float_tflite(model)
    else:
        content = to_int8_tflite(model, calibration)
    write_file(path, content)
    save_metadata(path, **facts, **facts_of(content, calibration))
    return Path(path)


def facts_of(content: bytes, calibration: data.Images | None = None) -> dict[str, Any]:
    """Return what the metadata of a TFLite file say of the file itself.

    They are "input" (dtype, shape, scale, zero point), "edge_tpu_operators",
    "cpu_operators", and of an int8 file "calibration" (its folder, count and digest).
    """
    report = check.check_tflite(content)
    facts: dict[str, Any] = {
        "input": dataclasses.asdict(report.input),
        "edge_tpu_operators": report.edge_tpu_operators,
        "cpu_operators": report.cpu_operators,
    }
    if calibration is not None:
        facts["calibration"] = {
            "data_dir": calibration.data_dir,
            "photos": len(calibration),
            "sha256": data.digest_of(calibration),
        }
    return facts


def save_saved_model(model: keras.Model, folder: str | Path) -> Path:
    """Write a TensorFlow SavedModel.

    Its signature `serving_default` takes float32 [batch, size, size, 3] normalised;
    `encoded_images` takes the bytes of JPEG, PNG, GIF or BMP files, strings [batch],
    which it crops and resizes as `data.load_image` does. Both give the model's output.

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
            _export(model, path)
        except tf.errors.OpError as error:
            # TensorFlow raises its own kind of error for a full disk.
            reason = str(error).splitlines()[0].split("; ")[-1]
            raise OSError(reason) from error
    return Path(folder)


def _export(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    size = model.input_shape[1]
    batch = tf.TensorSpec((None, size, size, 3), tf.float32, "images")
    files = tf.TensorSpec((None,), tf.string, "encoded_images")

    @tf.function(input_signature=[batch], autograph=False)
    def serving_default(images):
        return model(images, training=False)

    @tf.function(input_signature=[files], autograph=False)
    def encoded_images(encoded_images):
        images = tf.map_fn(
            lambda encoded: graph.load_image(encoded, size),
            encoded_images,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        return serving_default((images - pixels.MEAN) / pixels.STDDEV)

    # Keras' own export tracks every weight twice, and so stores it twice.
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    functions = (serving_default, encoded_images)
    tf.saved_model.save(module, str(path), {f.__name__: f for f in functions})
