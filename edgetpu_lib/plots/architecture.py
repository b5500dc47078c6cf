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
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, PINK, note

KIND_COLOURS = {"conv": BLUE, "depthwise": ORANGE, "dense": GREEN}
COLOURS = (BLUE, ORANGE, GREEN, PINK)
# Light colours, visible on an image.
FRAME_COLOURS = (ORANGE, "#56B4E9", PINK, "#F0E442")


def plot_network(rows: Sequence[layers.LayerCost], ax: Axes | None = None) -> Axes:
    """Draw the rows of `layers.layer_table` as boxes: map size high, channels wide.

    Without `ax` a new figure is made.
    """
    ax = ax or plt.subplots(figsize=(9, 3.2))[1]
    x, height = 0.0, 0
    for row in rows:
        width, corner = row.output_channels / 100, (x, -row.output_size / 2)
        box = Rectangle(corner, width, row.output_size, edgecolor="white")
        box.set(facecolor=KIND_COLOURS[row.kind], linewidth=0.5)
        ax.add_patch(box)
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
    handles = [Rectangle((0, 0), 1, 1, color=c) for c in KIND_COLOURS.values()]
    labels = ["convolution", "depthwise convolution", "classifier"]
    ax.legend(handles, labels, frameon=False, loc="upper right")
    return ax


def plot_costs(rows: Sequence[layers.LayerCost]) -> Axes:
    """Draw each stage's share of MACs and of weights, from `layers.layer_table`."""
    _, ax = plt.subplots(figsize=(7, 3))
    stages = range(max(row.stage for row in rows) + 1)
    macs = np.array([sum(r.macs for r in rows if r.stage == s) for s in stages])
    weights = np.array([sum(r.weights for r in rows if r.stage == s) for s in stages])
    for values, shift, colour, label in (
        (macs, -0.2, BLUE, "arithmetic"),
        (weights, 0.2, ORANGE, "weights"),
    ):
        places, shares = np.array(stages) + shift, 100 * values / values.sum()
        ax.bar(places, shares, 0.4, color=colour, label=label)
    ax.set_xticks(stages, ["stem", *(f"stage {s}" for s in stages[1:-1]), "head"])
    ax.set(ylabel="share, %", title="Arithmetic sits early, weights sit late")
    ax.legend(frameon=False)
    return ax


def plot_receptive_fields(
    rows: Sequence[layers.LayerCost], image_size: int, ax: Axes | None = None
) -> Axes:
    """Draw the receptive field of each row of `layers.layer_table`, pixels.

    A line marks the size of the input. Without `ax` a new figure is made.
    """
    ax = ax or plt.subplots(figsize=(6, 3.4))[1]
    fields = layers.receptive_fields(list(rows))
    shown = [row for row in rows if row.name in fields]
    sides = np.array([fields[row.name] for row in shown])
    ax.step(range(1, len(sides) + 1), sides, where="mid", color=BLUE)
    ax.axhline(image_size, color=ORANGE, linewidth=1)
    note(ax, f"the image, {image_size} px", (1, image_size), (0, 3), color="#9A6700")
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
    """Shade every other stage, and write the number of each on top."""
    style = {"transform": ax.get_xaxis_transform(), "color": GREY}
    for stage in range(1, max(stages)):
        first, count = stages.index(stage) + 0.5, stages.count(stage)
        if stage % 2:
            ax.axvspan(first, first + count, color=GREY, alpha=0.12, linewidth=0)
        ax.text(first + count / 2, 0.985, stage, ha="center", va="top", **style)


def plot_fields_on_image(
    stages: Sequence[layers.StageCost], image_u8: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Draw on an image the receptive field at the centre of each stage's last map.

    Takes the rows of `layers.stage_table` and uint8 [size, size, 3], RGB, of the
    network's input size. Without `ax` a new figure is made.
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

    Takes uint8 [size, size, 3], RGB, and title → float [height, width, channels]: blue
    is below zero, red above. Returns the axes of the maps, [2 channels, maps].
    """
    channels = 2
    figure = plt.figure(figsize=(len(maps) + 1.8, channels + 0.35))
    ratios = (1.7, *[1] * len(maps))
    grid = figure.add_gridspec(channels, 1 + len(maps), width_ratios=ratios)
    image = figure.add_subplot(grid[:, 0])
    image.imshow(image_u8)
    image.set_title("image", fontsize=9, fontweight="normal", loc="center")
    columns = range(1, 1 + len(maps))
    axes = np.array(
        [[figure.add_subplot(grid[y, x]) for x in columns] for y in range(channels)]
    )
    for column, (title, values) in zip(axes.T, maps.items(), strict=True):
        column[0].set_title(title, fontsize=9, fontweight="normal", loc="center")
        chosen = np.argsort(values.std(axis=(0, 1)))[::-1][:channels]
        for axis, channel in zip(column, chosen, strict=False):
            limit = np.abs(values[..., channel]).max()
            axis.imshow(values[..., channel], cmap="RdBu_r", vmin=-limit, vmax=limit)
    for axis in figure.axes:
        axis.set_axis_off()
    return axes


def plot_memory(
    profiles: Mapping[str, Sequence[layers.OperatorMemory]], limit_bytes: int
) -> Axes:
    """Draw the live activations during each operator, and the chip's memory for them.

    `profiles` maps a name to rows of `layers.memory_profile`.
    """
    _, ax = plt.subplots(figsize=(7, 2.9))
    for (name, rows), colour in zip(profiles.items(), COLOURS, strict=False):
        live_mib = np.array([row.live_bytes for row in rows]) / edge_tpu.MIB
        edges = np.arange(len(rows) + 1)
        ax.stairs(live_mib, edges, color=colour, label=name)
        filled = {"step": "post", "color": colour, "alpha": 0.2, "linewidth": 0}
        ax.fill_between(edges, np.append(live_mib, live_mib[-1]), **filled)
        highest = int(live_mib.argmax())
        words = f"{live_mib[highest]:.2f} MiB, {rows[highest].kind}"
        place = highest + 0.5, live_mib[highest]
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.8}
        note(ax, words, place, (90, 0), va="center", arrowprops=line)
    limit = limit_bytes / edge_tpu.MIB
    ax.axhline(limit, color=GREY, linewidth=1, linestyle="--")
    style = {"xycoords": ("axes fraction", "data"), "ha": "right", "color": GREY}
    note(ax, f"the chip's {limit:.0f} MiB", (1, limit), (0, 3), **style)
    ax.set(
        xlabel="operator, in the order of execution",
        ylabel="live activations, MiB",
        title="Memory peaks early, where maps are large",
        xlim=(0, max(len(rows) for rows in profiles.values())),
    )
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, loc="center right")
    return ax
