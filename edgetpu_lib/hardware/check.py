"""Say whether the Edge TPU would take a TFLite file, and if not, why not.

Takes any `.tflite` file; gives a report: operators on the Edge TPU and on the CPU, and
every finding with its reason and remedy.
Used by `convert` before it gives out a file. It predicts what Google's compiler does
from public evidence (`edge_tpu`, `operator_rules`); only that compiler decides.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.hardware import edge_tpu, operator_costs, operator_rules
from edgetpu_lib.tflite.contract import TensorContract, takes_raw_pixels
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile, read_tflite

COMPILED_OPERATOR = "edgetpu-custom-op"


@dataclasses.dataclass(frozen=True)
class OperatorName:
    """Which operator is meant: position in the file, kind, version."""

    index: int
    kind: str
    version: int


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to know about a file.

    Attributes:
        code: stable name, for programs.
        level: "error" keeps the file from being ready; "note" does not.
        operator: the operator concerned, or `None` for the whole file.
        tensor: name of the tensor concerned, or `None`.
        reason: what was found, with its numbers.
        remedy: what the user can do.
    """

    code: str
    level: str
    operator: OperatorName | None
    tensor: str | None
    reason: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What the Edge TPU compiler would make of a file.

    Attributes:
        ready: all operators run on the Edge TPU, and answer rightly.
        edge_tpu_operators: how many run there.
        cpu_operators: how many the CPU is left with.
        findings: errors, then notes.
        input: what the first input is fed.
        feed: the same in words.
        statuses: (kind, the compiler's words) of each operator, in order.
    """

    ready: bool
    edge_tpu_operators: int
    cpu_operators: int
    findings: tuple[Finding, ...]
    input: TensorContract
    feed: str
    statuses: tuple[tuple[str, str], ...]

    @property
    def is_refused(self) -> bool:
        """Whether the compiler would make nothing of the file, not even a part."""
        return all(
            kind == COMPILED_OPERATOR or word == edge_tpu.NOT_COMPILED
            for kind, word in self.statuses
        )

    def operation_log(self) -> list[tuple[str, int, str]]:
        """Return (kind, count, status) rows, as in the compiler's operation log."""
        counts = collections.Counter(self.statuses)
        return [(kind, count, status) for (kind, status), count in counts.items()]


def check_tflite(
    model: str | Path | bytes, *, runtime: int = edge_tpu.NEWEST_RUNTIME
) -> Report:
    """Predict what the Edge TPU compiler makes of a TFLite file.

    An operator runs on the Edge TPU if it is supported and everything before it on
    its paths from the input does, too: only one subgraph is compiled. A QUANTIZE of a
    float input may stay in front.

    Args:
        model: path or bytes of a `.tflite` file.
        runtime: newest Edge TPU runtime the compiled file may ask for, 10 to 14.

    Raises:
        InputError: the file cannot be read, or `runtime` is out of range.

    Source: coral.ai, "TensorFlow models on the Edge TPU"; logs of the compiler in
    google-coral/edgetpu issues 210 and 490 (which branches stay together); Google's
    own compiled test files.

    See: notebooks/06_deploy.ipynb.
    """
    if not edge_tpu.OLDEST_RUNTIME <= runtime <= edge_tpu.NEWEST_RUNTIME:
        raise InputError(
            f"runtime {runtime} does not exist; give {edge_tpu.OLDEST_RUNTIME} to"
            f" {edge_tpu.NEWEST_RUNTIME}"
        )
    return check_file(read_tflite(model), runtime=runtime)


def check_file(file: TfliteFile, *, runtime: int = edge_tpu.NEWEST_RUNTIME) -> Report:
    """Predict the same of a file that is read already; see `check_tflite`."""
    findings = list(_refusals(file))
    if findings:
        words = [_word_of_refused(operator) for operator in file.operators]
    else:
        inputs, outputs = set(file.inputs), set(file.outputs)
        views = [operator_rules.View.of(file, o, runtime) for o in file.operators]
        problems = [list(_problems(view, inputs, outputs)) for view in views]
        words = list(_partition(file, problems))
        for operator in file.operators:
            findings += _errors(operator, problems[operator.index])
        findings += [*_per_channel_classifiers(file), *_notes(file)]
    contract = _input_contract(file)
    mapped = words.count(edge_tpu.MAPPED)
    return Report(
        ready=not any(finding.level == "error" for finding in findings),
        edge_tpu_operators=mapped,
        cpu_operators=len(words) - mapped,
        findings=tuple(findings),
        input=contract,
        feed=_feed(contract),
        statuses=tuple((o.kind, words[o.index]) for o in file.operators),
    )


def require_ready(content: bytes) -> Report:
    """Check a converted file, and refuse it if it is not ready.

    Args:
        content: of a `.tflite` file.

    Raises:
        InputError: the Edge TPU would not take all of it; the first reason is named.
    """
    report = check_tflite(content)
    if not report.ready:
        first = report.findings[0]
        at = f" (operator {first.operator.index})" if first.operator else ""
        raise InputError(
            f"the converted model is not ready for the Edge TPU: {first.reason}{at};"
            f" {first.remedy}"
        )
    return report


def _error(code: str, tensor: Tensor | None, reason: str, remedy: str) -> Finding:
    return Finding(code, "error", None, tensor and tensor.name, reason, remedy)


def _refusals(file: TfliteFile) -> Iterator[Finding]:
    """Yield the findings for which the compiler refuses the file as a whole."""
    if any(operator.kind == COMPILED_OPERATOR for operator in file.operators):
        yield _error(
            "already-compiled",
            None,
            "the file holds what the Edge TPU compiler made",
            "run it as it is; to check or compile, take the file without _edgetpu",
        )
        return
    if file.subgraphs > 1:
        yield _error(
            "several-subgraphs",
            None,
            f"{file.subgraphs} subgraphs: the model branches or loops while it runs",
            "remove conditions and loops from the model; unroll recurrent layers",
        )
    if not file.operators:
        yield _error(
            "no-operators", None, "the file computes nothing", "convert the model again"
        )
        return
    yield from _dynamic_shape(file)
    yield from _float_model(file)
    yield from _newer_operators(file)
    yield from _too_large(file)


def _dynamic_shape(file: TfliteFile) -> Iterator[Finding]:
    # One tensor is named: an open batch shows in all that follow the input.
    for tensor in _inputs_first(file):
        if any(size < 0 for size in (*tensor.shape_signature, *tensor.shape)):
            yield _error(
                "dynamic-shape",
                tensor,
                f"shape {list(tensor.shape_signature)}: −1 is open till the model runs",
                "fix the batch before conversion: keras.Input(shape, batch_size=1)",
            )
            return


def _inputs_first(file: TfliteFile) -> list[Tensor]:
    others = [t for t in file.tensors if not t.is_constant]
    return [*(file.tensors[i] for i in file.inputs), *others]


def _tensors(file: TfliteFile, indices: tuple[int, ...]) -> list[Tensor]:
    return [file.tensors[index] for index in indices if index >= 0]


def _float_model(file: TfliteFile) -> Iterator[Finding]:
    floats = [
        [t for t in _tensors(file, (*o.inputs, *o.outputs)) if t.is_float]
        for o in file.operators
        if not o.is_custom
    ]
    if floats and all(floats):
        yield _error(
            "float-model",
            floats[0][0],
            "no operator computes with integers alone: the model is not quantized",
            "quantize all of it: TFLITE_BUILTINS_INT8 as the only operator set, a"
            " representative data set, uint8 in and out",
        )


def _newer_operators(file: TfliteFile) -> Iterator[Finding]:
    for operator in file.operators:
        newest = edge_tpu.NEWEST_OPERATOR_VERSION.get(operator.kind)
        if not operator.is_custom and newest and operator.version > newest:
            yield from _errors(
                operator,
                [
                    operator_rules.Problem(
                        "operator-version",
                        edge_tpu.WRONG_VERSION,
                        None,
                        f"{operator.kind} version {operator.version}; the compiler"
                        f" knows up to {newest} and refuses the file",
                        _OLDER.get(operator.kind, "convert with an older TensorFlow"),
                    )
                ],
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


def _too_large(file: TfliteFile) -> Iterator[Finding]:
    tensor = max(_activations(file), key=lambda t: t.elements, default=None)
    if tensor and tensor.elements > edge_tpu.ACTIVATION_LIMIT_BYTES:
        yield _error(
            "activations-too-large",
            tensor,
            f"shape {list(tensor.shape)} is {tensor.elements / edge_tpu.MIB:.1f} MiB;"
            f" the Edge TPU has {edge_tpu.ACTIVATION_BYTES / edge_tpu.MIB:.0f} MiB"
            " for activations",
            "take a smaller input size, or stride earlier",
        )


def _activations(file: TfliteFile) -> list[Tensor]:
    used = {i for o in file.operators for i in (*o.inputs, *o.outputs) if i >= 0}
    return [file.tensors[i] for i in sorted(used) if not file.tensors[i].is_constant]


def _problems(
    view: operator_rules.View, inputs: set[int], outputs: set[int]
) -> Iterator[operator_rules.Problem]:
    """Yield an operator's problems; floats at the two ends get their own names."""
    operator = view.operator
    for problem in operator_rules.problems_of(view):
        if operator.kind == "QUANTIZE" and _reads_float_input(view, inputs):
            yield dataclasses.replace(
                problem,
                code="float-input",
                status=edge_tpu.LIMITATION,
                reason="the input is float; its QUANTIZE stays on the CPU",
                remedy="convert with inference_input_type=tf.uint8",
            )
        elif operator.kind == "QUANTIZE" and problem.code == "float-tensor":
            yield dataclasses.replace(
                problem,
                code="quantize-inside",
                reason="floats become integers in the middle of the model",
                remedy="quantize what comes before it, too",
            )
        elif operator.kind == "DEQUANTIZE" and set(operator.outputs) <= outputs:
            yield dataclasses.replace(
                problem,
                code="float-output",
                status=edge_tpu.WRONG_TYPE,
                reason="the output is float; its DEQUANTIZE stays on the CPU",
            )
        else:
            yield problem


def _reads_float_input(view: operator_rules.View, inputs: set[int]) -> bool:
    return view.inputs[0].is_float and view.operator.inputs[0] in inputs


def _errors(
    operator: Operator, problems: list[operator_rules.Problem]
) -> Iterator[Finding]:
    name = OperatorName(operator.index, operator.kind, operator.version)
    for problem in problems:
        yield Finding(
            problem.code,
            "error",
            name,
            problem.tensor and problem.tensor.name,
            problem.reason,
            problem.remedy,
        )


def _per_channel_classifiers(file: TfliteFile) -> Iterator[Finding]:
    """Yield what compiles, or may compile, and then answers wrongly."""
    for operator in file.operators:
        weights = _tensors(file, operator.inputs[1:2])
        if operator.kind != "FULLY_CONNECTED" or not weights:
            continue
        if len(weights[0].scales) > 1:
            yield Finding(
                "per-channel-fully-connected",
                "error",
                OperatorName(operator.index, operator.kind, operator.version),
                weights[0].name,
                f"{len(weights[0].scales)} scales on the weights: TFLite up to 2.9, of"
                " which the compiler is one, reads the first as zero and answers with"
                " equal scores",
                "convert with _experimental_disable_per_channel_quantization_for_"
                "dense_layers = True",
            )


def _partition(
    file: TfliteFile, problems: list[list[operator_rules.Problem]]
) -> Iterator[str]:
    """Yield the compiler's words for each operator."""
    on_cpu: set[int] = set()
    for operator in file.operators:
        found = problems[operator.index]
        if found:
            status = found[0].status
        elif on_cpu & set(operator.inputs):
            status = edge_tpu.CUT_OFF
        else:
            status = edge_tpu.MAPPED
        if status != edge_tpu.MAPPED and not (found and found[0].code == "float-input"):
            on_cpu |= set(operator.outputs) - {-1}
        yield status


def _word_of_refused(operator: Operator) -> str:
    if operator.kind == COMPILED_OPERATOR:
        return edge_tpu.MAPPED
    return edge_tpu.NOT_COMPILED


def _notes(file: TfliteFile) -> Iterator[Finding]:
    """Yield what is worth knowing and keeps nothing off the Edge TPU."""
    yield from _large_activations(file)
    yield from _streamed_parameters(file)
    yield from _requantizations(file)
    contract = _input_contract(file)
    if _is_image(contract) and contract.scale and not takes_raw_pixels(contract):
        yield Finding(
            "input-contract",
            "note",
            None,
            file.tensors[file.inputs[0]].name,
            f"scale {contract.scale:.7g} and zero point {contract.zero_point}: raw"
            " pixels are not the quantized input",
            f"feed {_feed(contract)}; calibrate with pixels that span 0 to 255 to"
            " feed them raw",
        )


def _large_activations(file: TfliteFile) -> Iterator[Finding]:
    tensor = max(_activations(file), key=lambda t: t.elements, default=None)
    limits = edge_tpu.ACTIVATION_BYTES, edge_tpu.ACTIVATION_LIMIT_BYTES
    if tensor and limits[0] < tensor.elements <= limits[1]:
        yield Finding(
            "activations-large",
            "note",
            None,
            tensor.name,
            f"shape {list(tensor.shape)} is {tensor.elements / edge_tpu.MIB:.1f} MiB,"
            f" more than the {limits[0] / edge_tpu.MIB:.0f} MiB for activations",
            "the compiler cuts it up, and sometimes fails; a smaller input size helps",
        )


def _streamed_parameters(file: TfliteFile) -> Iterator[Finding]:
    try:
        costs = operator_costs.operator_costs(file)
    except InputError:
        return  # Shapes that do not fit each other: nobody could compile or run it.
    on_device = sum(cost.parameter_bytes for cost in costs)
    streamed = on_device - edge_tpu.PARAMETER_CACHE_BYTES
    if streamed > 0:
        yield Finding(
            "parameters-streamed",
            "note",
            None,
            None,
            f"about {on_device / edge_tpu.MIB:.1f} MiB of parameters on the device,"
            f" {edge_tpu.PARAMETER_CACHE_BYTES / edge_tpu.MIB:.1f} MiB fit: about"
            f" {round(streamed):,} bytes are sent again for every inference",
            "take a smaller network, or --num-segments for several Edge TPUs",
        )


def _requantizations(file: TfliteFile) -> Iterator[Finding]:
    inputs, outputs = set(file.inputs), set(file.outputs)
    for operator in file.operators:
        ends = inputs & set(operator.inputs) or outputs & set(operator.outputs)
        if operator.kind != "QUANTIZE" or ends:
            continue
        if any(t.is_float for t in _tensors(file, operator.inputs)):
            continue
        yield Finding(
            "quantize-inside",
            "note",
            OperatorName(operator.index, operator.kind, operator.version),
            file.tensors[operator.outputs[0]].name,
            "integers change their scale in the middle of the model",
            "none is needed; each costs an operator and a rounding",
        )


def _input_contract(file: TfliteFile) -> TensorContract:
    tensors = _tensors(file, file.inputs[:1])
    if not tensors:
        return TensorContract(dtype="none", shape=(), scale=0.0, zero_point=0)
    scales, zero_points = tensors[0].scales, tensors[0].zero_points
    return TensorContract(
        dtype=tensors[0].dtype,
        shape=tensors[0].shape,
        scale=scales[0] if scales else 0.0,
        zero_point=zero_points[0] if zero_points else 0,
    )


def _is_image(contract: TensorContract) -> bool:
    bytes_in = contract.dtype in ("uint8", "int8")
    return bytes_in and len(contract.shape) == 4 and contract.shape[3] == 3


def _feed(contract: TensorContract) -> str:
    shape = "×".join(str(size) for size in contract.shape)
    if contract.dtype == "none":
        return "nothing: the model has no input"
    if not contract.scale:
        return f"{contract.dtype} values, {shape}, prepared as in training"
    if not _is_image(contract):
        arithmetic = f"round(x / {contract.scale:.7g}) + {contract.zero_point}"
        return f"{contract.dtype} {arithmetic}, {shape}"
    if takes_raw_pixels(contract):
        offset = "" if contract.dtype == "uint8" else " minus 128"
        return f"raw RGB bytes{offset}, {contract.dtype} {shape}"
    arithmetic = (
        f"round((pixel − 127) / 128 / {contract.scale:.7g}) + {contract.zero_point}"
    )
    return f"{arithmetic}, clipped to {contract.dtype}, {shape}"
