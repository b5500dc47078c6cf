"""The limits of operators that compute, as one small function each."""

from __future__ import annotations

import math

from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.evidence import RECALLED, SPARTA, TABLE, guess, issues, log
from edgetpu_lib.hardware.operator_limits import Excess, View, limit


@limit(
    "AVERAGE_POOL_2D MAX_POOL_2D CONCATENATION",
    "fused-activation",
    "has no activation fused into it",
    TABLE,
    remedy="apply the activation before it, where it belongs to a convolution",
)
def _fused_activation(view: View) -> Excess:
    if view.operator.options["FusedActivationFunction"]:
        yield view.outputs[0], f"an activation is fused into {view.operator.kind}"


@limit(
    "SOFTMAX",
    "softmax-limit",
    f"has one row of at most {edge_tpu.SOFTMAX_MAX_ELEMENTS:,} elements",
    TABLE,
    remedy="give out the logits and take the softmax on the host",
)
def _softmax(view: View) -> Excess:
    tensor, shape = view.inputs[0], view.inputs[0].shape
    most = edge_tpu.SOFTMAX_MAX_ELEMENTS
    if math.prod(shape[:-1]) > 1:
        yield tensor, f"softmax over shape {list(shape)}: its input must be one row"
    elif shape and shape[-1] > most:
        yield tensor, f"softmax over {shape[-1]:,} elements; at most {most:,}"


@limit(
    "FULLY_CONNECTED",
    "fully-connected-limit",
    "has weights in the default format",
    TABLE,
    remedy="convert again, without shuffled weights",
)
def _shuffled_weights(view: View) -> Excess:
    if view.operator.options["WeightsFormat"]:
        yield view.outputs[0], "shuffled weights; only the default format is known"


@limit(
    "FULLY_CONNECTED",
    "fully-connected-limit",
    "gives one row",
    TABLE,
    issues(27),
    remedy="apply the layer to one row, or use a 1 × 1 convolution",
)
def _several_rows(view: View) -> Excess:
    tensor, shape = view.outputs[0], view.outputs[0].shape
    if math.prod(shape[:-1]) > 1:
        yield tensor, f"output of shape {list(shape)}: only one row is possible"


@limit(
    "BATCH_MATMUL",
    "batch-matmul-limit",
    "has one scale for each of its tensors",
    log(f"{SPARTA}: per axis quantization is not supported"),
    guess("with two computed inputs, too"),
    remedy="quantize its weights per tensor, or make it a fully connected layer",
)
def _batch_matmul(view: View) -> Excess:
    for tensor in view.inputs[:2]:
        if tensor is not None and len(tensor.scales) > 1:
            yield tensor, f"{len(tensor.scales)} scales on an input of BATCH_MATMUL"


def _reduced_axes(view: View) -> set[int]:
    """Return the axes that a four-dimensional input is reduced over, 0..3."""
    rank = len(view.inputs[0].shape)
    return {axis % 4 for axis in view.constants(1)} if rank == 4 else set()


@limit(
    "REDUCE_MAX REDUCE_MIN SUM",
    "reduction-limit",
    "is not over the batch",
    TABLE,
    remedy="reduce over height, width or channels only",
)
def _reduction(view: View) -> Excess:
    if 0 in _reduced_axes(view):
        yield view.inputs[0], f"{view.operator.kind} over the batch"


_POOL = "pool with AveragePooling2D over height and width"


@limit(
    "MEAN",
    "mean-limit",
    "is not over the batch; over channels, of 4 × n and from runtime 13",
    TABLE,
    remedy=_POOL,
)
def _mean_axes(view: View) -> Excess:
    tensor, axes = view.inputs[0], _reduced_axes(view)
    if 0 in axes:
        yield tensor, "mean over the batch"
    elif 3 in axes and view.runtime < 13:
        yield tensor, f"mean over {tensor.shape[3]} channels; runtime 13 is needed"
    elif 3 in axes and tensor.shape[3] % 4:
        yield tensor, f"mean over {tensor.shape[3]} channels, not 4 × n"


@limit(
    "MEAN",
    "mean-limit",
    f"is over maps of at most {edge_tpu.MEAN_MAX_POSITIONS:,} positions",
    issues(183, 461),
    guess("where the limit lies"),
    remedy=_POOL,
)
def _mean_size(view: View) -> Excess:
    positions = math.prod(view.inputs[0].shape[-3:-1])
    if positions > edge_tpu.MEAN_MAX_POSITIONS:
        reason = f"mean of {positions:,} positions; such maps were seen to fail"
        yield view.inputs[0], reason


@limit(
    "CONV_2D DEPTHWISE_CONV_2D",
    "dilation-limit",
    "has the same dilation in both directions",
    TABLE,
    guess("dilation in a depthwise convolution from runtime 13"),
    remedy="use the same dilation in both directions",
)
def _dilation(view: View) -> Excess:
    high, wide = (view.operator.options[f"Dilation{side}Factor"] for side in "HW")
    depthwise = view.operator.kind == "DEPTHWISE_CONV_2D"
    if high != wide:
        yield view.inputs[0], f"dilation {high} × {wide}; both must be the same"
    elif high > 1 and depthwise and view.runtime < 13:
        yield view.inputs[0], "dilation in a depthwise convolution needs runtime 13"


@limit(
    "PRELU",
    "prelu-limit",
    "has one slope for each channel",
    RECALLED,
    remedy="share the slopes: keras.layers.PReLU(shared_axes=[1, 2])",
)
def _prelu(view: View) -> Excess:
    tensor, shape = view.inputs[1], view.inputs[1].shape
    if math.prod(shape[:-1]) > 1:
        yield tensor, f"slopes of shape {list(shape)}; one a channel is possible"
