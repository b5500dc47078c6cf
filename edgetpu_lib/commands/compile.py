"""`compile`: a checked TFLite file in, a file for the Edge TPU out."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from edgetpu_lib.base.artifacts import InputError, read_metadata, save_metadata
from edgetpu_lib.commands import check as checking
from edgetpu_lib.commands import options
from edgetpu_lib.hardware import check, compiler, edge_tpu


@click.command("compile")
@click.argument("model", metavar="MODEL.tflite")
@click.option("--output-dir", help="[default: the model's folder]")
@click.option(
    "--num-segments",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts for as many Edge TPUs in a row.",
)
@click.option(
    "--min-runtime-version",
    type=click.IntRange(edge_tpu.OLDEST_RUNTIME, edge_tpu.NEWEST_RUNTIME),
    default=edge_tpu.NEWEST_RUNTIME,
    show_default=True,
    help="Oldest Edge TPU runtime that must run it.",
)
@click.option(
    "--search-delegate", is_flag=True, help="Retry with fewer operators on it."
)
@click.option(
    "--timeout-sec",
    type=click.IntRange(1),
    default=180,
    show_default=True,
    help="Seconds for one compilation.",
)
@options.JSON
def compile(
    model: str,
    output_dir: str | None,
    num_segments: int,
    min_runtime_version: int,
    search_delegate: bool,
    timeout_sec: int,
    as_json: bool,
) -> int:
    """Check a TFLite file, then compile it with Google's edgetpu_compiler.

    Without the compiler it says what `check` predicts and how to get it.
    """
    report = check.check_tflite(model, runtime=min_runtime_version)
    content = {"predicted": checking.as_dict(report), "compiled": None}
    if not as_json:
        checking.show(model, report)
    answers_wrongly = not report.ready and not report.cpu_operators
    if answers_wrongly or not report.edge_tpu_operators:
        options.show(content, as_json, ["", "not compiled: mend the errors first"])
        return checking.EXIT_NOT_READY
    if not shutil.which(compiler.PROGRAM):
        options.show(content, as_json, ["", compiler.HOW_TO_GET_IT])
        raise InputError(
            f"{compiler.PROGRAM} is not on the PATH, so nothing was compiled;"
            f" `check` predicts {report.edge_tpu_operators} operators on the Edge TPU,"
            f" {report.cpu_operators} on the CPU"
        )
    made = compiler.compile_tflite(
        model,
        output_dir=output_dir or Path(model).parent,
        num_segments=num_segments,
        min_runtime_version=min_runtime_version,
        search_delegate=search_delegate,
        timeout_s=timeout_sec,
    )
    for path in made.outputs:
        _record(model, path, made.log)
    content["compiled"] = {
        "outputs": [str(path) for path in made.outputs],
        **made.log,
    }
    options.show(content, as_json, ["", *_lines(made)])
    return 0


def _record(model: str, path: Path, log: dict) -> None:
    """Hand the model's record on to the compiled file."""
    metadata = read_metadata(model)
    facts = {k: v for k, v in metadata.items() if k not in ("sha256", "versions")}
    facts["compiled"] = {"from": model, **log}
    save_metadata(path, **facts)


def _lines(made: compiler.Compilation) -> list[str]:
    lines = [f"wrote {path}" for path in made.outputs]
    for model in made.log["models"]:
        lines += [
            f"parameters: {model['cached_bytes']:,} bytes on the chip,"
            f" {model['streamed_bytes']:,} sent again for every inference",
            f"operators: {model['edge_tpu_operators']} on the Edge TPU,"
            f" {model['cpu_operators']} on the CPU",
        ]
    return lines
