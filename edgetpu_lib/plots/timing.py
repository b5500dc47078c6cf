"""Figure of measured latencies: each file's parts of an inference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, save_figure, use_style
from edgetpu_lib.tflite.timing import Timing


def plot_timings(timings: Sequence[Timing]) -> Axes:
    """Draw the medians of each file as one bar, and how far p90 is from p50."""
    _, ax = plt.subplots(figsize=(8, 1.2 + 0.45 * len(timings)))
    rows, left = range(len(timings)), [0.0] * len(timings)
    for label, colour, name in (
        ("image file to input", ORANGE, "preprocessing"),
        ("inference", BLUE, "inference"),
        ("output to classes", GREEN, "postprocessing"),
    ):
        parts = [getattr(timing, name) for timing in timings]
        widths = [part.p50_ms if part else 0.0 for part in parts]
        ax.barh(rows, widths, left=left, color=colour, label=label)
        left = [start + width for start, width in zip(left, widths, strict=True)]
        if name == "inference":
            late = [part.p90_ms - part.p50_ms for part in parts]
            style = {"fmt": "none", "ecolor": GREY, "capsize": 3}
            ax.errorbar(left, rows, xerr=[[0.0] * len(late), late], **style)
    ax.set_yticks(rows, [label_of(timing) for timing in timings])
    ax.invert_yaxis()
    ax.set(xlabel="milliseconds, medians; line: to the 90th percentile of inference")
    ax.set_title("One image, on this computer")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def label_of(timing: Timing) -> str:
    """Return the name of a file and where it ran."""
    where = "Edge TPU"
    if timing.runs_on == "CPU":
        where = f"{timing.threads} thread{'s' if timing.threads > 1 else ''}"
    return f"{Path(timing.model).name}\n{where}"


def save_timings(path: str | Path, timings: Sequence[Timing]) -> Path:
    """Write the figure of timings as PNG; InputError if that fails."""
    with plt.rc_context():
        use_style()
        return save_figure(path, plot_timings(timings).figure)
