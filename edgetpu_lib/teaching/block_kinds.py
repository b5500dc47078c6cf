"""Compare the cost of one block in three kinds on the Edge TPU.

Takes the parameters of a block; gives small Keras models and the costs of their int8
models. Used by notebook 2, to show why the early blocks are fused.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers

from edgetpu_lib import build, convert, specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import estimate
from edgetpu_lib.costs import layers as layer_costs
from edgetpu_lib.hardware import check

# Squeezed channels as a share of the block's input channels.
# Source: tensorflow/tpu efficientnet_builder.py, "se0.25" of the block strings.
SQUEEZE_RATIO = 0.25


@dataclasses.dataclass(frozen=True)
class KindCost:
    """Cost of one kind of block.

    Attributes:
        kind: a key of `KINDS`.
        macs: multiply-accumulate operations.
        parameters: trainable ones.
        latency_ms: estimated, of the block inside a network: without the call, the
            transfer, and the conversion of bytes at both ends. The block alone may
            use the memory on the chip for its parameters.
        live_bytes: peak memory of the block's maps.
        report: of `check` for the int8 model.
    """

    kind: str
    macs: int
    parameters: int
    latency_ms: float
    live_bytes: int
    report: check.Report


def efficientnet_block(
    x: keras.KerasTensor, block: specs.BlockSpec
) -> keras.KerasTensor:
    """Add a block of the first EfficientNets: with swish and squeeze-and-excite.

    A 1×1 convolution expands, a k×k depthwise one filters. Each channel is multiplied
    by a weight in 0..1, which a small network computes from the means of all channels.
    A 1×1 convolution projects.

    Args:
        x: [batch, height, width, block.input_channels].
        block: its parameters; its kind is ignored.

    Returns:
        [batch, height / stride, width / stride, block.output_channels].

    Source: tensorflow/tpu efficientnet_model.py, `MBConvBlock`.
    """
    wide, squeezed = block.expanded_channels, int(SQUEEZE_RATIO * block.input_channels)
    y = layers.Conv2D(wide, 1, use_bias=False)(x)
    y = layers.Activation("swish")(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(
        block.kernel_size, block.stride, padding="same", use_bias=False
    )(y)
    y = layers.Activation("swish")(layers.BatchNormalization()(y))
    weights = layers.GlobalAveragePooling2D(keepdims=True)(y)
    weights = layers.Conv2D(max(1, squeezed), 1, activation="swish")(weights)
    weights = layers.Conv2D(wide, 1, activation="sigmoid")(weights)
    y = layers.Multiply()([y, weights])
    y = layers.Conv2D(block.output_channels, 1, use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    return layers.Add()([x, y]) if block.skip else y


KINDS = {
    "fused": build.fused_block,
    "inverted": build.inverted_block,
    "EfficientNet-B0": efficientnet_block,
}


def build_block(kind: str, block: specs.BlockSpec, *, map_size: int) -> keras.Model:
    """Return a model of a single block with random weights.

    Args:
        kind: a key of `KINDS`.
        block: its parameters; its kind is ignored.
        map_size: height and width of the input map, pixels.

    Raises:
        InputError: the kind is unknown.
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    inputs = keras.Input((map_size, map_size, block.input_channels))
    settled = dataclasses.replace(block, drop_rate=0)
    return keras.Model(inputs, KINDS[kind](inputs, settled))


def compare_kinds(block: specs.BlockSpec, *, map_size: int) -> list[KindCost]:
    """Return the cost of a block in every kind, as an int8 model.

    Costs do not depend on weights or activations, which are random.

    Args:
        block: the parameters of all kinds: channels, kernel, stride, skip.
        map_size: height and width of the input map, pixels.
    """
    shape = (map_size, map_size, block.input_channels)
    calibration = [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)]
    costs = []
    for kind in KINDS:
        model = build_block(kind, block, map_size=map_size)
        content = convert.to_int8_tflite(model, calibration)
        found = estimate.estimate_tflite(content)
        inside = [o for o in found.operators if o.cost.kind != "QUANTIZE"]
        costs.append(
            KindCost(
                kind=kind,
                macs=found.macs,
                parameters=sum(w.shape.num_elements() for w in model.trainable_weights),
                latency_ms=sum(operator.latency_ms for operator in inside),
                live_bytes=max(
                    row.live_bytes for row in layer_costs.memory_profile(content)
                ),
                report=check.check_tflite(content),
            )
        )
    return costs


def repeated_blocks(spec: specs.ModelSpec) -> list[tuple[specs.BlockSpec, int]]:
    """Return (last block, map size in pixels) of each stage with repeated blocks.

    A repeated block keeps channels and size, so that all kinds have the same shape.

    Args:
        spec: from `specs.model_spec`.
    """
    sizes = {row.name: row.output_size for row in layer_costs.layer_table(spec)}
    last = {block.stage: block for block in specs.expand_blocks(spec)}
    return [
        (block, sizes[f"block_{block.index}_project_conv"])
        for block in last.values()
        if block.skip
    ]
