"""Style, colours, and figures of images, learning, predictions and named values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib_inline.backend_inline import set_matplotlib_formats

from edgetpu_lib.base.artifacts import atomic_path
from edgetpu_lib.deploy import Prediction
from edgetpu_lib.fine_tune import Epoch

# Distinct with any colour vision (Okabe and Ito). One colour per role.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#767676"


def use_style(*, images: bool = False) -> None:
    """Set sizes and fonts for figures on a page.

    With `images` a notebook's figures become JPEG: PNG files would be ten times larger.
    Without, they are PNG, which is sharper for lines and letters.
    """
    if get_ipython():
        jpeg = {"pil_kwargs": {"quality": 90}} if images else {}
        set_matplotlib_formats("jpeg" if images else "png", **jpeg)
    plt.rcParams.update(
        {
            "figure.dpi": 96,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
        }
    )


def save_figure(path: str | Path, figure: Figure) -> Path:
    """Write a figure as PNG atomically, and close it; InputError if that fails."""
    with atomic_path(path) as scratch:
        figure.savefig(scratch)
    plt.close(figure)
    return Path(path)


def note(
    ax: Axes,
    text: str,
    place: Sequence[float],
    offset: Sequence[float],
    **style: object,
) -> Annotation:
    """Write text at an offset, in points, from a place in the data."""
    return ax.annotate(text, place, offset, textcoords="offset points", **style)


def draw_ranges(
    ax: Axes, ranges: Mapping[str, Sequence[tuple[float, float]]], operators: str
) -> None:
    """Draw bars from low to high values, logarithmic beyond ±1.

    Args:
        ax: where to draw.
        ranges: label → (low, high) of each tensor; later ones are drawn narrower.
        operators: words for the x axis.
    """
    looks = ((0.8, BLUE), (0.4, ORANGE), (0.4, GREEN))
    for (label, rows), (wide, colour) in zip(ranges.items(), looks, strict=False):
        low, high = np.array(rows).T
        ax.bar(range(len(low)), high - low, wide, low, color=colour, label=label)
    ax.set_yscale("symlog", linthresh=1)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set(xlabel=operators, ylabel="value (logarithmic beyond ±1)")
    ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))


def plot_images(
    images_u8: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 5
) -> np.ndarray:
    """Show images, uint8 [height, width, 3] each, in a grid.

    Titles may have several lines. Returns the axes, [rows, columns].
    """
    rows = -(-len(images_u8) // columns)
    height = 1.95 + 0.14 * max((title.count("\n") for title in titles), default=0)
    size = (1.75 * columns, height * rows)
    _, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images_u8, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=9, fontweight="normal", loc="center")
    return axes


def plot_curves(epochs: Sequence[Epoch], ax: Axes | None = None) -> Axes:
    """Draw top-1 on training and validation images over the epochs.

    `epochs` come from `fine_tune.fine_tune`; without `ax` a new figure is made.
    """
    ax = ax or plt.subplots(figsize=(6, 3.2))[1]
    x = np.arange(1, len(epochs) + 1)
    ax.plot(x, [100 * e.top1 for e in epochs], "o-", color=BLUE, label="training")
    validation = [100 * e.validation_top1 for e in epochs]
    ax.plot(x, validation, "s-", color=ORANGE, label="validation")
    for index in range(1, len(epochs)):
        if epochs[index].phase != epochs[index - 1].phase:
            ax.axvline(index + 0.5, color=GREY, linestyle=":", label="unfrozen")
    ax.set(xlabel="epoch", ylabel="top-1, %", title="Learning curves")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return ax


def plot_predictions(predictions: Sequence[Prediction], ax: Axes | None = None) -> Axes:
    """Draw the predictions of `deploy.classify` as bars, the first on top.

    Without `ax` a new figure is made.
    """
    ax = ax or plt.subplots(figsize=(5, 2.2))[1]
    rows = range(len(predictions))
    shares = [100 * prediction.probability for prediction in predictions]
    ax.barh(rows, shares, color=[BLUE] + [GREY] * (len(rows) - 1))
    ax.set_yticks(rows, [prediction.label for prediction in predictions])
    ax.invert_yaxis()
    ax.set(xlabel="probability, %", xlim=(0, 100), title="Prediction")
    return ax


def plot_bars(values: dict[str, float], *, xlabel: str, title: str) -> Axes:
    """Draw named values as horizontal bars with their numbers, the first on top."""
    _, ax = plt.subplots(figsize=(6, 0.6 + 0.4 * len(values)))
    bars = ax.barh(list(values), list(values.values()), color=BLUE)
    ax.bar_label(bars, fmt="{:,.1f}", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel=xlabel, title=title)
    return ax
