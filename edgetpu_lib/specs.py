"""Describe EfficientNet-EdgeTPU S, M and L as data.

Takes a model name, or the `.json` file of a searched network, and overrides; gives the
list of blocks with all their numbers. Next: `build` makes a Keras model of a spec.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, write_file
from edgetpu_lib.base.plain_files import read_plain_file


@dataclasses.dataclass(frozen=True)
class StageSpec:
    """One stage of the baseline network, before any scaling.

    Attributes:
        kind: "fused" (k×k convolution expands) or "inverted" (1×1 expands, then a
            k×k depthwise convolution).
        repeats: number of blocks; only the first one has the stride.
        kernel_size: k, in pixels.
        stride: 1 or 2.
        expand_ratio: expanded channels per nominal input channel.
        nominal_input_channels: `expand_ratio` times this is the first block's
            expansion. In the first stage it is 24 although the stem has 32 channels.
        channels: output channels.
        skip: add the input to the output where shapes allow it.
    """

    kind: str
    repeats: int
    kernel_size: int
    stride: int
    expand_ratio: int
    nominal_input_channels: int
    channels: int
    skip: bool = True

    def __post_init__(self) -> None:
        """Validate the numbers."""
        if self.kind not in ("fused", "inverted"):
            raise InputError(
                f"kind {self.kind!r} is unknown; use 'fused' or 'inverted'"
            )
        for field in ("repeats", "kernel_size", "stride", "expand_ratio", "channels"):
            if getattr(self, field) < 1:
                raise InputError(f"{field}={getattr(self, field)} must be at least 1")


# Source: tensorflow/tpu models/official/efficientnet/edgetpu,
# efficientnet_edgetpu_builder.py (block strings and coefficients).
STAGES = (
    #         kind     repeats k stride expand nominal-in out
    StageSpec("fused", 1, 3, 1, 4, 24, 24, skip=False),
    StageSpec("fused", 2, 3, 2, 8, 24, 32),
    StageSpec("fused", 4, 3, 2, 8, 32, 48),
    StageSpec("inverted", 5, 5, 2, 8, 48, 96),
    StageSpec("inverted", 4, 5, 1, 8, 96, 144),
    StageSpec("inverted", 2, 5, 2, 8, 144, 192),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One network: the baseline stages and their scaling.

    Attributes:
        name: the published model name, also the checkpoint's variable scope.
        width_coefficient: factor on all channel numbers.
        depth_coefficient: factor on all repeats.
        image_size: height and width of the input, pixels.
        dropout_rate: share of pooled features dropped before the classifier.
        survival_prob: probability that stochastic depth keeps the last block.
        num_classes: logits; 1001 with ImageNet's background class first.
        stages: the baseline, one row per stage.
    """

    name: str
    width_coefficient: float
    depth_coefficient: float
    image_size: int
    dropout_rate: float
    survival_prob: float = 0.8
    num_classes: int = 1001
    stages: tuple = STAGES

    def __post_init__(self) -> None:
        """Validate the numbers."""
        for field in ("width_coefficient", "depth_coefficient"):
            if not 0 < getattr(self, field) <= 16:
                raise InputError(f"{field}={getattr(self, field)} must be in (0, 16]")
        if not 32 <= self.image_size <= 4096:
            raise InputError(f"image_size={self.image_size} must be in 32..4096 pixels")
        if self.num_classes < 2:
            raise InputError(f"num_classes={self.num_classes} must be at least 2")
        if not 0 <= self.dropout_rate < 1:
            raise InputError(f"dropout_rate={self.dropout_rate} must be in [0, 1)")
        if not 0 < self.survival_prob <= 1:
            raise InputError(f"survival_prob={self.survival_prob} must be in (0, 1]")


SPECS = {
    #                                              width depth size dropout
    spec.name: spec
    for spec in (
        ModelSpec("efficientnet-edgetpu-S", 1.0, 1.0, 224, 0.2),
        ModelSpec("efficientnet-edgetpu-M", 1.0, 1.1, 240, 0.2),
        ModelSpec("efficientnet-edgetpu-L", 1.2, 1.4, 300, 0.3),
    )
}


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One block, after scaling.

    Attributes:
        index: position in the network, from 0.
        stage: position of its stage, from 1.
        kind: "fused" or "inverted".
        kernel_size: pixels.
        stride: 1 or 2.
        input_channels: of the tensor that the block gets.
        expanded_channels: between expansion and projection.
        output_channels: of the tensor that the block gives.
        skip: whether the input is added to the output.
        drop_rate: probability that stochastic depth drops the block in training.
    """

    index: int
    stage: int
    kind: str
    kernel_size: int
    stride: int
    input_channels: int
    expanded_channels: int
    output_channels: int
    skip: bool
    drop_rate: float


def model_spec(model_name: str, **overrides: object) -> ModelSpec:
    """Return the spec of a published or a found model, some of its fields replaced.

    Args:
        model_name: a key of `SPECS`, or the path of a `.json` file from `write_spec`.
        **overrides: fields of `ModelSpec`; `None` keeps the model's own value.

    Raises:
        InputError: the name is unknown, or a value is out of range.
    """
    if str(model_name).endswith(".json"):
        spec = read_spec(model_name)
    elif model_name in SPECS:
        spec = SPECS[model_name]
    else:
        raise InputError(
            f"model name {model_name!r} is unknown; use one of {', '.join(SPECS)}, or"
            " the .json file of a searched network"
        )
    given = {field: value for field, value in overrides.items() if value is not None}
    return dataclasses.replace(spec, **given)


def write_spec(spec: ModelSpec, path: str | Path) -> Path:
    """Write a spec to a JSON file, from which `model_spec` reads it.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(dataclasses.asdict(spec), indent=2) + "\n"
    return write_file(path, text.encode())


def read_spec(path: str | Path) -> ModelSpec:
    """Return the spec that `write_spec` wrote.

    Raises:
        InputError: the file is missing, or holds no network.
    """
    content = read_plain_file(path)
    try:
        fields = json.loads(content)
        stages = tuple(StageSpec(**row) for row in fields.pop("stages"))
        return ModelSpec(**fields, stages=stages)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"{path} does not describe a network ({error}); `search` writes such files"
        ) from error


def round_channels(channels: int, width_coefficient: float) -> int:
    """Scale a channel number and round it to a multiple of 8, but at most 10 % down.

    Source: tensorflow/tpu efficientnet_model.py, `round_filters`.
    """
    exact = channels * width_coefficient
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def round_repeats(repeats: int, depth_coefficient: float) -> int:
    """Scale a number of blocks, rounding up.

    Source: tensorflow/tpu efficientnet_model.py, `round_repeats`.
    """
    return math.ceil(repeats * depth_coefficient)


def expand_blocks(spec: ModelSpec) -> tuple[BlockSpec, ...]:
    """Return all blocks of a network in order, scaled by the spec's coefficients.

    Source: the drop rate grows linearly as in tensorflow/tpu efficientnet_model.py,
    `1 - survival_prob` times index over number of blocks.
    """

    def width(channels: int) -> int:
        return round_channels(channels, spec.width_coefficient)

    rows = []
    arriving = width(STEM_CHANNELS)
    for stage_number, stage in enumerate(spec.stages, start=1):
        # The expansion is counted from the nominal input, not from what arrives:
        # the two differ in the first stage.
        counted, leaving = width(stage.nominal_input_channels), width(stage.channels)
        for repeat in range(round_repeats(stage.repeats, spec.depth_coefficient)):
            stride = stage.stride if repeat == 0 else 1
            row = dict(
                index=len(rows),
                stage=stage_number,
                kind=stage.kind,
                kernel_size=stage.kernel_size,
                stride=stride,
                input_channels=arriving,
                expanded_channels=counted * stage.expand_ratio,
                output_channels=leaving,
                skip=stage.skip and stride == 1 and counted == leaving,
            )
            rows.append(row)
            arriving = counted = leaving
    drop = 1 - spec.survival_prob
    return tuple(BlockSpec(**r, drop_rate=drop * r["index"] / len(rows)) for r in rows)


def count_parameters(spec: ModelSpec) -> tuple[int, int]:
    """Return (trainable, all) parameters, counted from the spec alone.

    Each batch normalisation has two trainable vectors and two moving statistics.
    """
    stem = round_channels(STEM_CHANNELS, spec.width_coefficient)
    head = round_channels(HEAD_CHANNELS, spec.width_coefficient)
    blocks = expand_blocks(spec)
    kernels = 9 * 3 * stem + blocks[-1].output_channels * head
    normalised = stem + head
    for block in blocks:
        area, wide = block.kernel_size**2, block.expanded_channels
        if block.kind == "fused":
            kernels += area * block.input_channels * wide
            normalised += wide + block.output_channels
        else:
            kernels += block.input_channels * wide + area * wide
            normalised += 2 * wide + block.output_channels
        kernels += wide * block.output_channels
    trainable = kernels + 2 * normalised + (head + 1) * spec.num_classes
    return trainable, trainable + 2 * normalised
