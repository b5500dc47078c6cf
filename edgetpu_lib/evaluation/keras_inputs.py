"""Find out from the first layers of a Keras model which pixels it takes."""

from __future__ import annotations

import keras
import numpy as np

from edgetpu_lib.conversion import front
from edgetpu_lib.tflite import contract
from edgetpu_lib.tflite.contract import PixelScale

# Layers of every network that `build` makes.
_OWN_LAYERS = {"stem_bn", "block_0_project_bn"}


def pixel_scale_of(model: keras.Model) -> PixelScale | None:
    """Return what is subtracted from a model's pixels, 0..255, and their divisor.

    It is known of an input of whole numbers, of a model that begins with `Rescaling`,
    `Normalization` or the arithmetic of a `preprocess_input`, and of the networks of
    this library; `None` where none of this tells.
    """
    if front.takes_integers(model):
        return contract.RAW
    if _OWN_LAYERS <= {layer.name for layer in model.layers}:
        return contract.OWN
    return front.expected_pixels(model)


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
