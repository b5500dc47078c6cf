"""Figures of a network: layers, costs, receptive fields, feature maps, memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from edgetpu_lib.costs import layers
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, PINK

KIND_COLOURS = {"conv": BLUE, "depthwise": ORANGE, "dense": GREEN}
COLOURS = (BLUE, ORANGE, GREEN, PINK)
# Light colours, visible on an image.
FRAME_COLOURS = (ORANGE, "#56B4E9", PINK, "#F0E442")


def plot_network(rows: Sequence[layers.LayerCost], ax: Axes | None = None) -> Axes:
    """Draw a network's layers as boxes: height is map size, width is channels.

    Args:
        rows: from `layers.layer_table`.
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


def plot_costs(rows: Sequence[layers.LayerCost]) -> Axes:
    """Draw each stage's share of MACs and of weights.

    Args:
        rows: from `layers.layer_table`.
    """
    _, ax = plt.subplots(figsize=(7, 3))
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


def _legend_of_kinds(ax: Axes) -> None:
    handles = [Rectangle((0, 0), 1, 1, color=c) for c in KIND_COLOURS.values()]
    labels = ["convolution", "depthwise convolution", "classifier"]
    ax.legend(handles, labels, frameon=False, loc="upper right")


def plot_receptive_fields(
    rows: Sequence[layers.LayerCost], image_size: int, ax: Axes | None = None
) -> Axes:
    """Draw each layer's receptive field beside the size of the image.

    Args:
        rows: from `layers.layer_table`.
        image_size: of the input, pixels.
        ax: where to draw; `None` makes a new figure.
    """
    ax = ax or plt.subplots(figsize=(6, 3.4))[1]
    fields = layers.receptive_fields(list(rows))
    shown = [row for row in rows if row.name in fields]
    sides = np.array([fields[row.name] for row in shown])
    ax.step(range(1, len(sides) + 1), sides, where="mid", color=BLUE)
    ax.axhline(image_size, color=ORANGE, linewidth=1)
    ax.annotate(
        f"the image, {image_size} px",
        (1, image_size),
        (0, 3),
        textcoords="offset points",
        color="#9A6700",
    )
    _shade_stages(ax, [row.stage for row in shown])
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
    stages: Sequence[layers.StageCost], image_u8: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Draw on an image the receptive field at the centre of each stage's last map.

    Args:
        stages: from `layers.stage_table`.
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
    image_u8: np.ndarray, maps: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Draw an image, and the two channels of each feature map that vary most.

    Args:
        image_u8: uint8 [size, size, 3], RGB.
        maps: title → float [height, width, channels]; blue is below zero, red above.

    Returns:
        The axes of the maps, [2 channels, maps].
    """
    channels = 2
    figure = plt.figure(figsize=(len(maps) + 1.8, channels + 0.35))
    grid = figure.add_gridspec(
        channels, 1 + len(maps), width_ratios=(1.7, *[1] * len(maps))
    )
    image = figure.add_subplot(grid[:, 0])
    image.imshow(image_u8)
    image.set_title("image", fontsize=9, fontweight="normal", loc="center")
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
    profiles: Mapping[str, Sequence[layers.OperatorMemory]], limit_bytes: int
) -> Axes:
    """Draw the live activations during each operator, and the chip's memory.

    Args:
        profiles: name → from `layers.memory_profile`.
        limit_bytes: of the chip's memory for activations.
    """
    _, ax = plt.subplots(figsize=(7, 2.9))
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
