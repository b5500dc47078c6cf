"""Figures of a diagnosis: errors of layers, ranges, and the calibration sweep."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from edgetpu_lib.doctor.diagnose import Diagnosis, SweepPoint
from edgetpu_lib.doctor.layer_errors import LayerError
from edgetpu_lib.plots import common
from edgetpu_lib.plots.common import BLUE, GREY, ORANGE


def plot_layers(layers: Sequence[LayerError], *, worst: int = 15) -> np.ndarray:
    """Draw the `worst` tensors with the lowest signal-to-noise ratio, lowest on top.

    Returns the axes: signal-to-noise ratio, and share of clipped values.
    """
    chosen = sorted(layers, key=lambda layer: layer.snr_db)[:worst]
    height = 1.2 + 0.26 * len(chosen)
    _, axes = plt.subplots(1, 2, figsize=(9, height), sharey=True, width_ratios=(2, 1))
    rows = np.arange(len(chosen))
    left, right = axes
    bars = left.barh(rows, [layer.snr_db for layer in chosen], color=BLUE)
    left.bar_label(bars, fmt="%.1f", padding=3, color=GREY, fontsize=9)
    left.set_yticks(rows, [layer.name for layer in chosen])
    left.invert_yaxis()
    left.margins(x=0.1)
    left.axvline(0, color="black", linewidth=0.6)
    left.set(
        xlabel="signal-to-noise ratio, dB (6 dB are one bit)",
        title=f"The {len(chosen)} worst of {len(layers)} tensors",
    )
    clipped = [100 * layer.clipped for layer in chosen]
    bars = right.barh(rows, clipped, color=ORANGE)
    labels = [
        f"{share:.2g}" if share >= 0.01 else "< 0.01" if share else ""
        for share in clipped
    ]
    right.bar_label(bars, labels, padding=3, color=GREY, fontsize=9)
    right.set(
        xlabel="of the float values, %",
        xlim=(0, 1.2 * max(1.0, *clipped)),
        title="Clipped",
    )
    return axes


def plot_needed_ranges(layers: Sequence[LayerError]) -> Axes:
    """Draw the int8 model's ranges and, over them, those that images need."""
    _, ax = plt.subplots(figsize=(9, 3.4))
    rows = {
        "the int8 model has": [(each.int8_low, each.int8_high) for each in layers],
        "these images need": [(each.float_low, each.float_high) for each in layers],
    }
    common.draw_ranges(ax, rows, "tensor, from input to output")
    ax.margins(x=0.01)
    ax.set_title("Orange beyond blue is clipped; blue beyond orange wastes steps")
    ax.get_legend().set_bbox_to_anchor((1, 1.08))
    return ax


def plot_sweep(sweep: Sequence[SweepPoint], agreement: float) -> Axes:
    """Draw agreement with the float model by number of calibration images.

    `agreement` is that of the diagnosed int8 model, 0..1.
    """
    _, ax = plt.subplots(figsize=(6, 3.2))
    counts = [point.images for point in sweep]
    shares = [100 * point.agreement for point in sweep]
    ax.plot(counts, shares, "o-", color=BLUE, label="quantized again")
    ax.axhline(100 * agreement, color=ORANGE, linestyle="--", label="the file as given")
    ax.set_xscale("log")
    # Labels of closer neighbours would overlap.
    ticks = [a for a, b in itertools.pairwise(counts) if b > 1.5 * a] + counts[-1:]
    ax.set_xticks(ticks, map(str, ticks))
    ax.xaxis.minorticks_off()
    ax.set_ylim(min(*shares, 100 * agreement) - 3, 101.5)
    ax.set(
        xlabel="calibration images",
        ylabel="same prediction as float, %",
        title="How many calibration images it takes",
    )
    ax.legend(frameon=False, loc="best")
    return ax


def save_figures(folder: str | Path, diagnosis: Diagnosis) -> list[Path]:
    """Write layers.png, ranges.png and, after a sweep, sweep.png; return their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    common.use_style()
    drawn = {
        "layers": plot_layers(diagnosis.layers)[0].figure,
        "ranges": plot_needed_ranges(diagnosis.layers).figure,
    }
    if diagnosis.sweep:
        drawn["sweep"] = plot_sweep(diagnosis.sweep, diagnosis.agreement).figure
    return [
        common.save_figure(Path(folder) / f"{name}.png", figure)
        for name, figure in drawn.items()
    ]
