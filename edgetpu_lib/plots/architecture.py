"""Draw what a network sees and keeps, layer by layer.

Takes rows of `summary` and feature maps; gives Matplotlib axes with titles and units.
Used by the notebooks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from edgetpu_lib.costs import layers as summary
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, PINK

COLOURS = (BLUE, ORANGE, GREEN, PINK)
# Light ones, that stand out from an image.
FRAME_COLOURS = (ORANGE, "#56B4E9", PINK, "#F0E442")


def plot_receptive_fields(
    rows: Sequence[summary.LayerCost], image_size: int, ax: Axes | None = None
) -> Axes:
    """Draw how far each layer looks, and from where on it sees the whole image.

    Args:
        rows: from `summary.layer_table`.
        image_size: of the input, pixels.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(6, 3.4))[1]
    fields = summary.receptive_fields(list(rows))
    layers = [row for row in rows if row.name in fields]
    sides = np.array([fields[row.name] for row in layers])
    ax.step(range(1, len(sides) + 1), sides, where="mid", color=BLUE)
    ax.axhline(image_size, color=ORANGE, linewidth=1)
    ax.annotate(
        f"the image, {image_size} px",
        (1, image_size),
        (0, 3),
        textcoords="offset points",
        color="#9A6700",
    )
    _shade_stages(ax, [row.stage for row in layers])
    ax.set(
        xlabel="layer, with its stage",
        ylabel="receptive field, pixels",
        title="Each layer looks a little further",
        xlim=(0.5, len(sides) + 0.5),
        ylim=(0, 1.12 * max(*sides, image_size)),
    )
    return ax


def _shade_stages(ax: Axes, stages: Sequence[int]) -> None:
    """Shade every other stage, and write its number on top."""
    for stage in range(1, max(stages)):
        first, count = stages.index(stage) + 0.5, stages.count(stage)
        if stage % 2:
            ax.axvspan(first, first + count, color=GREY, alpha=0.12, linewidth=0)
        ax.text(
            first + count / 2,
            0.985,
            str(stage),
            transform=ax.get_xaxis_transform(),
            color=GREY,
            ha="center",
            va="top",
        )


def plot_fields_on_image(
    stages: Sequence[summary.StageCost], image_u8: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Draw on an image what the middle of each stage's last map depends on.

    Args:
        stages: from `summary.stage_table`.
        image_u8: uint8 [size, size, 3], RGB, of the network's input size.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(4, 4))[1]
    size = image_u8.shape[0]
    ax.imshow(image_u8, extent=(0, size, size, 0))
    inside = [stage for stage in stages if stage.receptive_field < size]
    for stage, colour in zip(inside, itertools.cycle(FRAME_COLOURS)):
        side = stage.receptive_field
        corner = (size - side) / 2
        frame = {"xy": (corner, corner), "width": side, "height": side, "fill": False}
        ax.add_patch(Rectangle(**frame, edgecolor="black", linewidth=3.5))
        label = f"{stage.name}: {side} px"
        ax.add_patch(Rectangle(**frame, edgecolor=colour, linewidth=2, label=label))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set_title("What one place of a map sees")
    ax.set_axis_off()
    return ax


def plot_activations(
    image_u8: np.ndarray, maps: Mapping[str, np.ndarray], *, channels: int = 2
) -> np.ndarray:
    """Draw an image, and of each feature map the channels that vary most.

    Args:
        image_u8: uint8 [size, size, 3], RGB.
        maps: title → float [height, width, channels]; blue is below zero, red above.
        channels: shown of each map.

    Returns:
        The axes of the maps, [channels, maps].
    """
    figure = plt.figure(figsize=(len(maps) + 1.8, channels + 0.35))
    grid = figure.add_gridspec(
        channels, 1 + len(maps), width_ratios=(1.7, *[1] * len(maps))
    )
    image = figure.add_subplot(grid[:, 0])
    image.imshow(image_u8)
    image.set_title("photo", fontsize=9, fontweight="normal", loc="center")
    axes = np.array(
        [
            [figure.add_subplot(grid[row, 1 + column]) for column in range(len(maps))]
            for row in range(channels)
        ]
    )
    for column, (title, values) in zip(axes.T, maps.items(), strict=True):
        column[0].set_title(title, fontsize=9, fontweight="normal", loc="center")
        spread = values.std(axis=(0, 1))
        chosen = np.argsort(spread)[::-1][:channels]
        for axis, channel in zip(column, chosen, strict=False):
            limit = np.abs(values[..., channel]).max()
            axis.imshow(values[..., channel], cmap="RdBu_r", vmin=-limit, vmax=limit)
    for axis in figure.axes:
        axis.set_axis_off()
    return axes


def plot_memory(
    profiles: Mapping[str, Sequence[summary.OperatorMemory]],
    limit_bytes: int,
    ax: Axes | None = None,
) -> Axes:
    """Draw what must be kept while each operator runs, and what the chip can hold.

    Args:
        profiles: name → from `summary.memory_profile`.
        limit_bytes: of the chip's memory for activations.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(7, 2.9))[1]
    for (name, rows), colour in zip(profiles.items(), COLOURS, strict=False):
        live_mib = np.array([row.live_bytes for row in rows]) / edge_tpu.MIB
        ax.stairs(live_mib, np.arange(len(rows) + 1), color=colour, label=name)
        ax.fill_between(
            np.arange(len(rows) + 1),
            np.append(live_mib, live_mib[-1]),
            step="post",
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        highest = int(live_mib.argmax())
        ax.annotate(
            f"{live_mib[highest]:.2f} MiB, {rows[highest].kind}",
            (highest + 0.5, live_mib[highest]),
            (90, 0),
            textcoords="offset points",
            va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.8},
        )
    ax.axhline(limit_bytes / edge_tpu.MIB, color=GREY, linewidth=1, linestyle="--")
    ax.annotate(
        f"the chip's {limit_bytes / edge_tpu.MIB:.0f} MiB",
        (1, limit_bytes / edge_tpu.MIB),
        (0, 3),
        textcoords="offset points",
        xycoords=("axes fraction", "data"),
        ha="right",
        color=GREY,
    )
    ax.set(
        xlabel="operator, in the order of execution",
        ylabel="live activations, MiB",
        title="Memory peaks early, where maps are large",
        xlim=(0, max(len(rows) for rows in profiles.values())),
    )
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, loc="center right")
    return ax
