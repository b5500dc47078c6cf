"""What keeps an operator off the Edge TPU: kind, types, rank, limits of its kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator

from edgetpu_lib.hardware import computing_limits, edge_tpu, evidence, moving_limits
from edgetpu_lib.hardware.evidence import Rule
from edgetpu_lib.hardware.operator_limits import LIMITS, RULES, Problem, View

# Modules that are imported for the limits that they register.
_REGISTERED = (computing_limits, moving_limits)

# Inputs that must be stored in the file, by position.
_CONSTANT_INPUTS = edge_tpu.by_name(
    ((0,), "SPLIT"),
    ((1,), "EXPAND_DIMS MEAN PAD PRELU REDUCE_MAX REDUCE_MIN RESHAPE RESIZE_BILINEAR"),
    ((1,), "RESIZE_NEAREST_NEIGHBOR SUM TILE TRANSPOSE"),
    ((1, 2), "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED SLICE"),
    ((1, 2, 3), "STRIDED_SLICE"),
    ((0, 1, 3), "TRANSPOSE_CONV"),
)
# Kind → what to do about it. For other kinds it depends on where the operator stands.
_REPLACEMENTS = {
    "ARG_MAX": "take the largest output on the host",
    "DEQUANTIZE": "quantize what comes behind it, too",
    "EXP": "compute it on the host",
    "GELU": "use ReLU or ReLU6",
    "HARD_SWISH": "use ReLU or ReLU6",
    "LEAKY_RELU": "use ReLU, or PRELU with one slope a channel",
}
REPLACE = "replace it, or move it behind the last layer"


def rules() -> list[Rule]:
    """Return all rules of the check: of files and any operator, then of kinds."""
    return [*evidence.GENERAL, *edge_tpu.SUPPORTED_RULES, *RULES]


def rules_of(kinds: Collection[str]) -> list[Rule]:
    """Return the rules of these kinds of operators, each naming these kinds alone."""
    found = [(rule, [k for k in rule.kinds if k in kinds]) for rule in rules()]
    return [dataclasses.replace(r, about=" ".join(k)) for r, k in found if k]


def rules_named(code: str) -> list[Rule]:
    """Return the rules that give findings of a code."""
    return [rule for rule in rules() if rule.code == code]


def table() -> str:
    """Return all rules with their evidence as a table in Markdown."""
    rows = [
        f"| {rule.about} | {rule.demand} | {'<br>'.join(map(str, rule.evidence))} |"
        f" `{rule.code}` |"
        for rule in rules()
    ]
    header = ["| of | rule | evidence | code |", "|---|---|---|---|"]
    return "\n".join([*header, *rows]) + "\n"


def problems_of(view: View) -> Iterator[Problem]:
    """Yield all that keeps an operator off the Edge TPU, the most basic first."""
    for rule in (_unknown, _computed_parameter, _wrong_type):
        if problem := rule(view):
            yield problem
            return
    if problem := _rank(view):
        yield problem
    for exceeded in LIMITS.get(view.operator.kind, ()):
        yield from exceeded(view)


def _unknown(view: View) -> Problem | None:
    kind, first = view.operator.kind, edge_tpu.SUPPORTED.get(view.operator.kind)
    if view.operator.is_custom or first is None:
        return Problem(
            "unsupported-operator",
            edge_tpu.NOT_SUPPORTED,
            None,
            f"the Edge TPU has no {kind}",
            _REPLACEMENTS.get(kind, REPLACE),
        )
    if first > view.runtime:
        return Problem(
            "runtime-version",
            edge_tpu.NOT_SUPPORTED,
            None,
            f"{kind} needs runtime {first}, asked for is {view.runtime}",
            f"update the device's runtime and check with --runtime {first}",
            next(r.evidence for r in edge_tpu.SUPPORTED_RULES if kind in r.kinds),
        )
    return None


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
    is_lstm = view.operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    for tensor in (*view.inputs, *view.outputs):
        if tensor is None or (tensor.is_constant and tensor.dtype == "int32"):
            continue
        # The memory of a quantized LSTM has 16 bits by definition.
        if is_lstm and tensor.dtype == "int16":
            continue
        if tensor.is_float:
            code, reason = "float-tensor", f"{tensor.dtype} among integers"
            remedy = (
                "quantize the whole model: TFLITE_BUILTINS_INT8 as the only operator"
                " set, and a representative data set"
            )
        elif tensor.dtype not in ("int8", "uint8"):
            code = "unsupported-type"
            reason = f"{tensor.dtype}, where the Edge TPU computes with 8-bit integers"
            remedy = "quantize to 8 bits, or compute this on the host"
        elif not tensor.scales:
            code, reason = "no-scale", f"{tensor.dtype} without a scale"
            remedy = "convert with a representative data set"
        else:
            continue
        return Problem(code, edge_tpu.WRONG_TYPE, tensor, reason, remedy)
    return None


def _rank(view: View) -> Problem | None:
    computed = [t for t in view.inputs if t is not None and not t.is_constant]
    for tensor in (*computed, *view.outputs):
        if math.prod(tensor.shape[:-3]) > 1:
            return Problem(
                "rank",
                edge_tpu.WRONG_RANK,
                tensor,
                f"shape {list(tensor.shape)}: only the last three sizes may exceed 1",
                "convert with a batch of 1 and at most three other dimensions",
            )
    return None
