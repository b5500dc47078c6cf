"""`check`: a TFLite file in, what the Edge TPU would make of it out."""

from __future__ import annotations

import collections
import dataclasses
import functools

import click

from edgetpu_lib.commands import options
from edgetpu_lib.hardware import check as stage
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.findings import Finding

EXIT_NOT_READY = 1


@click.command()
@click.argument("model", metavar="MODEL.tflite")
@click.option(
    "--runtime",
    type=click.IntRange(edge_tpu.OLDEST_RUNTIME, edge_tpu.NEWEST_RUNTIME),
    default=edge_tpu.NEWEST_RUNTIME,
    show_default=True,
    help="Version of the Edge TPU runtime on the device.",
)
@options.JSON
def check(model: str, runtime: int, as_json: bool) -> int:
    """Say whether the Edge TPU would take a TFLite file, and if not, why not.

    Reads the file alone; needs no compiler and no device. Exit code 0: all of it runs
    on the Edge TPU. 1: not all, or it would answer wrongly. 2: not a readable model.
    """
    report = stage.check_tflite(model, runtime=runtime)
    if as_json:
        options.show(as_dict(report), True, [])
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
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    say = functools.partial(console.print, soft_wrap=True)
    say(f"{model} {'is' if report.ready else 'is not'} ready for the Edge TPU.")
    say(f"Number of operations that will run on Edge TPU: {report.edge_tpu_operators}")
    say(f"Number of operations that will run on CPU: {report.cpu_operators}")
    say(f"Feed: {report.feed}")
    for heading, lines in _grouped(report):
        say(f"\n{heading}", style="bold")
        for line in lines:
            say(f"  {line}")
    table = Table("Operator", "Count", "Status", box=None, pad_edge=False)
    for kind, count, status in report.operation_log():
        table.add_row(kind, str(count), status)
    say()
    console.print(table)
    say("Predicted from public evidence; Google's compiler decides.")


def _grouped(report: stage.Report) -> list[tuple[str, list[str]]]:
    """Return findings with the same words once, with all their operators."""
    groups = collections.defaultdict(list)
    for finding in report.findings:
        key = finding.level, finding.code, finding.reason, finding.remedy
        groups[key].append(finding)
    return [
        (f"{level} {code}: {reason}", [*_places(findings), f"remedy: {remedy}"])
        for (level, code, reason, remedy), findings in groups.items()
    ]


def _places(findings: list[Finding], shown: int = 3) -> list[str]:
    lines = []
    for finding in findings[:shown]:
        operator, tensor = finding.operator, finding.tensor
        parts = []
        if operator:
            name = f"operator {operator.index}, {operator.kind} v{operator.version}"
            parts.append(name)
        if tensor:
            parts.append(f"tensor {tensor}")
        if parts:
            lines.append(", ".join(parts))
    if len(findings) > shown:
        lines.append(f"and {len(findings) - shown} more")
    return lines
