"""`benchmark`: TFLite files in, how long each takes here out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError, require_writable
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.commands import options, tables
from edgetpu_lib.tflite import timing as stage


@options.command
@options.JSON
def benchmark(
    models: tuple[str, ...],
    *,
    image: str | None = None,
    num_threads: str = "1",
    runs: options.Count = 50,
    output: str | None = None,
    device: DeviceOptions,
    as_json: bool,
) -> None:
    """Time TFLite files side by side on this computer.

    Float and int8 files run on the CPU, compiled ones on an Edge TPU; without one they
    are passed over. The files take turns, so that other load slows all of them alike.

    Args:
        models: .tflite files.
        image: image file for the preprocessing. [default: a drawn one, 640 × 480]
        num_threads: CPU threads; several numbers with commas.
        runs: inferences to count for each file, after the first and three to warm up.
        output: .png file for a figure.
    """
    threads = _numbers(num_threads)
    if output:
        _require_png(output)
    timings, passed = stage.time_models(
        models, image=image, threads=threads, runs=runs, device=device
    )
    if output:
        quiet.start_tensorflow()
        from edgetpu_lib.plots import timing as plots_timing

        plots_timing.save_timings(output, timings)
    if as_json:
        content = {
            "timings": [dataclasses.asdict(timing) for timing in timings],
            "passed_over": [dataclasses.asdict(each) for each in passed],
            "output": output,
        }
        options.print_result(content, True, [])
        return
    _show(timings, passed)
    if output:
        print(f"wrote {output}")


def _numbers(text: str) -> list[int]:
    """Read numbers of threads.

    Raises:
        InputError: one is not a whole number of 1 or more.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(
        part.isdecimal() and 0 < int(part) <= stage.MAX_THREADS for part in parts
    ):
        raise InputError(
            f"--num_threads={text} must be numbers of 1 … {stage.MAX_THREADS}, such as"
            " 1,4"
        )
    return list(dict.fromkeys(map(int, parts)))


def _require_png(output: str) -> None:
    if Path(output).suffix.lower() != ".png":
        raise InputError(f"--output={output} must end in .png")
    require_writable(output)


def _show(timings: list[stage.Timing], passed: list[stage.PassedOver]) -> None:
    """Print timings for a person."""
    header = (
        *("Model", "on", "threads", "MB", "create", "first", "before"),
        *("p50", "p90", "p99", "after"),
    )
    tables.print_table(header, map(_row, timings), right=range(2, len(header)))
    print(
        "Milliseconds. p50, p90, p99: half, 90 % and 99 % of the inferences took no"
        " longer.\nbefore: from an image file to the input; after: from the output to"
        " the best classes;\nmedians. create and first happen once."
    )
    for each in passed:
        print(f"passed over: {each.reason}")


def _row(timing: stage.Timing) -> tuple[str, ...]:
    before, after = timing.preprocessing, timing.postprocessing
    inference = timing.inference
    return (
        Path(timing.model).name,
        timing.runs_on,
        str(timing.threads),
        f"{timing.size_bytes / 1e6:.2f}",
        f"{timing.creation_ms:.1f}",
        f"{timing.first_ms:.2f}",
        f"{before.p50_ms:.2f}" if before else "–",
        f"{inference.p50_ms:.2f}",
        f"{inference.p90_ms:.2f}",
        f"{inference.p99_ms:.2f}",
        f"{after.p50_ms:.2f}" if after else "–",
    )
