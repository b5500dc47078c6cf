"""Cost per layer and per stage of a network, and memory per operator of a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgetpu_lib import specs
from edgetpu_lib.hardware.operator_costs import tensor_bytes
from edgetpu_lib.tflite import file as tflite_file


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one convolution or of the classifier, for one image.

    Attributes:
        name: of the Keras layer.
        stage: 0 for the stem, 1..6 for the stages, 7 for the head.
        kind: "conv", "depthwise" or "dense".
        kernel_size: height and width of the kernel, pixels.
        stride: pixels between two places of the kernel.
        output_size: height and width of the output, pixels.
        output_channels: of the output.
        macs: multiply-accumulate operations.
        weights: numbers in the kernel.
        parameters: the kernel, and the bias or the batch normalisation's scale and
            offset.
    """

    name: str
    stage: int
    kind: str
    kernel_size: int
    stride: int
    output_size: int
    output_channels: int
    macs: int
    weights: int
    parameters: int

    @property
    def output_bytes(self) -> int:
        """Size of the output at one byte a number."""
        return self.output_size**2 * self.output_channels


@dataclasses.dataclass(frozen=True)
class StageCost:
    """The cost of one stage, for one image.

    Attributes:
        stage: 0 for the stem, 1..6 for the stages, 7 for the head.
        name: "stem", "stage 1" …, "head".
        layers: number of convolutions.
        output_size: height and width of its last feature map, pixels.
        output_channels: of its last map; of the head, the pooled features.
        macs: multiply-accumulate operations.
        parameters: all trainable ones.
        largest_bytes: of its largest feature map at one byte a number.
        receptive_field: side of the square of input pixels that one position of its
            last feature map depends on.
    """

    stage: int
    name: str
    layers: int
    output_size: int
    output_channels: int
    macs: int
    parameters: int
    largest_bytes: int
    receptive_field: int


@dataclasses.dataclass(frozen=True)
class OperatorMemory:
    """Bytes of activations that must be kept while one operator of a file runs.

    These are its inputs, its outputs and what later operators read.
    """

    index: int
    kind: str
    live_bytes: int


def layer_table(spec: specs.ModelSpec) -> list[LayerCost]:
    """Return the cost of every layer with a kernel, in order."""
    stem = specs.round_channels(specs.STEM_CHANNELS, spec.width_coefficient)
    size = -(-spec.image_size // 2)
    rows = [_cost("stem_conv", 0, "conv", size, 3, stem, kernel=3, stride=2)]
    for block in specs.expand_blocks(spec):
        rows += _block_costs(block, size)
        size = rows[-1].output_size
    head = specs.round_channels(specs.HEAD_CHANNELS, spec.width_coefficient)
    last = len(spec.stages) + 1
    arriving = rows[-1].output_channels
    logits = _cost("logits", last, "dense", 1, head, spec.num_classes)
    # A bias in place of scale and offset.
    logits = dataclasses.replace(logits, parameters=(head + 1) * spec.num_classes)
    return [*rows, _cost("head_conv", last, "conv", size, arriving, head), logits]


def _block_costs(block: specs.BlockSpec, size: int) -> list[LayerCost]:
    """Return the costs of a block's convolutions on a map of `size` pixels."""
    name, stage, wide = f"block_{block.index}", block.stage, block.expanded_channels
    arriving, leaving = block.input_channels, block.output_channels
    reduced = -(-size // block.stride)
    spatial = {"kernel": block.kernel_size, "stride": block.stride}
    expand, deep = f"{name}_expand_conv", f"{name}_depthwise_conv"
    project = _cost(f"{name}_project_conv", stage, "conv", reduced, wide, leaving)
    if block.kind == "fused":
        first = _cost(expand, stage, "conv", reduced, arriving, wide, **spatial)
        return [first, project]
    first = _cost(expand, stage, "conv", size, arriving, wide)
    second = _cost(deep, stage, "depthwise", reduced, 1, wide, **spatial)
    return [first, second, project]


def _cost(
    name: str,
    stage: int,
    kind: str,
    size: int,
    arriving: int,
    leaving: int,
    *,
    kernel: int = 1,
    stride: int = 1,
) -> LayerCost:
    """Return the cost of a layer; a depthwise filter has one input channel."""
    weights = kernel * kernel * arriving * leaving
    return LayerCost(
        name=name,
        stage=stage,
        kind=kind,
        kernel_size=kernel,
        stride=stride,
        output_size=size,
        output_channels=leaving,
        macs=size * size * weights,
        weights=weights,
        parameters=weights + 2 * leaving,
    )


def stage_table(spec: specs.ModelSpec) -> list[StageCost]:
    """Return the cost of every stage, in order."""
    rows = layer_table(spec)
    fields = receptive_fields(rows)
    last = rows[-1].stage
    table = []
    for stage in range(last + 1):
        mine = [row for row in rows if row.stage == stage]
        maps = [row for row in mine if row.kind != "dense"]
        table.append(
            StageCost(
                stage=stage,
                name={0: "stem", last: "head"}.get(stage, f"stage {stage}"),
                layers=len(mine),
                output_size=maps[-1].output_size,
                output_channels=maps[-1].output_channels,
                macs=sum(row.macs for row in mine),
                parameters=sum(row.parameters for row in mine),
                largest_bytes=max(row.output_bytes for row in mine),
                receptive_field=fields[maps[-1].name],
            )
        )
    return table


def receptive_fields(rows: list[LayerCost]) -> dict[str, int]:
    """Return the receptive field of each layer: its name → side of a square, pixels.

    Every kernel adds its size − 1, times the distance of neighbouring positions in the
    input, which every stride multiplies. It may reach beyond the image, into padding.

    Source: A. Araujo, W. Norris, J. Sim, Computing Receptive Fields of Convolutional
    Neural Networks, Distill, 2019.
    """
    side = step = 1
    fields = {}
    for row in rows:
        if row.kind == "dense":
            continue
        side += (row.kernel_size - 1) * step
        step *= row.stride
        fields[row.name] = side
    return fields


def memory_profile(model: str | Path | bytes) -> list[OperatorMemory]:
    """Return the bytes of activations that each operator of a TFLite file needs.

    Weights and other constants do not count.

    Raises:
        InputError: the file is missing, not a TFLite file, or damaged.
    """
    file = tflite_file.read_tflite(model)
    first_use: dict[int, int] = dict.fromkeys(file.inputs, 0)
    last_use: dict[int, int] = {}
    for operator in file.operators:
        for index in operator.outputs:
            first_use.setdefault(index, operator.index)
        last_use |= dict.fromkeys((*operator.inputs, *operator.outputs), operator.index)
    last_use.update(dict.fromkeys(file.outputs, len(file.operators)))
    return [
        OperatorMemory(
            operator.index,
            operator.kind,
            sum(
                tensor_bytes(file.tensors[index])
                for index, first in first_use.items()
                if first <= operator.index <= last_use.get(index, -1)
            ),
        )
        for operator in file.operators
    ]
