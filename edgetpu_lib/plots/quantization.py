"""Figures of quantization: quantized values, ranges, and clipped values."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from edgetpu_lib import calibrate
from edgetpu_lib.plots.common import BLUE, GREY, ORANGE, draw_ranges


def plot_quantized_pixels(real: np.ndarray, quantized: np.ndarray) -> Axes:
    """Draw quantized values (integers) over real values of the same shape."""
    _, ax = plt.subplots(figsize=(6, 3))
    ax.plot(np.ravel(real), np.ravel(quantized), ".", color=BLUE, markersize=3)
    ax.set(xlabel="real value", ylabel="integer", title="One integer per pixel")
    return ax


def plot_ranges(ranges: dict[str, calibrate.Ranges]) -> Axes:
    """Draw the range of every tensor: label → ranges, the widest first."""
    _, ax = plt.subplots(figsize=(8, 3.2))
    rows = {
        label: [(tensor.low, tensor.high) for tensor in found.tensors.values()]
        for label, found in ranges.items()
    }
    draw_ranges(ax, rows, "operator, from input to output")
    ax.set_title("From the smallest to the largest value")
    return ax


def plot_value_histogram(values: np.ndarray, found: calibrate.TensorRange) -> Axes:
    """Draw a histogram of a tensor's values, and its range in calibration."""
    _, ax = plt.subplots(figsize=(7, 3.2))
    step = (found.high - found.low) / 255
    edges = found.low + step * (np.arange(257) - 0.5)
    outside = np.mean((values < edges[0]) | (values > edges[-1]))
    ax.hist(np.ravel(values), edges, color=BLUE)
    ax.set_yscale("log")
    style = {"transform": ax.get_xaxis_transform(), "va": "top", "color": GREY}
    for limit, word, side in (
        (found.low, "smallest", "left"),
        (found.high, "largest", "right"),
    ):
        ax.axvline(limit, color=ORANGE, linewidth=1.5)
        ax.text(limit, 0.97, f" {word} {limit:.2f} ", ha=side, **style)
    ax.set(
        xlabel=f"value; one bar is one of 256 steps of {step:.4f}",
        ylabel="how often",
        title=f"{100 * outside:.2g} % of the values lie outside the range",
    )
    return ax
