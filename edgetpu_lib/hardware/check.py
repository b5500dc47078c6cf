"""Predict what the Edge TPU compiler makes of a TFLite file.

The rules come from public evidence; only Google's compiler decides. Needs neither NumPy
nor a TFLite runtime.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.hardware import edge_tpu, findings, input_contract, operator_rules
from edgetpu_lib.hardware.findings import Finding
from edgetpu_lib.tflite.contract import PixelScale, TensorContract
from edgetpu_lib.tflite.file import TfliteFile, read_tflite
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR


@dataclasses.dataclass(frozen=True)
class Report:
    """What the Edge TPU compiler would make of a file.

    Attributes:
        ready: whether all operators run on the Edge TPU and compute rightly there.
        edge_tpu_operators: number of operators that run there.
        cpu_operators: number of operators that run on the CPU.
        findings: errors, then notes.
        input: type, shape and quantization of the first input.
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
        """Whether the compiler would not compile even a part of the file."""
        return all(
            kind == COMPILED_OPERATOR or word == edge_tpu.NOT_COMPILED
            for kind, word in self.statuses
        )

    def operation_log(self) -> list[tuple[str, int, str]]:
        """Return rows (kind, count, status), as in the compiler's operation log."""
        counts = collections.Counter(self.statuses)
        return [(kind, count, status) for (kind, status), count in counts.items()]


def check_tflite(
    model: str | Path | bytes,
    *,
    runtime: int = edge_tpu.NEWEST_RUNTIME,
    pixel_scale: PixelScale | None = None,
) -> Report:
    """Predict what the Edge TPU compiler makes of a TFLite file.

    Only one subgraph is compiled: an operator runs on the Edge TPU if it is supported
    and all operators between the input and it run there, too. A QUANTIZE of a float
    input may precede them on the CPU.

    Args:
        model: path or bytes of a `.tflite` file.
        runtime: newest Edge TPU runtime the compiled file may ask for, 10 to 14.
        pixel_scale: mean and standard deviation of the model's training, for `feed`;
            `None` takes what the file tells.

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
    return check_file(read_tflite(model), runtime=runtime, pixel_scale=pixel_scale)


def check_file(
    file: TfliteFile,
    *,
    runtime: int = edge_tpu.NEWEST_RUNTIME,
    pixel_scale: PixelScale | None = None,
) -> Report:
    """Do the same as `check_tflite` for a file that is read already."""
    found = list(findings.refusals(file))
    if found:
        compiled = [o.kind == COMPILED_OPERATOR for o in file.operators]
        words = [edge_tpu.MAPPED if c else edge_tpu.NOT_COMPILED for c in compiled]
    else:
        inputs, outputs = set(file.inputs), set(file.outputs)
        views = [operator_rules.View.of(file, o, runtime) for o in file.operators]
        problems = [list(_problems(view, inputs, outputs)) for view in views]
        words = list(_partition(file, problems))
        for operator in file.operators:
            found += findings.of_problems(operator, problems[operator.index])
        found += [*findings.wrong_predictions(file), *findings.notes(file)]
    mapped = words.count(edge_tpu.MAPPED)
    return Report(
        ready=not any(finding.level == "error" for finding in found),
        edge_tpu_operators=mapped,
        cpu_operators=len(words) - mapped,
        findings=tuple(found),
        input=input_contract.of_file(file),
        feed=input_contract.in_words(file, pixel_scale=pixel_scale),
        statuses=tuple((o.kind, words[o.index]) for o in file.operators),
    )


def require_ready(content: bytes) -> Report:
    """Check the content of a `.tflite` file and raise if it is not ready.

    Raises:
        InputError: not all of it would run on the Edge TPU; the first reason is named.
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


def _problems(
    view: operator_rules.View, inputs: set[int], outputs: set[int]
) -> Iterator[operator_rules.Problem]:
    """Yield an operator's problems; floats at the two ends get their own names."""
    operator = view.operator
    for problem in operator_rules.problems_of(view):
        quantizes = operator.kind == "QUANTIZE"
        if quantizes and view.inputs[0].is_float and operator.inputs[0] in inputs:
            yield dataclasses.replace(
                problem,
                code="float-input",
                status=edge_tpu.LIMITATION,
                reason="the input is float; its QUANTIZE stays on the CPU",
                remedy="convert with inference_input_type=tf.uint8",
            )
        elif quantizes and problem.code == "float-tensor":
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
                remedy="convert with inference_output_type=tf.uint8",
            )
        elif operator.kind == "CAST" and set(operator.inputs) <= inputs:
            yield dataclasses.replace(
                problem,
                reason="the input is cast to another type; the Edge TPU has no CAST",
                remedy="give the Keras model a float32 input, and convert with"
                " inference_input_type=tf.uint8",
            )
        else:
            yield problem


def _partition(
    file: TfliteFile, problems: list[list[operator_rules.Problem]]
) -> Iterator[str]:
    """Yield the compiler's status of each operator."""
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
