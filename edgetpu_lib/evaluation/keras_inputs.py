"""Find out from the first layers of a Keras model which pixels it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from edgetpu_lib.tflite import contract
from edgetpu_lib.tflite.contract import PixelScale

# Layers of every network that `build` makes.
_OWN_LAYERS = {"stem_bn", "block_0_project_bn"}
# Layers and operations, by class, that leave the size of their numbers as it is.
_SAME_VALUES = {
    *("InputLayer", "Identity", "Cast", "GetItem", "Resizing", "CenterCrop"),
    *("ZeroPadding2D", "Dropout", "GaussianNoise", "Pipeline", "Reshape"),
}


def pixel_scale_of(model: keras.Model) -> PixelScale | None:
    """Return what is subtracted from a model's pixels, 0..255, and their divisor.

    It is known of an input of whole numbers, of a model that begins with `Rescaling`,
    `Normalization` or the arithmetic of a `preprocess_input`, and of the networks of
    this library; `None` where none of this tells.
    """
    if "int" in keras.backend.standardize_dtype(model.inputs[0].dtype):
        return contract.RAW
    factor, offset = 1.0, 0.0
    for operation, values in _first_operations(model):
        step = _arithmetic(operation, values)
        if step is None:
            break
        factor, offset = factor * step[0], offset * step[0] + step[1]
    if (factor, offset) != (1.0, 0.0):
        return contract.convention_before(factor, offset)
    is_own = _OWN_LAYERS <= {layer.name for layer in model.layers}
    return contract.OWN if is_own else None


def _first_operations(model: keras.Model) -> Iterator[tuple[Any, tuple]]:
    """Yield operations from the input on with their arguments, up to a branch."""
    model = getattr(model, "_functional", None) or model
    tensor = model.inputs[0]
    while True:
        takers = [
            (operation, node)
            for operation in model.operations
            for node in operation._inbound_nodes
            if any(each is tensor for each in node.input_tensors)
        ]
        if len(takers) != 1:
            return
        operation, node = takers[0]
        if isinstance(operation, keras.Model):
            yield from _first_operations(operation)
        else:
            yield operation, node.arguments.args
        tensor = node.output_tensors[0]


def _arithmetic(operation: Any, values: tuple) -> tuple[float, float] | None:
    """Return (a, b) of an operation a · x + b, or `None` if it is none."""
    kind = type(operation).__name__
    if kind in _SAME_VALUES or kind.startswith("Random"):
        return 1.0, 0.0
    if kind == "Rescaling":
        return _mean_of(operation.scale), _mean_of(operation.offset)
    if kind == "Normalization" and operation.mean is not None:
        factor = 1 / _mean_of(np.sqrt(operation.variance))
        return factor, -factor * _mean_of(operation.mean)
    if len(values) != 2 or not isinstance(values[0], keras.KerasTensor):
        return None
    try:
        by = _mean_of(values[1])
    except (TypeError, ValueError):
        return None
    steps = {
        "Add": (1.0, by),
        "Subtract": (1.0, -by),
        "Multiply": (by, 0.0),
        "TrueDivide": (1 / (by or 1.0), 0.0),
        "Divide": (1 / (by or 1.0), 0.0),
    }
    return steps.get(kind)


def _mean_of(value: Any) -> float:
    """Return the mean of a number, or of one a channel."""
    return float(np.mean(keras.ops.convert_to_numpy(value)))


def ends_in_logistic(model: keras.Model) -> bool:
    """Return whether a model's scores come out of a logistic function."""
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        return ends_in_logistic(last)
    return getattr(last, "activation", None) is keras.activations.sigmoid


def layer_without_numbers(model: keras.Model) -> str | None:
    """Return the name of the first layer with a weight that is NaN or infinite."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            return weight.path.rsplit("/", 1)[0]
    return None
