"""Figures of estimated latency: against published values, and the roofline."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from edgetpu_lib.costs import constants
from edgetpu_lib.costs.estimate import Estimate
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, PINK, note

# Key of `Estimate.shares_ms` → words and colour.
SHARES = {
    "transfer": ("call and transfer", GREY),
    "compute": ("multiplications", BLUE),
    "streaming": ("sending parameters", ORANGE),
    "overhead": ("from operator to operator", GREEN),
    "cpu": ("on the CPU", PINK),
}
# Half the width of the band around measured values.
BAND = 0.25
LABEL_POINTS = 8.5
# Vertical offsets of a label from its point, in lines, the nearest first.
LABEL_LINES = (0, -0.6, -1.2, -1.8, -2.4, -3, -3.6)


def plot_published(rows: Sequence[Mapping[str, object]]) -> Axes:
    """Draw predicted against measured latencies of networks that were not fitted.

    Rows of `data/latency_published.json`: "title", "family", "device", "use",
    "latency_ms" and "predicted_ms". Of each family and device, the row furthest from
    its measurement is labelled if it lies outside of the band.
    """
    rows = [row for row in rows if row["use"] != "none" and row["predicted_ms"]]
    _, ax = plt.subplots(figsize=(7, 5.6))
    measured = np.array([row["latency_ms"] for row in rows], float)
    predicted = np.array([row["predicted_ms"] for row in rows], float)
    ends = np.array([min(measured.min(), predicted.min()) / 1.6, 1.6 * max(measured)])
    band = ends * (1 - BAND), ends * (1 + BAND)
    style = {"color": GREY, "alpha": 0.15, "linewidth": 0}
    ax.fill_between(ends, *band, **style, label=f"within {BAND:.0%}")
    ax.plot(ends, ends, color=GREY, linewidth=1)
    for use, colour, face, label in (
        ("fit", ORANGE, "none", "families of the fit, each predicted without itself"),
        ("test", BLUE, BLUE, "families kept for the test"),
    ):
        chosen = np.array([row["use"] == use for row in rows])
        points = measured[chosen], predicted[chosen]
        style = {"s": 28, "edgecolor": colour, "facecolor": face, "zorder": 3}
        ax.scatter(*points, **style, label=label)
    ax.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=ends,
        xlabel="measured by others, ms",
        ylabel="estimated, ms",
        title="Latencies that others measured, and their estimates",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.legend(frameon=False, loc="upper left")
    factors = np.abs(np.log(predicted / measured))
    worst: dict[tuple[object, object], int] = {}
    for index in np.argsort(factors):
        worst[rows[index]["family"], rows[index]["device"]] = int(index)
    shown = [i for i in worst.values() if abs(predicted[i] / measured[i] - 1) > BAND]
    names = [f"{rows[i]['title']}, {rows[i]['device']}" for i in shown]
    label_points(ax, names, measured, predicted, shown)
    return ax


def label_points(
    ax: Axes,
    names: Sequence[str],
    xs: np.ndarray,
    ys: np.ndarray,
    shown: Sequence[int],
) -> None:
    """Label the points `shown` of (xs, ys) without covering points or other labels.

    The axes have their final limits; a name without free space is left out.
    """
    ax.figure.draw_without_rendering()
    pixels = ax.transData.transform(np.column_stack([xs, ys]))
    half = LABEL_POINTS / 2 * ax.figure.dpi / 72
    taken = [Bbox([point - half, point + half]) for point in pixels]
    by_height = sorted(
        zip(shown, names, strict=True), key=lambda each: pixels[each[0], 1]
    )
    for index, name in by_height:
        for lines, side in itertools.product(LABEL_LINES, (1, -1)):
            label = note(
                ax,
                name,
                (xs[index], ys[index]),
                (12 * side, side * lines * 1.2 * LABEL_POINTS),
                fontsize=LABEL_POINTS,
                ha="left" if side > 0 else "right",
                va="center",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
            )
            label.get_window_extent()  # Moves the label to its final place.
            box = Text.get_window_extent(label)
            inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
            if inside and not box.count_overlaps(taken):
                break
            label.remove()
        else:
            continue
        taken.append(box)


def draw_roofs(ax: Axes, estimate: Estimate, lowest: float, highest: float) -> None:
    """Draw the roofline of the estimate's device: peak, best convolution, and link.

    The axes are logarithmic, MACs for each byte of parameters and MAC/s; `lowest` and
    `highest` are MACs for each byte of the points.
    """
    peak = edge_tpu.MULTIPLIERS * edge_tpu.CLOCK_HZ[estimate.clock]
    best = constants.CHIP.utilisation * peak
    link = estimate.device.link_bytes_per_s
    left, right = lowest / 2, max(2 * highest, 4 * best / link)
    for height, words in (
        (peak, f"peak, {peak / 1e12:.2f} TMAC/s"),
        (best, f"what full tiles reach, {best / 1e12:.2f} TMAC/s"),
    ):
        ax.plot([left, right], [height, height], color=GREY, linewidth=1)
        note(ax, words, (left, height), (2, 3), fontsize=9, color=GREY)
    ends = np.array([left, best / link])
    middle = np.exp(np.log(ends).mean())
    ax.plot(ends, ends * link, color=ORANGE, linewidth=1)
    words = f"all parameters sent at {link / 1e6:.0f} MB/s"
    place = middle, middle * link
    note(ax, words, place, (8, -2), fontsize=9, color=ORANGE, va="top")
    ax.set_xlim(left, right)
