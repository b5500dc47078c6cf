"""Look inside: what a network costs, and what a TFLite file holds.

Takes a spec or a `.tflite` file; gives rows for tables and figures.
Used by the notebooks; needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

from edgetpu_lib import specs, tflite_file


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one convolution or of the classifier.

    Attributes:
        name: of the Keras layer.
        stage: 0 for the stem, 1..6 for the stages, 7 for the head.
        kind: "conv", "depthwise" or "dense".
        output_size: height and width of the output, pixels.
        output_channels: of the output.
        macs: multiply-accumulate operations for one picture.
        weights: numbers in the kernel, without bias and batch normalisation.
    """

    name: str
    stage: int
    kind: str
    output_size: int
    output_channels: int
    macs: int
    weights: int


def layer_table(spec: specs.ModelSpec) -> list[LayerCost]:
    """Return the cost of every layer with a kernel, in order.

    Args:
        spec: from `specs.model_spec`.
    """
    size = -(-spec.image_size // 2)
    stem = specs.round_channels(specs.STEM_CHANNELS, spec.width_coefficient)
    rows = [_cost("stem_conv", 0, "conv", size, 3, stem, 3)]
    for block in specs.expand_blocks(spec):
        name, stage = f"block_{block.index}", block.stage
        wide, kernel = block.expanded_channels, block.kernel_size
        reduced = -(-size // block.stride)
        arriving, leaving = block.input_channels, block.output_channels
        if block.kind == "fused":
            rows.append(
                _cost(
                    f"{name}_expand_conv",
                    stage,
                    "conv",
                    reduced,
                    arriving,
                    wide,
                    kernel,
                )
            )
        else:
            rows += [
                _cost(f"{name}_expand_conv", stage, "conv", size, arriving, wide, 1),
                _cost(
                    f"{name}_depthwise_conv",
                    stage,
                    "depthwise",
                    reduced,
                    1,
                    wide,
                    kernel,
                ),
            ]
        rows.append(
            _cost(f"{name}_project_conv", stage, "conv", reduced, wide, leaving, 1)
        )
        size = reduced
    head = specs.round_channels(specs.HEAD_CHANNELS, spec.width_coefficient)
    last = len(spec.stages) + 1
    return [
        *rows,
        _cost("head_conv", last, "conv", size, leaving, head, 1),
        _cost("logits", last, "dense", 1, head, spec.num_classes, 1),
    ]


def _cost(
    name: str,
    stage: int,
    kind: str,
    size: int,
    arriving: int,
    leaving: int,
    kernel: int,
) -> LayerCost:
    """Count a layer; a depthwise one has one arriving channel a filter."""
    weights = kernel * kernel * arriving * leaving
    return LayerCost(name, stage, kind, size, leaving, size * size * weights, weights)


def operator_table(model: str | Path | bytes) -> dict[str, int]:
    """Return how often each operator occurs in a TFLite file, most frequent first.

    Args:
        model: path or bytes of a `.tflite` file.

    Raises:
        InputError: the file is missing, not a TFLite file, or damaged.
    """
    operators = tflite_file.read_tflite(model).operators
    return dict(collections.Counter(o.kind for o in operators).most_common())
