"""Ranges of tensors: of layers by name, and written into a file for the quantizer."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.conversion import front
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import edit

# Their outputs have the range of their input; TensorFlow gives both one scale.
_KEEPING_RANGE = {
    schema.BuiltinOperator.AVERAGE_POOL_2D,
    schema.BuiltinOperator.MAX_POOL_2D,
    schema.BuiltinOperator.RESHAPE,
}


def tensor_limits(
    float_tflite: bytes, limits: Mapping[str, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    """Return the smallest and largest value of each tensor, of those of layers.

    Args:
        float_tflite: from `to_float_tflite`.
        limits: Keras layer → its smallest and largest value. Layers that the file
            leaves out are passed over.

    Returns:
        Index of the tensor in the file → its limits.

    Raises:
        InputError: an operator's output belongs to none of the layers.
    """
    model = edit.unpack(float_tflite)
    graph = model.subgraphs[0]
    found: dict[int, tuple[float, float]] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        taken, given = int(operator.inputs[0]), int(operator.outputs[0])
        if code in _KEEPING_RANGE and taken in found:
            found[given] = found[taken]
        elif code == schema.BuiltinOperator.SOFTMAX:
            found[given] = 0.0, 1.0
        else:
            found[given] = _of_tensor(graph.tensors[given].name.decode(), limits)
    return found


def _of_tensor(
    name: str, limits: Mapping[str, tuple[float, float]]
) -> tuple[float, float]:
    # TFLite joins the names of the layers that it fuses; Keras numbers repeated calls.
    for part in re.split("[/;]", name):
        layer = re.sub(r"_\d+$", "", part)
        for known in (part, layer):
            if known in limits:
                low, high = limits[known]
                return float(low), float(high)
    raise InputError(
        f"no range is known of tensor {name!r}; fine-tune with --quantize again, or"
        ' remove "limits" from the model\'s metadata'
    )


def write_limits(
    float_tflite: bytes,
    limits: Mapping[int, tuple[float, float]],
    mean: float,
    stddev: float,
) -> bytes:
    """Write ranges into a float file, from which the quantizer reads them.

    Takes the index of each tensor → its smallest and largest value, and mean and stddev
    of the pixels, which set the range of the input.
    """
    model = edit.unpack(float_tflite)
    subgraph = model.subgraphs[0]
    limits = {**limits, **front.ranges_of_bytes(float_tflite, mean, stddev)}
    # The range of a byte, so that bytes are the quantized input.
    lowest, highest = pixels.normalize(np.array([0, 255]), mean, stddev)
    limits[int(subgraph.inputs[0])] = float(lowest), float(highest)
    for index, (low, high) in limits.items():
        quantization = schema.QuantizationParametersT()
        quantization.min, quantization.max = [low], [high]
        subgraph.tensors[index].quantization = quantization
    return edit.pack(model)
