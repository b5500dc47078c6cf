"""Cost per block, and per scaling coefficient."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import layers, networks
from edgetpu_lib.costs.estimate import Estimate, total_shares_ms


@dataclasses.dataclass(frozen=True)
class BlockTime:
    """Cost and estimated time of one block on the Edge TPU.

    Attributes:
        name: index of the block, or "stem", "head", "classifier".
        kind: "fused" or "inverted"; of other parts, the name.
        macs: multiply-accumulate operations.
        parameter_bytes: on the device, with its padding.
        streamed_bytes: parameters that are sent again for every inference.
        shares_ms: milliseconds by cause: "compute", "streaming", "overhead" or "cpu".
    """

    name: str
    kind: str
    macs: int
    parameter_bytes: int
    streamed_bytes: int
    shares_ms: dict[str, float]

    @property
    def latency_ms(self) -> float:
        """Milliseconds in all."""
        return sum(self.shares_ms.values())

    @property
    def bound(self) -> str:
        """The cause of most of the time, a key of `shares_ms`."""
        return max(self.shares_ms, key=self.shares_ms.__getitem__)


@dataclasses.dataclass(frozen=True)
class ScaledCost:
    """The cost of a network of another width, depth or image size.

    Attributes:
        width_coefficient: factor on channels.
        depth_coefficient: factor on repeats.
        image_size: height and width of the input, pixels.
        macs: multiply-accumulate operations.
        parameters: all trainable ones.
        streamed_bytes: parameters that are sent again for every inference.
        latency_ms: estimate for one inference.
    """

    width_coefficient: float
    depth_coefficient: float
    image_size: int
    macs: int
    parameters: int
    streamed_bytes: int
    latency_ms: float


def block_times(spec: specs.ModelSpec, estimate: Estimate) -> list[BlockTime]:
    """Return the cost of every block, with stem, head and classifier, in order.

    Operators without weights belong to the block before them: an addition to the block
    whose skip connection it ends, the pool to the head.

    Args:
        spec: from `specs.model_spec`.
        estimate: of the same network, from `networks.estimate_spec` or, for its
            int8 model, from `estimate.estimate_tflite`.

    Raises:
        InputError: the estimate is of another network.
    """
    rows = layers.layer_table(spec)
    weighted = [operator for operator in estimate.operators if operator.cost.macs]
    if [row.macs for row in rows] != [o.cost.macs for o in weighted]:
        raise InputError(
            f"the estimate is not of {spec.name} at {spec.image_size} pixels with"
            f" {spec.num_classes} classes; give one of the same spec"
        )
    arriving = iter(rows)
    name, groups = "stem", {}
    for operator in estimate.operators:
        if operator.cost.macs:
            name = _part_of(next(arriving).name)
        groups.setdefault(name, []).append(operator)
    kinds = {str(block.index): block.kind for block in specs.expand_blocks(spec)}
    return [
        BlockTime(
            name=name,
            kind=kinds.get(name, name),
            macs=sum(o.cost.macs for o in operators),
            parameter_bytes=sum(o.cost.parameter_bytes for o in operators),
            streamed_bytes=sum(o.streamed_bytes for o in operators),
            shares_ms=total_shares_ms(operators),
        )
        for name, operators in groups.items()
    ]


def _part_of(layer_name: str) -> str:
    """Return a block's index, or the name of the part outside of all blocks."""
    outside = {"stem_conv": "stem", "head_conv": "head", "logits": "classifier"}
    return outside.get(layer_name) or layer_name.split("_")[1]


def scaled_cost(spec: specs.ModelSpec) -> ScaledCost:
    """Return the cost of a network, with the three coefficients that scale it."""
    found = networks.estimate_spec(spec)
    return ScaledCost(
        width_coefficient=spec.width_coefficient,
        depth_coefficient=spec.depth_coefficient,
        image_size=spec.image_size,
        macs=found.macs,
        parameters=specs.count_parameters(spec)[0],
        streamed_bytes=found.streamed_bytes,
        latency_ms=found.latency_ms,
    )


def scaling_grid(
    spec: specs.ModelSpec,
    *,
    widths: Iterable[float],
    depths: Iterable[float],
    image_sizes: Iterable[int],
) -> list[ScaledCost]:
    """Return the cost of a network at every combination of width, depth and size.

    Args:
        spec: whose stages are scaled.
        widths: factors on channels.
        depths: factors on repeats.
        image_sizes: pixels.

    Raises:
        InputError: a value is outside of what a spec allows.
    """
    return [
        scaled_cost(
            dataclasses.replace(
                spec,
                width_coefficient=width,
                depth_coefficient=depth,
                image_size=image_size,
            )
        )
        for image_size, depth, width in itertools.product(image_sizes, depths, widths)
    ]
