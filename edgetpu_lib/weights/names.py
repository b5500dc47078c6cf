"""Name the weights of a Keras model as the reference's checkpoints do."""

from __future__ import annotations

import re

import keras

from edgetpu_lib.base.artifacts import InputError

# What follows the name of a weight in the name of its moving average.
AVERAGE = "/ExponentialMovingAverage"
# Part of the names of the last dense layer's weights, and of no others.
CLASSIFIER = "/head/dense/"

# Layers of a block and their variable scopes, in the reference's order of creation.
# Source: checkpoints written by tensorflow/tpu models/official/efficientnet.
_LAYERS = {
    "conv": "conv2d",
    "bn": "tpu_batch_normalization",
    "expand_conv": "conv2d",
    "expand_bn": "tpu_batch_normalization",
    "project_conv": "conv2d_1",
}
_FUSED = {"project_bn": "tpu_batch_normalization_1"}
_INVERTED = {
    "depthwise_conv": "depthwise_conv2d",
    "depthwise_bn": "tpu_batch_normalization_1",
    "project_bn": "tpu_batch_normalization_2",
}


def reference_names(model: keras.Model) -> dict[str, keras.Variable]:
    """Map the reference's name of every weight to the model's variable.

    For example "efficientnet-edgetpu-S/blocks_0/conv2d/kernel".

    Raises:
        InputError: the model was not built by `build`.
    """
    layer_names = {layer.name for layer in model.layers}
    names = {}
    for layer in model.layers:
        for weight in layer.weights:
            scope = _reference_scope(layer.name, layer_names)
            leaf = weight.name
            if leaf == "kernel" and "depthwise" in layer.name:
                leaf = "depthwise_kernel"
            names[f"{model.name}/{scope}/{leaf}"] = weight
    return names


def is_of_this_family(model: keras.Model) -> bool:
    """Return whether a model's layers are named as `build` names them."""
    try:
        names = reference_names(model)
    except InputError:
        return False
    # Both ends: any model may have a layer that is named "logits".
    return all(any(end in name for name in names) for end in ("/stem/", CLASSIFIER))


def _reference_scope(layer_name: str, layer_names: set[str]) -> str:
    """Return the scope of a layer, for example "blocks_3/conv2d_1"."""
    if layer_name == "logits":
        return "head/dense"
    match = re.fullmatch(r"(stem|head|block_(\d+))_(\w+)", layer_name)
    part, number, layer = match.groups() if match else (None, None, None)
    inverted = f"block_{number}_depthwise_conv" in layer_names
    scopes = {**_LAYERS, **(_INVERTED if inverted else _FUSED)}
    if layer not in scopes:
        raise InputError(
            f"layer {layer_name!r} is not of this family; build the model with"
            " build.build_model"
        )
    return f"{part if number is None else f'blocks_{number}'}/{scopes[layer]}"
