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

_WORST = 15


def plot_layers(layers: Sequence[LayerError], *, worst: int = _WORST) -> np.ndarray:
    """Draw the tensors with the lowest signal-to-noise ratio, worst on top.

    Args:
        layers: of a diagnosis.
        worst: how many.

    Returns:
        The axes: signal-to-noise ratio, and share of clipped values.
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
    labels = ["" if not share else _short(share) for share in clipped]
    right.bar_label(bars, labels, padding=3, color=GREY, fontsize=9)
    right.set(
        xlabel="of the float values, %",
        xlim=(0, 1.2 * max(1.0, *clipped)),
        title="Clipped",
    )
    return axes


def _short(share: float) -> str:
    return f"{share:.2g}" if share >= 0.01 else "< 0.01"


def plot_needed_ranges(layers: Sequence[LayerError]) -> Axes:
    """Draw the int8 model's ranges beside those that images need.

    Args:
        layers: of a diagnosis.
    """
    _, ax = plt.subplots(figsize=(9, 3.4))
    rows = np.arange(len(layers))
    for name, wide, colour, label in (
        ("int8", 0.85, BLUE, "the int8 model has"),
        ("float", 0.45, ORANGE, "these images need"),
    ):
        low = np.array([getattr(layer, f"{name}_low") for layer in layers])
        high = np.array([getattr(layer, f"{name}_high") for layer in layers])
        ax.bar(rows, high - low, wide, low, color=colour, label=label)
    ax.set_yscale("symlog", linthresh=1)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.margins(x=0.01)
    ax.set(
        xlabel="tensor, from input to output",
        ylabel="value (logarithmic beyond ±1)",
        title="Orange beyond blue is clipped; blue beyond orange wastes steps",
    )
    ax.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1.08))
    return ax


def plot_sweep(sweep: Sequence[SweepPoint], agreement: float) -> Axes:
    """Draw agreement with the float model by number of calibration images.

    Args:
        sweep: of a diagnosis.
        agreement: of the int8 model that was diagnosed, 0..1.
    """
    _, ax = plt.subplots(figsize=(6, 3.2))
    shares = [100 * point.agreement for point in sweep]
    ax.plot(
        [p.images for p in sweep], shares, "o-", color=BLUE, label="quantized again"
    )
    ax.axhline(100 * agreement, color=ORANGE, linestyle="--", label="the file as given")
    ax.set_xscale("log")
    # Labels of closer neighbours would overlap.
    apart = [p for p, q in itertools.pairwise(sweep) if q.images > 1.5 * p.images]
    ticks = [p.images for p in (*apart, sweep[-1])]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
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
    """Write all figures of a diagnosis as PNG, whole or not at all.

    Args:
        folder: made if need be.
        diagnosis: what to draw.

    Returns:
        The files: layers.png, ranges.png, and sweep.png if there was a sweep.

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
