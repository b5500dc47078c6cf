"""Change what a Keras model takes and gives, without touching its weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np


def with_softmax(model: keras.Model) -> keras.Model:
    """Return a model that gives probabilities where `model` gives logits.

    A model that ends in softmax or sigmoid, has a single score or several outputs is
    returned as it is.
    """
    if len(model.outputs) > 1 or model.output_shape[-1] == 1 or _gives_shares(model):
        return model
    probabilities = keras.layers.Softmax(name="probabilities")(model.output)
    return keras.Model(model.input, probabilities, name=model.name)


def _gives_shares(model: keras.Model) -> bool:
    """Return whether the last layer that computes is a softmax or sigmoid."""
    for operation in reversed(getattr(model, "operations", model.layers)):
        if isinstance(operation, keras.Model):
            return _gives_shares(operation)
        kind = type(operation).__name__
        function = getattr(getattr(operation, "activation", None), "__name__", kind)
        if function.lower() in ("softmax", "sigmoid", "hard_sigmoid"):
            return True
        if function.lower() not in ("reshape", "flatten", "linear", "dropout"):
            return False
        if kind not in ("Reshape", "Flatten", "Activation", "Dropout"):
            return False
    return False


def with_one_scale(
    model: keras.Model,
    mean: float | Sequence[float],
    stddev: float | Sequence[float],
) -> tuple[keras.Model, float, float]:
    """Return a model that takes pixels by one mean and one deviation, and the two.

    One quantized input has one scale. Of three means or deviations, a layer is put in
    front that takes pixels as they are, 0..255: the mean is then 0, the deviation 1.
    """
    if isinstance(mean, (int, float)) and isinstance(stddev, (int, float)):
        return model, mean, stddev
    images = keras.Input(model.inputs[0].shape[1:], name="images")
    layer = keras.layers.Normalization(
        mean=np.broadcast_to(np.asarray(mean, np.float32), 3),
        variance=np.broadcast_to(np.asarray(stddev, np.float32), 3) ** 2,
    )
    whole = keras.Model(images, model(layer(images)), name=model.name)
    return whole, 0.0, 1.0


def use_float32(model: keras.Model) -> None:
    """Let all layers compute in float32, also of a model trained in half precision."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            use_float32(layer)
        elif layer.compute_dtype in ("float16", "bfloat16"):
            layer.dtype_policy = "float32"
