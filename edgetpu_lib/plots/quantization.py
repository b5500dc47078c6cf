"""Figures of quantization: integers for real values, ranges, and what they clip."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from edgetpu_lib import calibrate
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE


def plot_quantized_pixels(real: np.ndarray, quantized: np.ndarray) -> Axes:
    """Draw quantized values over real values.

    Args:
        real: float, any shape: values before quantization.
        quantized: integers of the same shape.
    """
    _, ax = plt.subplots(figsize=(6, 3))
    ax.plot(np.ravel(real), np.ravel(quantized), ".", color=BLUE, markersize=3)
    ax.set(xlabel="real value", ylabel="integer", title="One integer per pixel")
    return ax


def plot_ranges(ranges: dict[str, calibrate.Ranges]) -> Axes:
    """Draw the range of every tensor.

    Args:
        ranges: label → ranges, the widest first; later ones are drawn over it.
    """
    _, ax = plt.subplots(figsize=(8, 3.2))
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
        xlabel="operator, from input to output",
        ylabel="value (logarithmic beyond ±1)",
        title="From the smallest to the largest value",
    )
    ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return ax


def plot_value_histogram(values: np.ndarray, found: calibrate.TensorRange) -> Axes:
    """Draw a histogram of a tensor's values, and its range.

    Args:
        values: float, any shape: the tensor for some images.
        found: its range over the calibration images.
    """
    _, ax = plt.subplots(figsize=(7, 3.2))
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
