"""Cost and latency of a network that is not built yet.

Takes a spec; gives the operators that its int8 model would have, and the estimate of
their time. `search` calls it for hundreds of networks.
"""

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
    """Return the operators that `convert.to_int8_tflite` makes of a spec, in order.

    All feature maps are 8-bit integers: one byte a number.

    Args:
        spec: from `specs.model_spec`, its stages changed or not.
    """
    skips = {
        f"block_{block.index}_project_conv"
        for block in specs.expand_blocks(spec)
        if block.skip
    }
    arriving = (1, spec.image_size, spec.image_size, 3)
    rows = [_without_weights(0, "QUANTIZE", arriving, math.prod(arriving))]
    for layer in layers.layer_table(spec):
        if layer.kind == "dense":
            pooled = (1, 1, 1, arriving[-1])
            rows.append(
                _without_weights(
                    len(rows), "AVERAGE_POOL_2D", pooled, math.prod(arriving)
                )
            )
            arriving = pooled
        row = _weighted(len(rows), layer, arriving)
        rows.append(row)
        arriving = row.output_shape
        if layer.name in skips:
            read_bytes = 2 * math.prod(arriving)
            rows.append(_without_weights(len(rows), "ADD", arriving, read_bytes))
    for kind in ("SOFTMAX", "QUANTIZE"):
        rows.append(_without_weights(len(rows), kind, arriving, math.prod(arriving)))
    return rows


def estimate_spec(
    spec: specs.ModelSpec, *, device: str = "usb", clock: str = "max"
) -> Estimate:
    """Estimate how long one inference of a network takes, without building it.

    Args:
        spec: from `specs.model_spec`, its stages changed or not.
        device: key of `constants.DEVICES`.
        clock: "max" for 500 MHz, or "std" for 250.

    Returns:
        What `estimate.estimate_tflite` returns for the network's int8 model.
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
    is_dense = layer.kind == "dense"
    shape = (1, channels) if is_dense else (1, side, side, channels)
    return OperatorCost(
        index=index,
        kind=_KINDS[layer.kind],
        output_shape=shape,
        positions=side**2,
        kernel_area=layer.kernel_size**2,
        depth=1 if layer.kind == "depthwise" else arriving[-1],
        filters=channels,
        input_bytes=math.prod(arriving),
        output_bytes=math.prod(shape),
    )


def _without_weights(
    index: int, kind: str, output_shape: tuple[int, ...], input_bytes: int
) -> OperatorCost:
    return OperatorCost(
        index=index,
        kind=kind,
        output_shape=output_shape,
        positions=0,
        kernel_area=0,
        depth=0,
        filters=0,
        input_bytes=input_bytes,
        output_bytes=math.prod(output_shape),
    )
