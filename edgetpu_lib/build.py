"""Build the Keras model of a spec.

Takes a model name and overrides; gives a `keras.Model`, normalised pixels to logits.
Next: `checkpoint` loads published weights, or `train` trains from scratch.
Only Keras 3 is used, so the model builds on every Keras backend.
"""

from __future__ import annotations

import keras
from keras import layers
from keras.initializers import VarianceScaling

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError

# Source: tensorflow/tpu efficientnet_edgetpu_builder.py and efficientnet_model.py.
BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3
# Standard deviation √(2 / fan-out).
KERNEL_INITIALIZER = 2.0, "fan_out", "untruncated_normal"


def build_model(model_name: str, **overrides: float | None) -> keras.Model:
    """Build EfficientNet-EdgeTPU S, M or L with fresh weights.

    Args:
        model_name: "efficientnet-edgetpu-S", "…-M", "…-L", or the `.json` file of a
            searched network.
        **overrides: fields of `specs.ModelSpec`, such as `num_classes`, `image_size`,
            `width_coefficient`; `None` keeps the model's own value.

    Returns:
        A functional model: float32 [batch, size, size, 3], RGB normalised to
        (pixel − 127) / 128, to float32 [batch, num_classes] logits. By default there
        are 1001 classes, with the background at index 0.

    Raises:
        InputError: the name is unknown or a value is out of range.

    See: notebooks/01_build.ipynb.
    """
    return build_network(specs.model_spec(model_name, **overrides))


def build_network(spec: specs.ModelSpec) -> keras.Model:
    """Build the network of any spec, with fresh weights; see `build_model`."""
    inputs = keras.Input((spec.image_size, spec.image_size, 3), name="images")
    channels = specs.round_channels(specs.STEM_CHANNELS, spec.width_coefficient)
    x = _convolution(inputs, channels, kernel_size=3, stride=2, name="stem")
    for block in specs.expand_blocks(spec):
        x = {"fused": fused_block, "inverted": inverted_block}[block.kind](x, block)
    return keras.Model(inputs, _head(x, spec), name=spec.name)


def feature_model(model: keras.Model, endpoint_name: str) -> keras.Model:
    """Return the part of a model up to one of its feature maps; weights are shared.

    Args:
        model: from `build_model`, or any other of one image.
        endpoint_name: "stem"; "block_0" … (the output of each block); "reduction_1" …
            "reduction_5" (the last map of each resolution, 1/2 … 1/32 of the input);
            "features" (of the last block); "head_1x1"; "pooled_features" ([batch, 1, 1,
            channels]); "head" or "logits"; or any layer's name.

    Raises:
        InputError: the model has no such endpoint.

    Source: tensorflow/tpu efficientnet_model.py names these endpoints.
    """
    outputs = {layer.name: layer.output for layer in model.layers}
    endpoints = {**_endpoints(outputs), **outputs}
    if endpoint_name not in endpoints:
        known = (
            "pooled_features, logits, stem, features, head, block_N, reduction_N, or"
        )
        raise InputError(
            f"endpoint {endpoint_name!r} is unknown; use"
            f" {known if 'stem_relu' in outputs else ''} a layer's name, such as"
            f" {model.layers[-1].name}"
        )
    # A sequential model has no `input` of its own once it was read from a file.
    (images,) = model.inputs
    return keras.Model(images, endpoints[endpoint_name], name=model.name)


def _endpoints(outputs: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
    """Return the outputs of layers by the reference's names of endpoints."""
    sizes, blocks = {}, {}
    for name, output in outputs.items():
        # Later blocks of the same size replace earlier ones, a sum what it adds.
        if name.startswith("block_") and name.endswith(("_project_bn", "_add")):
            block = name.removesuffix("_add").removesuffix("_project_bn")
            sizes[output.shape[1]] = blocks[block] = output
    endpoints = {f"reduction_{i}": out for i, out in enumerate(sizes.values(), start=1)}
    named = {"stem": "stem_relu", "head_1x1": "head_relu", "head": "logits"}
    endpoints |= {n: outputs[layer] for n, layer in named.items() if layer in outputs}
    if blocks:
        endpoints["features"] = list(blocks.values())[-1]
    return endpoints | blocks


def zero_classifier(model: keras.Model) -> None:
    """Set the classifier's weights to zero, so that all classes are equally likely.

    The reference's initial range, ±1 / √classes, suits a thousand classes; with ten
    it is so wide that an untrained model predicts with high confidence.
    """
    for weight in model.get_layer("logits").weights:
        weight.assign(keras.ops.zeros(weight.shape))


def fused_block(x: keras.KerasTensor, block: specs.BlockSpec) -> keras.KerasTensor:
    """Add a fused block: one k×k convolution expands, a 1×1 convolution projects.

    [batch, height, width, input_channels] becomes
    [batch, height / stride, width / stride, output_channels].
    """
    y = _convolution(
        x,
        block.expanded_channels,
        kernel_size=block.kernel_size,
        stride=block.stride,
        name=f"block_{block.index}_expand",
    )
    return _project_and_skip(x, y, block)


def inverted_block(x: keras.KerasTensor, block: specs.BlockSpec) -> keras.KerasTensor:
    """Add an inverted bottleneck: 1×1 expands, k×k depthwise, 1×1 projects.

    [batch, height, width, input_channels] becomes
    [batch, height / stride, width / stride, output_channels].
    """
    name = f"block_{block.index}"
    y = _convolution(x, block.expanded_channels, name=f"{name}_expand")
    y = layers.DepthwiseConv2D(
        block.kernel_size,
        block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=VarianceScaling(*KERNEL_INITIALIZER),
        name=f"{name}_depthwise_conv",
    )(y)
    y = _normalise(y, relu=True, name=f"{name}_depthwise")
    return _project_and_skip(x, y, block)


def _project_and_skip(
    x: keras.KerasTensor, y: keras.KerasTensor, block: specs.BlockSpec
) -> keras.KerasTensor:
    name = f"block_{block.index}"
    y = _convolution(y, block.output_channels, relu=False, name=f"{name}_project")
    if not block.skip:
        return y
    if block.drop_rate > 0:
        # Stochastic depth: whole samples are dropped, survivors scaled up.
        y = layers.Dropout(
            block.drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop"
        )(y)
    return layers.Add(name=f"{name}_add")([x, y])


def _head(x: keras.KerasTensor, spec: specs.ModelSpec) -> keras.KerasTensor:
    channels = specs.round_channels(specs.HEAD_CHANNELS, spec.width_coefficient)
    x = _convolution(x, channels, name="head")
    # In TFLite, a pool of fixed size becomes AVERAGE_POOL_2D, a global one MEAN.
    x = layers.AveragePooling2D(x.shape[1:3], name="pooled_features")(x)
    x = layers.Flatten(name="head_flatten")(x)
    x = layers.Dropout(spec.dropout_rate, name="head_dropout")(x)
    return layers.Dense(
        spec.num_classes,
        # Limit 1 / √units. Source: tensorflow/tpu efficientnet_model.py.
        kernel_initializer=VarianceScaling(1 / 3, "fan_out", "uniform"),
        dtype="float32",  # also where training computes in bfloat16
        name="logits",
    )(x)


def _convolution(
    x: keras.KerasTensor,
    channels: int,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    relu: bool = True,
    name: str,
) -> keras.KerasTensor:
    x = layers.Conv2D(
        channels,
        kernel_size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=VarianceScaling(*KERNEL_INITIALIZER),
        name=f"{name}_conv",
    )(x)
    return _normalise(x, relu=relu, name=name)


def _normalise(x: keras.KerasTensor, *, relu: bool, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn"
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x
