"""Style, colours, and figures of images, learning, predictions and named values.

Takes plain data; gives Matplotlib axes with titles, labels and units. Used by the
notebooks and by the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

from edgetpu_lib.base.artifacts import atomic_path
from edgetpu_lib.deploy import Prediction
from edgetpu_lib.fine_tune import Epoch

# Distinct with any colour vision (Okabe and Ito). One colour per role.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#767676"


def use_style(*, images: bool = False) -> None:
    """Set sizes and fonts for figures that are read on a page.

    Args:
        images: the notebook shows images, which as PNG would be ten times as large;
            its figures become JPEG.
    """
    if images and get_ipython():
        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 90})
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
    """Write a figure as PNG, whole or not at all, and close it.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as scratch:
        figure.savefig(scratch)
    plt.close(figure)
    return Path(path)


def plot_images(
    images_u8: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    columns: int = 5,
) -> np.ndarray:
    """Show images in a grid.

    Args:
        images_u8: uint8 [height, width, 3] each, RGB.
        titles: one or more lines above each image.
        columns: images in a row.

    Returns:
        The axes, [rows, columns].
    """
    rows = -(-len(images_u8) // columns)
    lines = max((title.count("\n") for title in titles), default=0)
    height = 1.95 + 0.14 * lines
    _, axes = plt.subplots(
        rows, columns, figsize=(1.75 * columns, height * rows), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images_u8, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=9, fontweight="normal", loc="center")
    return axes


def plot_curves(epochs: Sequence[Epoch], ax: Axes | None = None) -> Axes:
    """Draw top-1 on training and validation images over the epochs.

    Args:
        epochs: from `fine_tune.fine_tune`; phases follow each other.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(6, 3.2))[1]
    x = np.arange(1, len(epochs) + 1)
    ax.plot(x, [100 * e.top1 for e in epochs], "o-", color=BLUE, label="training")
    ax.plot(
        x,
        [100 * e.validation_top1 for e in epochs],
        "s-",
        color=ORANGE,
        label="validation",
    )
    for index in range(1, len(epochs)):
        if epochs[index].phase != epochs[index - 1].phase:
            ax.axvline(index + 0.5, color=GREY, linestyle=":", label="unfrozen")
    ax.set(xlabel="epoch", ylabel="top-1, %", title="Learning curves")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return ax


def plot_predictions(predictions: Sequence[Prediction], ax: Axes | None = None) -> Axes:
    """Draw predicted classes and their probabilities as bars, best on top.

    Args:
        predictions: from `deploy.classify`.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(5, 2.2))[1]
    names = [prediction.label for prediction in predictions]
    shares = [100 * prediction.probability for prediction in predictions]
    rows = range(len(names))
    ax.barh(rows, shares, color=[BLUE] + [GREY] * (len(names) - 1))
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.set(xlabel="probability, %", xlim=(0, 100), title="Answer")
    return ax


def plot_bars(values: dict[str, float], *, xlabel: str, title: str) -> Axes:
    """Draw named values as horizontal bars with their numbers.

    Args:
        values: name to value, drawn from the top.
        xlabel: quantity and unit.
        title: what to see.
    """
    _, ax = plt.subplots(figsize=(6, 0.6 + 0.4 * len(values)))
    bars = ax.barh(list(values), list(values.values()), color=BLUE)
    ax.bar_label(bars, fmt="{:,.1f}", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel=xlabel, title=title)
    return ax
