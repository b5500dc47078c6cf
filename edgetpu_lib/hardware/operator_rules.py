"""What keeps an operator off the Edge TPU: kind, types, rank, and limits of its kind.

Takes an operator and its tensors; gives its problems. The rules are coral.ai's (see
`edge_tpu.SUPPORTED`) unless another source is named.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.operator_limits import LIMITS, Problem, View, limit

# Inputs that must be stored in the file, by position.
_CONSTANT_INPUTS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "EXPAND_DIMS": (1,),
    "FULLY_CONNECTED": (1, 2),
    "MEAN": (1,),
    "PAD": (1,),
    "PRELU": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0, 1, 3),
}


def problems_of(view: View) -> Iterator[Problem]:
    """Yield all that keeps an operator off the Edge TPU, the most basic first."""
    unknown = _unknown(view)
    if unknown:
        yield unknown
        return
    computed = _computed_parameter(view)
    if computed:
        yield computed
        return
    wrong_type = _wrong_type(view)
    if wrong_type:
        yield wrong_type
        return
    for rule in (_rank, _fused_activation, LIMITS.get(view.operator.kind)):
        problem = rule(view) if rule else None
        if problem:
            yield problem


def _unknown(view: View) -> Problem | None:
    kind, first = view.operator.kind, edge_tpu.SUPPORTED.get(view.operator.kind)
    if view.operator.is_custom or first is None:
        return Problem(
            "unsupported-operator",
            edge_tpu.NOT_SUPPORTED,
            None,
            f"the Edge TPU has no {kind}",
            _REPLACEMENTS.get(kind, "replace it, or move it behind the last layer"),
        )
    if first > view.runtime:
        return Problem(
            "runtime-version",
            edge_tpu.NOT_SUPPORTED,
            None,
            f"{kind} needs runtime {first}, asked for is {view.runtime}",
            f"update the device's runtime and check with --runtime {first}",
        )
    return None


_REPLACEMENTS = {
    "ARG_MAX": "take the largest output on the host",
    "DEQUANTIZE": "convert with inference_output_type=tf.uint8",
    "EXP": "compute it on the host",
    "GELU": "use ReLU or ReLU6",
    "HARD_SWISH": "use ReLU or ReLU6",
    "LEAKY_RELU": "use ReLU, or PRELU with one slope a channel",
}


def _computed_parameter(view: View) -> Problem | None:
    for position in _CONSTANT_INPUTS.get(view.operator.kind, ()):
        tensor = (view.inputs[position : position + 1] or (None,))[0]
        if tensor is not None and not tensor.is_constant:
            return Problem(
                "non-constant-weights",
                edge_tpu.LIMITATION,
                tensor,
                f"input {position} of {view.operator.kind} is computed, not stored",
                "use fixed weights and sizes; build the model with a fixed input shape",
            )
    return None


def _wrong_type(view: View) -> Problem | None:
    for tensor in (*view.inputs, *view.outputs):
        if tensor is None or (tensor.is_constant and tensor.dtype == "int32"):
            continue
        # The memory of a quantized LSTM has 16 bits by definition.
        if view.operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            if tensor.dtype == "int16":
                continue
        if tensor.is_float:
            return Problem(
                "float-tensor",
                edge_tpu.WRONG_TYPE,
                tensor,
                f"{tensor.dtype} among integers",
                "quantize the whole model: TFLITE_BUILTINS_INT8 as the only operator"
                " set, and a representative data set",
            )
        if tensor.dtype not in ("int8", "uint8"):
            return Problem(
                "unsupported-type",
                edge_tpu.WRONG_TYPE,
                tensor,
                f"{tensor.dtype}, where the Edge TPU computes with 8-bit integers",
                "quantize to 8 bits, or compute this on the host",
            )
        if not tensor.scales:
            return Problem(
                "no-scale",
                edge_tpu.WRONG_TYPE,
                tensor,
                f"{tensor.dtype} without a scale",
                "convert with a representative data set",
            )
    return None


def _rank(view: View) -> Problem | None:
    for tensor in view.activations():
        if math.prod(tensor.shape[:-3]) > 1:
            return Problem(
                "rank",
                edge_tpu.WRONG_RANK,
                tensor,
                f"shape {list(tensor.shape)}: only the last three sizes may exceed 1",
                "convert with a batch of 1 and at most three other dimensions",
            )
    return None


def _fused_activation(view: View) -> Problem | None:
    if view.operator.kind not in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"):
        return None
    if not view.operator.options["FusedActivationFunction"]:
        return None
    return limit(
        "fused-activation",
        view.outputs[0],
        f"an activation is fused into {view.operator.kind}",
        "apply the activation before it, where it belongs to a convolution",
    )
