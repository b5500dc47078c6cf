"""`split`: an int8 file in, files of its segments for several Edge TPUs out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from edgetpu_lib.commands import model_flags, options, tables
from edgetpu_lib.costs import estimate as costs
from edgetpu_lib.hardware import edge_tpu

if TYPE_CHECKING:
    from edgetpu_lib.costs.segments import Plan


@options.command
@options.JSON
def split(
    model: str,
    *,
    segments: Annotated[int, click.IntRange(2)],
    output_dir: str | None = None,
    device: Annotated[str, click.Choice(list(costs.DEVICES))] = "usb",
    clock: Annotated[str, click.Choice(list(edge_tpu.CLOCK_HZ))] = "max",
    stop: bool = True,
    as_json: bool,
) -> None:
    """Cut an int8 file into segments for several Edge TPUs.

    Each segment is a file that is checked and compiled alone; one after another they
    give the outputs of the whole file to the bit, which is verified on this CPU. Needs
    no compiler and no device; times are estimates.

    Args:
        model: int8 .tflite file, not compiled.
        segments: number of Edge TPUs.
        output_dir: folder for the segments. [default: the model's folder]
        device: how each Edge TPU is connected.
        clock: as in estimate.
        stop: make fewer segments, two at least, where a further boundary costs more
            than the sending of parameters that it saves.
    """
    from edgetpu_lib.costs import segment_files
    from edgetpu_lib.costs import segments as stage

    plan = stage.plan_segments(model, segments, device=device, clock=clock, stop=stop)
    paths = segment_files.write_segments(
        model,
        plan.contents,
        output_dir or Path(model).parent,
        metadata=model_flags.metadata_of(model, needed=False),
    )
    content = as_dict(plan, paths)
    if as_json:
        options.print_result(content, True, [])
    else:
        _show(plan, content, segments)


def as_dict(plan: Plan, paths: list[Path]) -> dict:
    """Return a plan for JSON; times in milliseconds."""
    return {
        "segments": [
            {
                "tflite": str(path),
                "operators": [segment.first, segment.end],
                "inputs": len(segment.inputs),
                "outputs": len(segment.outputs),
                "latency_ms": found.latency_ms,
                "input_bytes": found.input_bytes,
                "output_bytes": found.output_bytes,
                "cached_bytes": found.cached_bytes,
                "streamed_bytes": found.streamed_bytes,
            }
            for path, segment, found in zip(
                paths, plan.segments, plan.estimates, strict=True
            )
        ],
        "reason": plan.reason,
        "interval_ms": plan.interval_ms,
        "images_per_s": plan.images_per_s,
        "copies_per_s": plan.copies_per_s,
        "latency_ms": plan.latency_ms,
        "whole_latency_ms": plan.whole.latency_ms,
        "whole_streamed_bytes": plan.whole.streamed_bytes,
        "caveat": plan.whole.caveat,
    }


def _show(plan: Plan, content: dict, wanted: int) -> None:
    """Print a plan for a person."""
    count = len(plan.segments)
    if plan.reason:
        print(f"{count} segments instead of {wanted}: {plan.reason}.\n")
    rows = [
        (
            Path(each["tflite"]).name,
            "{}–{}".format(each["operators"][0], each["operators"][1] - 1),
            _kib(each["input_bytes"]),
            _kib(each["output_bytes"]),
            _kib(each["cached_bytes"]),
            _kib(each["streamed_bytes"]),
            f"{each['latency_ms']:.2f}",
        )
        for each in content["segments"]
    ]
    header = ("Segment", "operators", "in, KiB", "out", "cached", "sent", "ms")
    tables.print_table(header, rows, right=range(1, 7))
    print("\nRun one after another, they equal the whole to the bit.")
    for line in speed_lines(plan):
        print(line)
    for each in content["segments"]:
        print(f"wrote {each['tflite']}")


def speed_lines(plan: Plan) -> list[str]:
    """Return estimated throughput and latency in words, beside those of the whole."""
    count, whole_ms = len(plan.segments), plan.whole.latency_ms
    copies = f"{plan.copies_per_s:.0f} with the whole file on each of {count}"
    if plan.copies_per_s >= plan.images_per_s:
        copies += ", which is better here"
    why = "it does not fall"
    if plan.latency_ms < whole_ms:
        why = "less, as fewer parameters are sent for every inference"
    return [
        f"Throughput: about {plan.images_per_s:.0f} images/s as a pipeline, one every"
        f" {plan.interval_ms:.1f} ms; {1e3 / whole_ms:.0f} with the whole file on one"
        f" Edge TPU, {copies}.",
        f"Latency of one image: about {plan.latency_ms:.1f} ms through all segments,"
        f" {whole_ms:.1f} ms with the whole file: {why}.",
        plan.whole.caveat,
    ]


def _kib(size_bytes: float) -> str:
    return f"{size_bytes / 1024:.1f}" if size_bytes else "–"
