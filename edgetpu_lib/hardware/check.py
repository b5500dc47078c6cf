"""Predict what the Edge TPU compiler makes of a TFLite file.

The rules come from public evidence; only Google's compiler decides. Needs neither NumPy
nor a TFLite runtime.
"""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.hardware import (
    edge_tpu,
    findings,
    input_contract,
    operator_rules,
    partition,
)
from edgetpu_lib.hardware.findings import Finding
from edgetpu_lib.tflite.contract import PixelScale, TensorContract
from edgetpu_lib.tflite.file import TfliteFile, read_tflite
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR


@dataclasses.dataclass(frozen=True)
class Report:
    """What the Edge TPU compiler would make of a file.

    Attributes:
        ready: whether all operators run on the Edge TPU.
        edge_tpu_operators: number of operators that run there.
        cpu_operators: number of operators that run on the CPU.
        findings: errors, then warnings, then notes.
        input: type, shape and quantization of the first input.
        feed: the same in words.
        statuses: (kind, the compiler's words) of each operator, in order.
        only_postprocessing_left: whether all that runs on the CPU is postprocessing,
            such as a detection's, behind what runs on the Edge TPU.
    """

    ready: bool
    edge_tpu_operators: int
    cpu_operators: int
    findings: tuple[Finding, ...]
    input: TensorContract
    feed: str
    statuses: tuple[tuple[str, str], ...]
    only_postprocessing_left: bool = False

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
    and all operators between the input and it run there, too. Operators that cannot
    may stay in front of them on the CPU.

    Args:
        model: path or bytes of a `.tflite` file.
        runtime: newest Edge TPU runtime the compiled file may ask for, 10 to 14.
        pixel_scale: mean and standard deviation of the model's training, for `feed`;
            `None` takes what the file tells.

    Raises:
        InputError: the file cannot be read, or `runtime` is out of range.

    Source: each rule names its evidence, see `operator_rules.rules`.

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
        views = [operator_rules.View.of(file, o, runtime) for o in file.operators]
        problems = partition.problems_in_place(file, views)
        words = partition.statuses(file, problems)
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
        only_postprocessing_left=partition.leaves_postprocessing_alone(file, words),
    )


def require_ready(content: bytes) -> Report:
    """Check the content of a `.tflite` file of our own and raise if it is not ready.

    Raises:
        InputError: not all of it would run on the Edge TPU, or some interpreter would
            predict wrongly; the first reason is named.
    """
    report = check_tflite(content)
    first = next((f for f in report.findings if f.level != "note"), None)
    if first:
        at = f" (operator {first.operator.index})" if first.operator else ""
        raise InputError(
            f"the converted model is not ready for the Edge TPU: {first.reason}{at};"
            f" {first.remedy}"
        )
    return report
