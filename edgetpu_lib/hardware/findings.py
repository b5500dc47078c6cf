"""Findings of the check: what keeps a file off the Edge TPU, and what else to know."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.hardware import (
    edge_tpu,
    evidence,
    input_contract,
    operator_costs,
    parameter_cache,
)
from edgetpu_lib.hardware.evidence import Evidence
from edgetpu_lib.hardware.operator_rules import Problem
from edgetpu_lib.tflite import preprocessing
from edgetpu_lib.tflite.contract import UNKNOWN
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR


@dataclasses.dataclass(frozen=True)
class OperatorName:
    """An operator of a file: position, kind, version."""

    index: int
    kind: str
    version: int


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to know about a file.

    Attributes:
        code: stable name, for programs.
        level: "error" keeps the file from being ready; "warning" says what may predict
            wrongly somewhere, "note" what is worth knowing.
        operator: the operator concerned, or `None` for the whole file.
        tensor: name of the tensor concerned, or `None`.
        reason: what was found, with its numbers.
        remedy: what the user can do.
        evidence: what the rule behind it rests on.
    """

    code: str
    level: str
    operator: OperatorName | None
    tensor: str | None
    reason: str
    remedy: str
    evidence: tuple[Evidence, ...] = ()


def _error(
    code: str,
    reason: str,
    remedy: str,
    *,
    tensor: Tensor | None = None,
    operator: Operator | None = None,
    level: str = "error",
    why: tuple[Evidence, ...] = (),
) -> Finding:
    name = operator and OperatorName(operator.index, operator.kind, operator.version)
    why = why or evidence.of_code(code)
    return Finding(code, level, name, tensor and tensor.name, reason, remedy, why)


_warning = functools.partial(_error, level="warning")
_note = functools.partial(_error, level="note")


def refusals(file: TfliteFile) -> Iterator[Finding]:
    """Yield the findings for which the compiler refuses the file as a whole."""
    if any(operator.kind == COMPILED_OPERATOR for operator in file.operators):
        yield _error(
            "already-compiled",
            "the file holds what the Edge TPU compiler made",
            "run it as it is; to check or compile, take the file before compilation",
        )
        return
    if file.subgraphs > 1:
        yield _several_subgraphs(file)
    if not file.operators:
        yield _error(
            "no-operators", "the file computes nothing", "convert the model again"
        )
        return
    yield from _dynamic_shape(file)
    yield from _float_model(file)
    yield from _newer_operators(file)
    # In a file that is not refused they are notes.
    yield from (f for f in _large_activations(file) if f.level == "error")


# What calls other subgraphs → what it means for the model, remedy.
_CALLERS = (
    (
        ("IF", "WHILE", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE"),
        "the model branches or loops while it runs",
        "remove conditions and loops from the model; unroll recurrent layers",
    ),
    (
        ("CALL_ONCE",),
        "one sets up variables before the model runs",
        "convert a model without variables that change; unroll recurrent layers",
    ),
    (
        ("STABLEHLO_COMPOSITE",),
        "each composite operator stands for one",
        "convert without composites, so that the file holds the operators themselves",
    ),
    (
        (),
        "the first calls no other, so that each is a signature of its own",
        "convert one signature alone, into a file of its own",
    ),
)


def _several_subgraphs(file: TfliteFile) -> Finding:
    """Say what a file with several subgraphs has them for."""
    kinds = {operator.kind for operator in file.operators}
    meaning, remedy = next(
        (meaning, remedy)
        for callers, meaning, remedy in _CALLERS
        if not callers or kinds & set(callers)
    )
    reason = f"{file.subgraphs} subgraphs: {meaning}"
    return _error("several-subgraphs", reason, remedy)


def of_problems(operator: Operator, problems: Iterable[Problem]) -> Iterator[Finding]:
    """Yield what is wrong with one operator as errors."""
    for p in problems:
        where = {"tensor": p.tensor, "operator": operator}
        yield _error(p.code, p.reason, p.remedy, **where, why=p.evidence)


def wrong_predictions(file: TfliteFile) -> Iterator[Finding]:
    """Yield warnings of what predicts wrongly in some interpreters."""
    for operator in file.operators:
        weights = _tensors(file, operator.inputs[1:2])
        is_dense = operator.kind == "FULLY_CONNECTED" and weights
        if is_dense and len(weights[0].scales) > 1:
            yield _warning(
                "per-channel-fully-connected",
                f"{len(weights[0].scales)} scales on the weights: TFLite up to 2.9"
                " gives zeros on a CPU; compiled by version 16, one public measurement"
                " has 77.4 % right against 77.8 % of the float model",
                "convert with _experimental_disable_per_channel_quantization_for_"
                "dense_layers = True",
                tensor=weights[0],
                operator=operator,
            )


def notes(file: TfliteFile) -> Iterator[Finding]:
    """Yield what is worth knowing and keeps nothing off the Edge TPU."""
    yield from _large_activations(file)
    yield from _streamed_parameters(file)
    yield from _requantizations(file)
    contract = input_contract.of_file(file)
    is_scaled_image = input_contract.is_image(contract) and contract.scale
    if is_scaled_image and not preprocessing.of_file(file):
        yield _note(
            "input-contract",
            f"scale {contract.scale:.7g} and zero point {contract.zero_point}: raw"
            " pixels are not the quantized input",
            f"{UNKNOWN}; calibrate with pixels that span 0 to 255 to feed them raw",
            tensor=file.tensors[file.inputs[0]],
        )


def _tensors(file: TfliteFile, indices: Iterable[int]) -> list[Tensor]:
    return [file.tensors[index] for index in indices if index >= 0]


def _dynamic_shape(file: TfliteFile) -> Iterator[Finding]:
    inputs = [file.tensors[index] for index in file.inputs]
    # One tensor is named: an open batch shows in all that follow the input.
    for tensor in (*inputs, *(t for t in file.tensors if not t.is_constant)):
        if any(size < 0 for size in (*tensor.shape_signature, *tensor.shape)):
            yield _error(
                "dynamic-shape",
                f"shape {list(tensor.shape_signature)}: −1 is open till the model runs",
                "fix the batch before conversion: keras.Input(shape, batch_size=1)",
                tensor=tensor,
            )
            return


def _float_model(file: TfliteFile) -> Iterator[Finding]:
    floats = [
        [t for t in _tensors(file, (*o.inputs, *o.outputs)) if t.is_float]
        for o in file.operators
        if not o.is_custom
    ]
    if floats and all(floats):
        yield _error(
            "float-model",
            "no operator computes with integers alone: the model is not quantized",
            "quantize all of it: TFLITE_BUILTINS_INT8 as the only operator set, a"
            " representative data set, uint8 in and out",
            tensor=floats[0][0],
        )


# What raises a version. Source: tensorflow op_version.cc.
_OLDER = {
    "CONV_2D": "avoid grouped convolutions (groups=1)",
    "EXP": "compute it on the host",
    "FULLY_CONNECTED": "quantize activations, too: add a representative data set",
    "QUANTIZE": "quantize after training; weights of quantization-aware training"
    " keep a QUANTIZE for each channel",
    "TRANSPOSE_CONV": "take the activation out of the transposed convolution",
}


def _newer_operators(file: TfliteFile) -> Iterator[Finding]:
    for operator in file.operators:
        newest = edge_tpu.NEWEST_OPERATOR_VERSION.get(operator.kind)
        if not operator.is_custom and newest and operator.version > newest:
            yield _error(
                "operator-version",
                f"{operator.kind} version {operator.version}; the compiler knows up to"
                f" {newest} and refuses the file",
                _OLDER.get(operator.kind, "convert with an older TensorFlow"),
                operator=operator,
            )


def _large_activations(file: TfliteFile) -> Iterator[Finding]:
    """Yield an error if the largest activation cannot be cut up, a note if it must."""
    used = {i for o in file.operators for i in (*o.inputs, *o.outputs) if i >= 0}
    activations = [t for t in _tensors(file, sorted(used)) if not t.is_constant]
    tensor = max(activations, key=lambda t: t.elements, default=None)
    if not tensor or tensor.elements <= edge_tpu.ACTIVATION_BYTES:
        return
    reason = (
        f"shape {list(tensor.shape)} is {tensor.elements / edge_tpu.MIB:.1f} MiB; the"
        f" Edge TPU has {edge_tpu.ACTIVATION_BYTES / edge_tpu.MIB:.0f} MiB for"
        " activations"
    )
    if tensor.elements > edge_tpu.ACTIVATION_LIMIT_BYTES:
        remedy = "take a smaller input size, or stride earlier"
        yield _error("activations-too-large", reason, remedy, tensor=tensor)
    else:
        remedy = "the compiler cuts it up, but sometimes fails; use a smaller input"
        yield _note("activations-large", reason, remedy, tensor=tensor)


def _streamed_parameters(file: TfliteFile) -> Iterator[Finding]:
    try:
        costs = operator_costs.operator_costs(file)
    except InputError:
        return  # Shapes that do not fit each other: nobody could compile or run it.
    on_device = sum(cost.parameter_bytes for cost in costs)
    cached = parameter_cache.cached_operators(costs)
    streamed = sum(c.parameter_bytes for c in costs if c.index not in cached)
    if streamed:
        room = parameter_cache.cache_bytes(costs) / edge_tpu.MIB
        yield _note(
            "parameters-streamed",
            f"about {on_device / edge_tpu.MIB:.1f} MiB of parameters on the device,"
            f" where {room:.1f} MiB fit: about {streamed:,} bytes, of whole layers, are"
            " sent again for every inference",
            "take a smaller network, or --num-segments for several Edge TPUs",
        )


def _requantizations(file: TfliteFile) -> Iterator[Finding]:
    inputs, outputs = set(file.inputs), set(file.outputs)
    for operator in file.operators:
        ends = inputs & set(operator.inputs) or outputs & set(operator.outputs)
        has_float = any(t.is_float for t in _tensors(file, operator.inputs))
        if operator.kind == "QUANTIZE" and not ends and not has_float:
            yield _note(
                "quantize-inside",
                "integers change their scale in the middle of the model",
                "none is needed; each costs an operator and a rounding",
                tensor=file.tensors[operator.outputs[0]],
                operator=operator,
            )
