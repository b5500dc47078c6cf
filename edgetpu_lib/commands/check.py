"""`check`: a TFLite file in, what the Edge TPU would run of it out."""

from __future__ import annotations

import collections
import dataclasses
from typing import Annotated

import click

from edgetpu_lib.commands import model_flags, options, tables
from edgetpu_lib.hardware import check as stage
from edgetpu_lib.hardware import edge_tpu, operator_rules
from edgetpu_lib.hardware.evidence import Rule
from edgetpu_lib.hardware.findings import Finding
from edgetpu_lib.tflite import model_explorer as explorer

EXIT_NOT_READY = 1
# Operators named per finding; `--json` names all.
_SHOWN = 3
Runtime = Annotated[
    int, click.IntRange(edge_tpu.OLDEST_RUNTIME, edge_tpu.NEWEST_RUNTIME)
]


@options.command
@click.option("--explain", is_flag=True, help="Name the evidence behind each rule.")
@click.option(
    "--allow_cpu_tail",
    is_flag=True,
    help="Exit with 0 if only postprocessing, as of detections, runs on the CPU.",
)
@options.JSON
def check(
    model: str,
    *,
    runtime: Runtime = edge_tpu.NEWEST_RUNTIME,
    pixels: model_flags.Scale,
    model_explorer: str | None = None,
    explain: bool,
    allow_cpu_tail: bool,
    as_json: bool,
) -> int:
    """Check which operators of a TFLite file run on the Edge TPU.

    Reads the file alone; needs no compiler and no device. Exit code 0: all operators
    run on the Edge TPU. 1: not all do. 2: the file is no readable model.

    Args:
        model: .tflite file.
        runtime: version of the Edge TPU runtime on the device.
        model_explorer: .json file to write for Model Explorer: 1 for each operator on
            the Edge TPU, 0 for each on the CPU.
    """
    report = stage.check_tflite(model, runtime=runtime, pixel_scale=pixels.read())
    rules = _rules_for(report) if explain else []
    if model_explorer:
        words = enumerate(word for _, word in report.statuses)
        values = {index: int(word == edge_tpu.MAPPED) for index, word in words}
        colours = {"low": explorer.GREY, "high": explorer.GREEN}
        explorer.write(model_explorer, values, **colours)
    if as_json:
        content = as_dict(report)
        if explain:
            content["rules"] = [dataclasses.asdict(rule) for rule in rules]
        options.print_result(content, True, [])
    else:
        show(model, report, explain=explain)
        _show_rules(rules)
    is_fine = report.ready or (allow_cpu_tail and report.only_postprocessing_left)
    return 0 if is_fine else EXIT_NOT_READY


def _rules_for(report: stage.Report) -> list[Rule]:
    """Return the rules of the kinds of operators in a file, and of what is left out."""
    rules = operator_rules.rules_of({kind for kind, _ in report.statuses})
    if report.cpu_operators and not report.is_refused:
        rules[:0] = operator_rules.rules_named("one-subgraph")
    return rules


def as_dict(report: stage.Report) -> dict:
    """Return a report for JSON."""
    return {
        "ready": report.ready,
        "edge_tpu_operators": report.edge_tpu_operators,
        "cpu_operators": report.cpu_operators,
        "only_postprocessing_left": report.only_postprocessing_left,
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
        "input": dataclasses.asdict(report.input),
        "feed": report.feed,
        "operations": [
            {"operator": kind, "count": count, "status": status}
            for kind, count, status in report.operation_log()
        ],
    }


def show(model: str, report: stage.Report, *, explain: bool = False) -> None:
    """Print a report for a person, with the evidence behind it if asked for."""
    print(f"{model} {_verdict(report)}")
    print(
        f"Number of operations that will run on Edge TPU: {report.edge_tpu_operators}"
    )
    print(f"Number of operations that will run on CPU: {report.cpu_operators}")
    print(f"Feed: {report.feed}")
    for heading, lines in _grouped(report, explain):
        tables.print_heading(f"\n{heading}")
        for line in lines:
            print(f"  {line}")
    print()
    rows = [
        (kind, str(count), status) for kind, count, status in report.operation_log()
    ]
    tables.print_table(("Operator", "Count", "Status"), rows)
    print("Predicted from public evidence; Google's compiler decides.")


def _verdict(report: stage.Report) -> str:
    if report.ready:
        return "is ready for the Edge TPU."
    if report.only_postprocessing_left:
        return (
            "runs on the Edge TPU, but for its postprocessing on the CPU: that is as"
            " good as it gets (--allow_cpu_tail takes it for ready)."
        )
    return "is not ready for the Edge TPU."


def _show_rules(rules: list[Rule]) -> None:
    """Print which rules bear on the operators of a file, and on what they rest."""
    if rules:
        tables.print_heading("\nRules for the operators of this file")
    for rule in rules:
        print(f"  {rule.about} {rule.demand}")
        for each in rule.evidence:
            print(f"    {each}")


def _grouped(report: stage.Report, explain: bool) -> list[tuple[str, list[str]]]:
    """Return a heading and lines for each group of findings with the same text."""
    groups = collections.defaultdict(list)
    for finding in report.findings:
        key = finding.level, finding.code, finding.reason, finding.remedy
        groups[key].append(finding)
    return [
        (
            f"{level} {code}: {reason}",
            [
                *_places(findings),
                f"remedy: {remedy}",
                *(f"evidence: {e}" for e in findings[0].evidence if explain),
            ],
        )
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
