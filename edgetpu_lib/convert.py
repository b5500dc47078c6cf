"""Export a Keras model: SavedModel, float TFLite, int8 TFLite.

Takes a model and calibration images; gives files for servers, phones and boards.
Next: `evaluate` compares them, `deploy` runs them.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgetpu_lib import build, calibrate, data, specs
from edgetpu_lib.base.artifacts import (
    InputError,
    one_writer,
    save_metadata,
    write_file,
)
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.conversion import agreement, front
from edgetpu_lib.conversion.ends import with_one_scale, with_softmax
from edgetpu_lib.conversion.floats import to_float_tflite
from edgetpu_lib.conversion.limits import tensor_limits, write_limits
from edgetpu_lib.conversion.saved_model import save_saved_model
from edgetpu_lib.conversion.settings import MAX_VERIFIED_IMAGES
from edgetpu_lib.hardware import check
from edgetpu_lib.images.normalization import MEAN, STDDEV, Resize
from edgetpu_lib.tflite.contract import takes_raw_pixels

# What is called as `convert.…`, parts of `conversion` among it.
__all__ = ["with_softmax", "with_one_scale", "save_saved_model", "size_of"]
__all__ += [
    "to_float_tflite",
    "to_int8_tflite",
    "to_int8_with_limits",
    "quantize",
    "write_tflite",
]
__all__ += ["write_dummy", "facts_of", "INPUT_SCALE", "INPUT_ZERO_POINT"]

# With these, a uint8 pixel is itself the quantized value of (pixel − 127) / 128.
INPUT_SCALE = 1 / 128
INPUT_ZERO_POINT = 127


def to_int8_tflite(
    model: keras.Model,
    calibration: data.Images | Iterable[np.ndarray],
    *,
    mean: float | None = None,
    stddev: float | None = None,
    resize: Resize = "crop",
) -> bytes:
    """Convert to an int8 TFLite file of batch 1 that the Edge TPU can run.

    Weights and activations are int8, input and output uint8. Feed raw RGB bytes: the
    input's scale and zero point are of all bytes, whatever the calibration images hold.

    Args:
        model: as for `to_float_tflite`.
        calibration: training images, or arrays [height, width, 3], RGB, 0..255, on
            which the ranges of the activations are measured.
        mean: the model takes (pixel − mean) / stddev. `None` looks for preprocessing
            inside the model, and takes 127 without.
        stddev: likewise; without, 128.
        resize: how training images become square, "crop" or "stretch".

    Returns:
        The file's bytes. Input: uint8 [1, height, width, 3], scale 1 / stddev, zero
        point mean. Outputs: the model's, uint8. The same model and calibration give
        the same bytes.

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
        images = calibrate.device_images(calibration, size_of(model), resize=resize)
    float_tflite = to_float_tflite(model)
    if mean is None or stddev is None:
        mean, stddev = front.expected_pixels(model) or (MEAN, STDDEV)
    ranges = calibrate.measure_ranges(
        float_tflite, images, total=total, mean=mean, stddev=stddev
    )
    return quantize(float_tflite, ranges, mean=mean, stddev=stddev)


def to_int8_with_limits(
    model: keras.Model,
    limits: Mapping[str, tuple[float, float]],
    *,
    mean: float = MEAN,
    stddev: float = STDDEV,
) -> bytes:
    """Convert as `to_int8_tflite` with ranges that training fixed, without images.

    Takes a network of this library with its softmax, and the smallest and largest value
    of each layer. Raises InputError if a layer has none.
    """
    float_tflite = to_float_tflite(model)
    return _quantize(float_tflite, tensor_limits(float_tflite, limits), mean, stddev)


def size_of(model: keras.Model) -> tuple[int, int]:
    """Return (height, width) of a model's input, pixels."""
    return tuple(model.inputs[0].shape[1:3])


def quantize(
    float_tflite: bytes,
    ranges: calibrate.Ranges,
    *,
    mean: float = MEAN,
    stddev: float = STDDEV,
) -> bytes:
    """Quantize a float TFLite file to int8, given the range of every tensor.

    Takes the file of `to_float_tflite`, what `calibrate.measure_ranges` found in it,
    and mean and stddev as `to_int8_tflite`. Returns the int8 file's bytes, which have
    passed the check.

    Raises:
        InputError: the result is not ready for the Edge TPU.
    """
    limits = {index: (each.low, each.high) for index, each in ranges.tensors.items()}
    return _quantize(float_tflite, limits, mean, stddev)


def _quantize(
    float_tflite: bytes,
    limits: Mapping[int, tuple[float, float]],
    mean: float,
    stddev: float,
) -> bytes:
    import tensorflow as tf

    # The second half of TensorFlow's quantization. Its first half measures ranges one
    # image at a time, on one core.
    from tensorflow.lite.python.convert import mlir_quantize

    ranged = write_limits(float_tflite, limits, mean, stddev)
    try:
        with quiet_native():
            content = mlir_quantize(
                ranged,
                input_data_type=tf.uint8,
                output_data_type=tf.uint8,
                # One scale for the classifier's weights: with one scale a class, TFLite
                # up to 2.9 (the Edge TPU's too) silently outputs zero.
                disable_per_channel_for_dense_layers=True,
            )
    except (RuntimeError, ValueError) as error:
        reason = textwrap.shorten(str(error), 150, placeholder=" …")
        raise InputError(
            f"TensorFlow cannot quantize the model ({reason}); export it with"
            " --noquantize, or end before the layer that is named"
        ) from error
    report = check.require_ready(content)
    found = report.input.scale, report.input.zero_point
    exact = (mean, stddev) != (MEAN, STDDEV) or found == (INPUT_SCALE, INPUT_ZERO_POINT)
    if not (exact and takes_raw_pixels(report.input, mean=mean, stddev=stddev)):
        raise RuntimeError(f"raw pixels would not be the input: {report.input}")
    return content


def write_tflite(
    model: keras.Model,
    path: str | Path,
    calibration: data.Images | None = None,
    *,
    mean: float | Sequence[float] | None = None,
    stddev: float | Sequence[float] | None = None,
    resize: Resize = "crop",
    min_agreement: float | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    **facts: Any,
) -> Path:
    """Write a TFLite file and its metadata.

    Args:
        model: as for `to_float_tflite`.
        path: of the `.tflite` file.
        calibration: images that set the ranges of an int8 model; `None` keeps float32.
        mean: as for `to_int8_tflite`, or three, which become a layer.
        stddev: likewise.
        resize: how the model's images become square; the metadata say it too.
        min_agreement: compare the int8 file with the model on calibration images, and
            refuse less than this share, 0..1; `None` compares nothing. The metadata's
            "agreement" tells the result, "remarks" what the images cannot show.
        limits: as for `to_int8_with_limits`; the images then set no ranges.
        **facts: for the metadata, besides those of `facts_of`.

    Raises:
        InputError: an image cannot be read, the int8 file does not agree with the
            model, or the file cannot be written.
    """
    if mean is not None and stddev is not None:
        model, mean, stddev = with_one_scale(model, mean, stddev)
        facts |= {"mean": mean, "stddev": stddev}
    if calibration is None:
        content = to_float_tflite(model)
    else:
        if limits:
            content = to_int8_with_limits(
                model,
                limits,
                mean=MEAN if mean is None else mean,
                stddev=STDDEV if stddev is None else stddev,
            )
            facts["limits"] = dict(limits)
        else:
            way = {"mean": mean, "stddev": stddev, "resize": resize}
            content = to_int8_tflite(model, calibration, **way)
        if min_agreement is not None:
            some = calibration.take(np.arange(len(calibration))[:MAX_VERIFIED_IMAGES])
            size = size_of(model)
            images = list(calibrate.device_images(some, size, resize=resize))
            found = agreement.verify(model, content, images, least=min_agreement)
            facts["agreement"] = {"share": found.share, "images": found.images}
            facts["remarks"] = agreement.calibration_remarks(
                images, calibration.labels, found.one_class
            )
    facts["resize"] = resize
    return _write(path, content, facts | facts_of(content, calibration))


def _write(path: str | Path, content: bytes, facts: dict[str, Any]) -> Path:
    """Write a file and its metadata, with no other run between them."""
    with one_writer(path):
        write_file(path, content)
        save_metadata(path, **facts)
    return Path(path)


def write_dummy(
    spec: specs.ModelSpec, path: str | Path, *, endpoint_name: str | None = None
) -> Path:
    """Write an int8 file of a network with seeded random weights, and its metadata.

    It has the operators, shapes and sizes of the trained network, and is of use to
    `check`, `estimate` and the compiler; its predictions mean nothing.

    Args:
        spec: of the network.
        path: of the `.tflite` file.
        endpoint_name: as for `build.feature_model`; `None` ends in probabilities.

    Raises:
        InputError: there is no such endpoint, or the file cannot be written.
    """
    keras.utils.set_random_seed(0)
    model = build.build_network(spec)
    if endpoint_name:
        model = build.feature_model(model, endpoint_name)
    else:
        model = with_softmax(model)
    noise = np.random.default_rng(0).integers(0, 256, (*size_of(model), 3), np.uint8)
    content = to_int8_tflite(model, [noise], mean=MEAN, stddev=STDDEV)
    facts = {
        "model_name": spec.name,
        "image_size": spec.image_size,
        "weights": "random",
    }
    return _write(path, content, facts)


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
