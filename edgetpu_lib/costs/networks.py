"""Cost and latency of a network that is not built yet."""

from __future__ import annotations

import math

from edgetpu_lib import specs
from edgetpu_lib.costs import layers
from edgetpu_lib.costs.constants import DEVICES
from edgetpu_lib.costs.estimate import Estimate, estimate_operators
from edgetpu_lib.hardware.operator_costs import OperatorCost

_KINDS = {
    "conv": "CONV_2D",
    "depthwise": "DEPTHWISE_CONV_2D",
    "dense": "FULLY_CONNECTED",
}


def spec_operators(spec: specs.ModelSpec) -> list[OperatorCost]:
    """Return the operators that `convert.to_int8_tflite` makes of a spec, in order."""
    skips = {
        f"block_{block.index}_project_conv"
        for block in specs.expand_blocks(spec)
        if block.skip
    }
    shape = (1, spec.image_size, spec.image_size, 3)
    rows = [_operator(0, "QUANTIZE", shape, math.prod(shape))]
    for layer in layers.layer_table(spec):
        if layer.kind == "dense":
            read_bytes, shape = math.prod(shape), (1, 1, 1, shape[-1])
            rows.append(_operator(len(rows), "AVERAGE_POOL_2D", shape, read_bytes))
        rows.append(_weighted(len(rows), layer, shape))
        shape = rows[-1].output_shape
        if layer.name in skips:
            rows.append(_operator(len(rows), "ADD", shape, 2 * math.prod(shape)))
    for kind in ("SOFTMAX", "QUANTIZE"):
        rows.append(_operator(len(rows), kind, shape, math.prod(shape)))
    return rows


def estimate_spec(
    spec: specs.ModelSpec, *, device: str = "usb", clock: str = "max"
) -> Estimate:
    """Estimate how long one inference of a network takes, without building it.

    Args:
        spec: from `specs.model_spec`, its stages changed or not.
        device: key of `constants.DEVICES`.
        clock: "max" for 500 MHz, or "std" for 250.
    """
    rows = spec_operators(spec)
    return estimate_operators(
        rows,
        input_bytes=rows[0].input_bytes,
        output_bytes=rows[-1].output_bytes,
        device=DEVICES[device],
        clock=clock,
    )


def _weighted(
    index: int, layer: layers.LayerCost, arriving: tuple[int, ...]
) -> OperatorCost:
    """Return the operator of a layer that reads a map of shape `arriving`."""
    side, channels = layer.output_size, layer.output_channels
    shape = (1, channels) if layer.kind == "dense" else (1, side, side, channels)
    return _operator(
        index,
        _KINDS[layer.kind],
        shape,
        math.prod(arriving),
        positions=side**2,
        kernel_area=layer.kernel_size**2,
        depth=1 if layer.kind == "depthwise" else arriving[-1],
        filters=channels,
    )


def _operator(
    index: int, kind: str, shape: tuple[int, ...], input_bytes: int, **filters: int
) -> OperatorCost:
    """Return the cost of an operator on 8-bit integers: one byte a number."""
    moved = {"input_bytes": input_bytes, "output_bytes": math.prod(shape)}
    return OperatorCost(index, kind, shape, **filters, **moved)
