"""Draw the notebooks' figures: images, networks, learning, quantization.

Takes plain data; gives Matplotlib axes with titles, labels and units.
Used by the notebooks, which show the figure and say what to notice.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats

from edgetpu_lib import calibrate
from edgetpu_lib.costs import layers
from edgetpu_lib.deploy import Prediction
from edgetpu_lib.fine_tune import Epoch

# One colour a role, told apart by people with any colour vision (Okabe and Ito).
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#767676"
KIND_COLOURS = {"conv": BLUE, "depthwise": ORANGE, "dense": GREEN}


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


def plot_images(
    images_u8: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    columns: int = 5,
    colours: Sequence[str] | None = None,
) -> np.ndarray:
    """Show images in a grid.

    Args:
        images_u8: uint8 [height, width, 3] each, RGB.
        titles: a line or a few above each image.
        columns: images a row.
        colours: of the titles; `None` makes all black.

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
    for index, (image, title) in enumerate(zip(images_u8, titles, strict=True)):
        axis = axes.flat[index]
        axis.imshow(image)
        colour = colours[index] if colours else "black"
        axis.set_title(
            title, fontsize=9, fontweight="normal", color=colour, loc="center"
        )
    return axes


def plot_network(rows: Sequence[layers.LayerCost], ax: Axes | None = None) -> Axes:
    """Draw a network's layers as boxes: height is map size, width is channels.

    Args:
        rows: from `summary.layer_table`.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(9, 3.2))[1]
    x, height = 0.0, 0
    for row in rows:
        width = row.output_channels / 100
        ax.add_patch(
            Rectangle(
                (x, -row.output_size / 2),
                width,
                row.output_size,
                facecolor=KIND_COLOURS[row.kind],
                edgecolor="white",
                linewidth=0.5,
            )
        )
        if row.output_size != height and row.kind != "dense":
            height = row.output_size
            ax.text(x, height / 2 + 2, f"{height} px", fontsize=9, color=GREY)
        x += width + 0.6
    half = rows[0].output_size / 2
    ax.set(
        xlim=(-1, x),
        ylim=(-half - 2, half + 12),
        title="Every layer to scale: tall is resolution, wide is channels",
    )
    ax.set_axis_off()
    _legend_of_kinds(ax)
    return ax


def plot_costs(rows: Sequence[layers.LayerCost], ax: Axes | None = None) -> Axes:
    """Draw the share of arithmetic and of weights that each stage holds.

    Args:
        rows: from `summary.layer_table`.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(7, 3))[1]
    stages = range(max(row.stage for row in rows) + 1)
    macs = np.array([sum(r.macs for r in rows if r.stage == s) for s in stages])
    weights = np.array([sum(r.weights for r in rows if r.stage == s) for s in stages])
    position = np.arange(len(macs))
    ax.bar(position - 0.2, 100 * macs / macs.sum(), 0.4, color=BLUE, label="arithmetic")
    ax.bar(
        position + 0.2,
        100 * weights / weights.sum(),
        0.4,
        color=ORANGE,
        label="weights",
    )
    names = ["stem", *(f"stage {s}" for s in stages[1:-1]), "head"]
    ax.set_xticks(position, names)
    ax.set(ylabel="share, %", title="Arithmetic sits early, weights sit late")
    ax.legend(frameon=False)
    return ax


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
    """Draw the best answers as bars, best on top.

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


def plot_quantized_pixels(
    real: np.ndarray, quantized: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Draw which integer stands for which real number.

    Args:
        real: float, any shape: values before quantization.
        quantized: integers of the same shape.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(6, 3))[1]
    ax.plot(np.ravel(real), np.ravel(quantized), ".", color=BLUE, markersize=3)
    ax.set(xlabel="real value", ylabel="integer", title="One integer a pixel")
    return ax


def plot_ranges(ranges: dict[str, calibrate.Ranges], ax: Axes | None = None) -> Axes:
    """Draw from where to where every tensor's values reach.

    Args:
        ranges: label → ranges, the widest first; later ones are drawn over it.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(8, 3.2))[1]
    for (label, found), colour in zip(
        ranges.items(), (BLUE, ORANGE, GREEN), strict=False
    ):
        tensors = list(found.tensors.values())
        low = np.array([tensor.low for tensor in tensors])
        high = np.array([tensor.high for tensor in tensors])
        wide = 0.8 if colour == BLUE else 0.4
        ax.bar(range(len(low)), high - low, wide, low, color=colour, label=label)
    ax.set_yscale("symlog", linthresh=1)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set(
        xlabel="operator, from the image to the answer",
        ylabel="value (logarithmic beyond ±1)",
        title="From the smallest to the largest value",
    )
    ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return ax


def plot_value_histogram(
    values: np.ndarray, found: calibrate.TensorRange, ax: Axes | None = None
) -> Axes:
    """Draw how often each value occurs in a tensor, and the range that holds them.

    Args:
        values: float, any shape: the tensor for some images.
        found: its range over the calibration images.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(7, 3.2))[1]
    step = (found.high - found.low) / 255
    edges = found.low + step * (np.arange(257) - 0.5)
    outside = np.mean((values < edges[0]) | (values > edges[-1]))
    ax.hist(np.ravel(values), edges, color=BLUE)
    ax.set_yscale("log")
    for limit, words, side in (
        (found.low, " smallest", "left"),
        (found.high, "largest ", "right"),
    ):
        ax.axvline(limit, color=ORANGE, linewidth=1.5)
        ax.text(
            limit,
            0.97,
            f"{words} {limit:.2f} " if side == "left" else f" {words}{limit:.2f} ",
            transform=ax.get_xaxis_transform(),
            ha=side,
            va="top",
            color=GREY,
        )
    ax.set(
        xlabel=f"value; one bar is one of 256 steps of {step:.4f}",
        ylabel="how often",
        title=f"{100 * outside:.2g} % of the values lie outside the range",
    )
    return ax


def plot_bars(
    values: dict[str, float],
    *,
    xlabel: str,
    title: str,
    decimals: int = 1,
    ax: Axes | None = None,
) -> Axes:
    """Draw named values as horizontal bars with their numbers.

    Args:
        values: name to value, drawn from the top.
        xlabel: quantity and unit.
        title: what to see.
        decimals: of the numbers beside the bars.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(6, 0.6 + 0.4 * len(values)))[1]
    bars = ax.barh(list(values), list(values.values()), color=BLUE)
    ax.bar_label(bars, fmt=f"{{:,.{decimals}f}}", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel=xlabel, title=title)
    return ax


def _legend_of_kinds(ax: Axes) -> None:
    handles = [Rectangle((0, 0), 1, 1, color=c) for c in KIND_COLOURS.values()]
    labels = ["convolution", "depthwise convolution", "classifier"]
    ax.legend(handles, labels, frameon=False, loc="upper right")
