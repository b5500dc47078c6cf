"""`check`: a TFLite file in, what the Edge TPU would run of it out."""

from __future__ import annotations

import collections
import dataclasses
from typing import Annotated

import click

from edgetpu_lib.commands import model_flags, options, tables
from edgetpu_lib.hardware import check as stage
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.findings import Finding

EXIT_NOT_READY = 1
# Operators named per finding; `--json` names all.
_SHOWN = 3
Runtime = Annotated[
    int, click.IntRange(edge_tpu.OLDEST_RUNTIME, edge_tpu.NEWEST_RUNTIME)
]


@options.command
@options.JSON
def check(
    model: str,
    *,
    runtime: Runtime = edge_tpu.NEWEST_RUNTIME,
    pixels: model_flags.Pixels,
    as_json: bool,
) -> int:
    """Check which operators of a TFLite file run on the Edge TPU.

    Reads the file alone; needs no compiler and no device. Exit code 0: all operators
    run on the Edge TPU. 1: not all do, or the results would be wrong. 2: the file is
    no readable model.

    Args:
        model: .tflite file.
        runtime: version of the Edge TPU runtime on the device.
    """
    report = stage.check_tflite(model, runtime=runtime, pixel_scale=pixels.read())
    if as_json:
        options.print_result(as_dict(report), True, [])
    else:
        show(model, report)
    return 0 if report.ready else EXIT_NOT_READY


def as_dict(report: stage.Report) -> dict:
    """Return a report for JSON."""
    return {
        "ready": report.ready,
        "edge_tpu_operators": report.edge_tpu_operators,
        "cpu_operators": report.cpu_operators,
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
        "input": dataclasses.asdict(report.input),
        "feed": report.feed,
        "operations": [
            {"operator": kind, "count": count, "status": status}
            for kind, count, status in report.operation_log()
        ],
    }


def show(model: str, report: stage.Report) -> None:
    """Print a report for a person."""
    print(f"{model} {'is' if report.ready else 'is not'} ready for the Edge TPU.")
    print(
        f"Number of operations that will run on Edge TPU: {report.edge_tpu_operators}"
    )
    print(f"Number of operations that will run on CPU: {report.cpu_operators}")
    print(f"Feed: {report.feed}")
    for heading, lines in _grouped(report):
        tables.print_heading(f"\n{heading}")
        for line in lines:
            print(f"  {line}")
    print()
    rows = [
        (kind, str(count), status) for kind, count, status in report.operation_log()
    ]
    tables.print_table(("Operator", "Count", "Status"), rows)
    print("Predicted from public evidence; Google's compiler decides.")


def _grouped(report: stage.Report) -> list[tuple[str, list[str]]]:
    """Return a heading and lines for each group of findings with the same text."""
    groups = collections.defaultdict(list)
    for finding in report.findings:
        key = finding.level, finding.code, finding.reason, finding.remedy
        groups[key].append(finding)
    return [
        (f"{level} {code}: {reason}", [*_places(findings), f"remedy: {remedy}"])
        for (level, code, reason, remedy), findings in groups.items()
    ]


def _places(findings: list[Finding]) -> list[str]:
    """Name the operators and tensors of the first findings."""
    lines = []
    for finding in findings[:_SHOWN]:
        parts = []
        if operator := finding.operator:
            parts += [f"operator {operator.index}, {operator.kind} v{operator.version}"]
        if finding.tensor:
            parts += [f"tensor {finding.tensor}"]
        lines += [", ".join(parts)] if parts else []
    if len(findings) > _SHOWN:
        lines.append(f"and {len(findings) - _SHOWN} more")
    return lines
