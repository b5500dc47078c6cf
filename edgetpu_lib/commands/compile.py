"""`compile`: a TFLite file that passes `check` in, a file for the Edge TPU out."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from edgetpu_lib.base.artifacts import InputError, save_metadata
from edgetpu_lib.commands import check as checking
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.hardware import check, compiler, edge_tpu


@options.command
@click.option(
    "--search_delegate/--nosearch_delegate",
    is_flag=True,
    help="Retry with fewer operators on the Edge TPU until it compiles.",
)
@options.JSON
def compile(
    model: str,
    *,
    output_dir: str | None = None,
    num_segments: options.Count = 1,
    min_runtime_version: checking.Runtime = edge_tpu.NEWEST_RUNTIME,
    timeout_sec: options.Count = 180,
    search_delegate: bool,
    as_json: bool,
) -> int:
    """Check and compile a TFLite file with Google's edgetpu_compiler.

    Without the compiler it prints what `check` predicts and how to get the compiler.

    Args:
        model: .tflite file.
        output_dir: folder for the compiled file. [default: the model's folder]
        num_segments: number of parts, one per Edge TPU in a pipeline.
        min_runtime_version: oldest Edge TPU runtime that must run it.
        timeout_sec: seconds for one compilation.
    """
    report = check.check_tflite(model, runtime=min_runtime_version)
    content = {"predicted": checking.as_dict(report), "compiled": None}
    if not as_json:
        checking.show(model, report)
    if report.is_refused or not report.edge_tpu_operators:
        options.print_result(
            content, as_json, ["", "not compiled: fix the errors first"]
        )
        return checking.EXIT_NOT_READY
    if not shutil.which(compiler.PROGRAM):
        options.print_result(content, as_json, ["", compiler.HOW_TO_GET_IT])
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
        _save_metadata(model, path, made.log)
    content["compiled"] = {
        "outputs": [str(path) for path in made.outputs],
        **made.log,
    }
    options.print_result(content, as_json, ["", *_lines(made)])
    return 0


def _save_metadata(model: str, path: Path, log: dict) -> None:
    """Write the model's metadata and the compiler's log beside the compiled file."""
    metadata = model_flags.metadata_of(model, needed=False)
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
