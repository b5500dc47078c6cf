"""Throughput of segments in a pipeline on this CPU, against the whole file.

All interpreters have one thread. The sides take turns, a few images each, so that
other load slows them alike: medians and ratios of all turns, and the fastest turn of
each, the least disturbed. One side is as many copies of the whole file as there are
segments. The segments are balanced for the Edge TPU and not for a CPU, unless `--at`
names the operators that segments begin with: no pipeline is faster than its slowest
segment, and the last line says what that allows.

    python benchmarks/pipeline.py MODEL.tflite [--segments=2] [--at 20 40]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from edgetpu_lib.base import parallel
from edgetpu_lib.costs import segments as planning
from edgetpu_lib.tflite import cut, interpreter, pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--at", type=int, nargs="+")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--images", type=int, default=30)
    options = parser.parse_args()
    content = Path(options.model).read_bytes()
    if options.at:
        parts = cut.cut(content, options.at)
    else:
        plan = planning.plan_segments(content, options.segments, stop=False)
        parts = plan.contents
    count, stages = len(parts), [pipeline.open_stage(part) for part in parts]
    whole = [pipeline.open_stage(content) for _ in range(count)]
    copies = interpreter.pool(whole)
    noise = [pipeline.noise_for(whole[0], seed=n) for n in range(options.images)]
    sides = {
        "whole": lambda: list(map(whole[0], noise)),
        f"{count} segments in turn": lambda: [
            pipeline.run_in_turn(stages, each) for each in noise
        ],
        f"{count} segments in a pipeline": lambda: list(
            pipeline.run_pipeline(stages, noise)
        ),
        f"{count} copies of the whole": lambda: list(
            parallel.map_in_order(copies, noise, workers=count)
        ),
    }
    report(measure(sides, options.turns), options.images)
    stages_ms = stage_times(stages, noise)
    each = ", ".join(f"{stage_ms:.2f}" for stage_ms in stages_ms)
    print(f"segments alone: {each} ms; at most {sum(stages_ms) / max(stages_ms):.2f} ×")


def measure(sides: dict, turns: int) -> dict[str, list[float]]:
    """Return the seconds of each side, one for each turn after the first."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(seconds: dict[str, list[float]], images: int) -> None:
    """Print images per second of each side, and its ratio to the whole."""
    whole = seconds["whole"]
    print(f"{parallel.cores()} cores; {len(whole)} turns of {images} images")
    for name, own in seconds.items():
        ratio = statistics.median(w / s for w, s in zip(whole, own, strict=True))
        print(
            f"{name:26} median {images / statistics.median(own):7.1f} images/s,"
            f" {ratio:.2f} × whole;"
            f" fastest {images / min(own):7.1f}, {min(whole) / min(own):.2f} ×"
        )


def stage_times(stages: list, noise: list) -> list[float]:
    """Return the milliseconds of each segment alone, the least of all images."""
    taken: list[list[float]] = [[] for _ in stages]
    for tensors in noise:
        for position, stage in enumerate(stages):
            start = time.perf_counter()
            tensors = stage(tensors)
            taken[position].append(1e3 * (time.perf_counter() - start))
    return list(map(min, taken))


if __name__ == "__main__":
    main()
