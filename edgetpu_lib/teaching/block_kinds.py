"""Build one block in three kinds, and ask what each costs on the Edge TPU.

Takes the numbers of a block; gives small Keras models, and the costs of their 8-bit
files. Used by the notebooks, to show why the early blocks are fused.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers

from edgetpu_lib import build, convert, specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import estimate
from edgetpu_lib.costs import layers as summary
from edgetpu_lib.hardware import check

# What the first EfficientNets squeeze to, as a share of the block's input channels.
# Source: tensorflow/tpu efficientnet_builder.py, "se0.25" of the block strings.
SQUEEZE_RATIO = 0.25


@dataclasses.dataclass(frozen=True)
class KindCost:
    """What one kind of block costs.

    Attributes:
        kind: a key of `KINDS`.
        macs: multiply-accumulate operations.
        parameters: all that training moves.
        latency_ms: estimated, of the block inside a network: without the call, the
            transfer, and the conversion of bytes at both ends. All its parameters are
            taken to be on the chip as far as they fit there alone.
        live_bytes: the most that is kept at a time, of the block's maps.
        report: what `check` says of the file.
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
    """Add a block as the first EfficientNets have it: swish, and squeeze-and-excite.

    A 1×1 convolution expands, a k×k depthwise one filters. Then each channel is
    weighed by a number between 0 and 1, which a small network computes from the means
    of all channels. A 1×1 convolution projects.

    Args:
        x: [batch, height, width, block.input_channels].
        block: the numbers; its kind is not looked at.

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
    """Build a model of a single block, with fresh weights.

    Args:
        kind: a key of `KINDS`.
        block: the numbers; its own kind is not looked at.
        map_size: height and width of the map that arrives, pixels.

    Returns:
        float32 [batch, map_size, map_size, block.input_channels] to what the block
        gives.

    Raises:
        InputError: the kind is unknown.
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    inputs = keras.Input((map_size, map_size, block.input_channels))
    settled = dataclasses.replace(block, drop_rate=0)
    return keras.Model(inputs, KINDS[kind](inputs, settled))


def compare_kinds(block: specs.BlockSpec, *, map_size: int) -> list[KindCost]:
    """Build a block in every kind, convert it to 8 bits, and return what each costs.

    Nothing of this depends on weights or on what the maps hold: both are random.

    Args:
        block: the numbers that all kinds share: channels, kernel, stride, skip.
        map_size: height and width of the map that arrives, pixels.
    """
    shape = (map_size, map_size, block.input_channels)
    arriving = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    costs = []
    for kind in KINDS:
        model = build_block(kind, block, map_size=map_size)
        content = convert.to_int8_tflite(model, [arriving])
        found = estimate.estimate_tflite(content)
        inside = [o for o in found.operators if o.cost.kind != "QUANTIZE"]
        memory = summary.memory_profile(content)
        costs.append(
            KindCost(
                kind=kind,
                macs=found.macs,
                parameters=sum(w.shape.num_elements() for w in model.trainable_weights),
                latency_ms=sum(operator.latency_ms for operator in inside),
                live_bytes=max(row.live_bytes for row in memory),
                report=check.check_tflite(content),
            )
        )
    return costs


def repeated_blocks(spec: specs.ModelSpec) -> list[tuple[specs.BlockSpec, int]]:
    """Return the last block of each stage that repeats its block, and its map's size.

    Such a block keeps channels and size, so that all kinds have the same shape.

    Args:
        spec: from `specs.model_spec`.

    Returns:
        (block, height and width of its map in pixels) of each such stage, in order.
    """
    sizes = {row.name: row.output_size for row in summary.layer_table(spec)}
    last = {block.stage: block for block in specs.expand_blocks(spec)}
    return [
        (block, sizes[f"block_{block.index}_project_conv"])
        for block in last.values()
        if block.skip
    ]
