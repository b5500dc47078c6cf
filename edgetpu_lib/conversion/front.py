"""Find what a model does to pixels before its first weights.

Models from elsewhere often hold their own preprocessing: a Rescaling or Normalization
layer, or the arithmetic of a `preprocess_input`. It tells which values they expect.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import keras
import numpy as np

from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.conversion import floats
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import edit, interpreter
from edgetpu_lib.tflite.contract import RAW, SIGNED_UNIT, UNIT
from edgetpu_lib.tflite.file import read_tflite

if TYPE_CHECKING:
    import tensorflow as tf

_WEIGHTED = {
    *("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3D"),
    *("MatMul", "BatchMatMulV2", "Einsum"),
    # Recurrent layers, and functions that stay functions.
    *("While", "StatelessWhile", "TensorListFromTensor"),
    *("PartitionedCall", "StatefulPartitionedCall"),
}
_WEIGHTED_IN_TFLITE = {
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D"),
    *("FULLY_CONNECTED", "BATCH_MATMUL"),
}
# A mean and a deviation that differ less from 0 and 1 change nothing.
_NOTHING = 1e-3
# A preprocessing that divides by more, or subtracts more, is of pixels 0..255: all that
# is usual divides those by 50 at least, and 0..1 or −1..1 by 2 at most.
_OF_BYTES = 4.0
# A mean of at least this is of pixels 0..1, of which none is below zero.
_OF_UNIT = 0.25


def expected_pixels(model: keras.Model) -> tuple[float, float] | None:
    """Return the (mean, stddev) of the pixels that a Keras model expects.

    What it does before its first weights is measured on two flat images, as a·x + b of
    every channel: division by 127.5 is of bytes, a mean of 0.485 of pixels 0..1.

    Returns:
        `RAW`, `UNIT` or `SIGNED_UNIT` of `tflite.contract`; None if the model changes
        no pixel before its first weights, or if what it does fits several of them.
    """
    measured = _measure_front(model)
    if measured is None:
        return None
    low, slope = measured
    if not np.isfinite([low, slope]).all() or not slope.all():
        return None
    stddev, mean = np.abs(1 / slope), -low / slope
    if np.abs(mean).max() < _NOTHING and np.abs(stddev - 1).max() < _NOTHING:
        return None
    if max(stddev.max(), np.abs(mean).max()) >= _OF_BYTES:
        return RAW
    if mean.min() < -_NOTHING:
        return SIGNED_UNIT
    # Multiplied by 255, pixels 0..1 become bytes.
    if mean.min() >= _OF_UNIT or stddev.max() <= 1 / _OF_BYTES:
        return UNIT
    return None


def takes_integers(model: keras.Model) -> bool:
    """Return whether a model's input are whole numbers: the bytes themselves."""
    return "int" in keras.backend.standardize_dtype(model.inputs[0].dtype)


def _measure_front(model: keras.Model) -> tuple[np.ndarray, np.ndarray] | None:
    """Return b and a of a·x + b, three channels each; None without a front."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    # The function's graph, before TFLite multiplies what it can into the weights.
    traced = floats.trace(model)
    try:
        with quiet_native():
            frozen = convert_to_constants.convert_variables_to_constants_v2(
                traced, lower_control_flow=False
            )
    except (ValueError, tf.errors.OpError) as error:
        raise floats.not_convertible(model.name, error) from error
    (taken,) = frozen.inputs
    made = _before_weights(taken)
    if made is None or made is taken or not made.dtype.is_floating:
        return None
    run = frozen.prune([taken], [made])
    at_zero, at_one = (
        _channels(run(tf.fill(taken.shape, tf.cast(value, taken.dtype)))[0].numpy())
        for value in (0, 1)
    )
    return None if at_zero is None else (at_zero, at_one - at_zero)


def _before_weights(taken: tf.Tensor) -> tf.Tensor | None:
    """Return the tensor that the first operator with weights takes of an input."""
    reached, seen = collections.deque([taken]), {taken.ref()}
    while reached:
        tensor = reached.popleft()
        for operation in tensor.consumers():
            if operation.type in _WEIGHTED:
                return tensor
            for made in operation.outputs:
                if made.ref() not in seen:
                    seen.add(made.ref())
                    reached.append(made)
    return None


def ranges_of_bytes(
    float_tflite: bytes, mean: float, stddev: float
) -> dict[int, tuple[float, float]]:
    """Return the range, over all bytes, of each tensor before a file's first weights.

    Calibration images may hold neither black nor white; pixels at run time do.
    """
    tensors = _front_tensors(float_tflite)
    if not tensors:
        return {}
    ends = pixels.normalize(np.array([0, 255]), mean, stddev)
    values = _run_flat(float_tflite, tensors, [float(end) for end in ends])
    return {
        index: (float(min(a.min(), b.min())), float(max(a.max(), b.max())))
        for index, a, b in zip(tensors, *values, strict=True)
        if a.dtype == np.float32 and a.size
    }


def _front_tensors(float_tflite: bytes) -> list[int]:
    """Return the tensors of a file's operators before the first one with weights."""
    tensors: list[int] = []
    for operator in read_tflite(float_tflite).operators:
        if operator.kind in _WEIGHTED_IN_TFLITE:
            return tensors
        tensors += operator.outputs
    return []


def _run_flat(
    content: bytes, tensors: list[int], values: list[float]
) -> list[list[np.ndarray]]:
    """Return tensors of the front for images of one value each."""
    opened = interpreter.start(edit.with_outputs(content, tensors))
    taken = opened.get_input_details()[0]
    found = []
    for value in values:
        opened.set_tensor(
            taken["index"], np.full(taken["shape"], value, taken["dtype"])
        )
        opened.invoke()
        found.append([opened.get_tensor(index).copy() for index in tensors])
    return found


def _channels(values: np.ndarray) -> np.ndarray | None:
    """Return three channels in the middle of an image; None if it has others."""
    if values.ndim == 4 and values.shape[3] == 3:
        return values[0, values.shape[1] // 2, values.shape[2] // 2]
    if values.ndim < 4 and values.size % 3 == 0:
        return values.reshape(-1, 3)[values.size // 6]
    return None
