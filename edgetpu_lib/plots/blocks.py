"""Figures of the cost of blocks: roofline, kinds of blocks, and scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from edgetpu_lib.costs.blocks import BlockTime, ScaledCost
from edgetpu_lib.costs.estimate import Estimate
from edgetpu_lib.plots import hardware as plots_hardware
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, note
from edgetpu_lib.teaching.block_kinds import KindCost

KIND_COLOURS = (BLUE, ORANGE, GREEN)
MARKERS = {"fused": "s", "inverted": "o"}


def plot_blocks(blocks: Sequence[BlockTime], estimate: Estimate) -> Axes:
    """Draw the rows of `blocks.block_times` on the roofline, coloured by bottleneck.

    Blocks with the same costs share one point and label; `estimate` is that of the
    whole network.
    """
    _, ax = plt.subplots(figsize=(7.5, 3.8))
    points: dict[tuple[float, float], list[BlockTime]] = {}
    for block in blocks:
        place = block.macs / block.parameter_bytes, block.macs / block.latency_ms * 1e3
        # Sums in another order differ in the last digits.
        points.setdefault(tuple(float(f"{n:.6g}") for n in place), []).append(block)
    for place, alike in points.items():
        ax.scatter(
            *place,
            s=36,
            marker=MARKERS.get(alike[0].kind, "D"),
            facecolor=plots_hardware.SHARES[alike[0].bound][1],
            edgecolor="white",
            linewidth=0.5,
            zorder=3,
        )
    xs, ys = np.array(list(points)).T
    ax.set(xscale="log", yscale="log")
    plots_hardware.draw_roofs(ax, estimate, min(xs), max(xs))
    # The lower end of the slanted roof, so that figures are comparable.
    lowest = ax.get_xlim()[0] * estimate.device.link_bytes_per_s
    ax.set(
        ylim=(lowest, None),
        xlabel="MACs for each byte of parameters",
        ylabel="MAC/s",
        title="What each block reaches",
    )
    _legend_of_blocks(ax, blocks)
    names = [_name_of(alike) for alike in points.values()]
    plots_hardware.label_points(ax, names, xs, ys, range(len(names)))
    return ax


def _name_of(blocks: Sequence[BlockTime]) -> str:
    """Return "4–6" for blocks that follow each other."""
    first, last = blocks[0].name, blocks[-1].name
    return first if len(blocks) == 1 else f"{first}–{last}"


def _legend_of_blocks(ax: Axes, blocks: Sequence[BlockTime]) -> None:
    bounds = dict.fromkeys(block.bound for block in blocks)
    for key in bounds:
        words, colour = plots_hardware.SHARES[key]
        ax.scatter([], [], marker="D", color=colour, label=words)
    for words, marker in (*MARKERS.items(), ("other", "D")):
        ax.scatter([], [], marker=marker, color=GREY, label=words)
    ax.legend(frameon=False, loc="lower right", fontsize=9)


def plot_kinds(
    compared: Mapping[str, Sequence[KindCost]], own: Mapping[str, str]
) -> Axes:
    """Draw the latency of a block of each kind, one group of bars a stage.

    Takes stage → rows of `block_kinds.compare_kinds`, and stage → the network's kind.
    """
    _, ax = plt.subplots(figsize=(7.2, 3))
    kinds = [cost.kind for cost in next(iter(compared.values()))]
    wide = 0.8 / len(kinds)
    for index, (kind, colour) in enumerate(zip(kinds, KIND_COLOURS, strict=False)):
        heights = [1e3 * costs[index].latency_ms for costs in compared.values()]
        places = np.arange(len(compared)) + (index - (len(kinds) - 1) / 2) * wide
        bars = ax.bar(places, heights, wide, color=colour)
        ax.bar_label(bars, fmt="{:.0f}", fontsize=8.5, padding=1)
        for bar, name in zip(bars, compared, strict=True):
            if own[name] == kind:
                bar.set(edgecolor="black", linewidth=2, zorder=3)
    ax.set_xticks(range(len(compared)), list(compared))
    ax.set(
        ylabel="microseconds, estimated",
        title="One block in three kinds; outlined is the network's own",
    )
    ax.margins(y=0.1)
    # Not the bars themselves, which may be outlined.
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in KIND_COLOURS]
    ax.legend(handles[: len(kinds)], kinds, frameon=False, loc="upper left")
    return ax


def plot_scaling(
    grid: Sequence[ScaledCost], published: Mapping[str, ScaledCost]
) -> np.ndarray:
    """Draw estimated milliseconds over width and depth, one panel an input size.

    White lines are of equal MACs. Beyond the dashed line the parameters do not fit on
    the chip, and some are sent for every inference. Takes `blocks.scaling_grid`, and
    the costs of published networks by name. Returns the axes, [input sizes].
    """
    sizes = sorted({cost.image_size for cost in grid})
    side = (2.4 * len(sizes) + 0.8, 3.4)
    figure, axes = plt.subplots(1, len(sizes), figsize=side, sharey=True, squeeze=False)
    latencies = [cost.latency_ms for cost in grid]
    colours = LogNorm(min(latencies), max(latencies))
    for ax, size in zip(axes[0], sizes, strict=True):
        mesh = _draw_grid(ax, [c for c in grid if c.image_size == size], colours)
        _mark_networks(ax, {n: c for n, c in published.items() if c.image_size == size})
        ax.set(title=f"{size} × {size} pixels", xlabel="width coefficient")
        ax.locator_params(axis="x", nbins=6)
    axes[0, 0].set_ylabel("depth coefficient")
    bar = figure.colorbar(mesh, ax=axes, label="milliseconds, estimated")
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100) if colours.vmin <= t <= colours.vmax]
    bar.set_ticks(ticks, labels=map(str, ticks))
    bar.minorticks_off()
    _legend_of_lines(figure)
    return axes[0]


def _draw_grid(ax: Axes, grid: Sequence[ScaledCost], colours: LogNorm) -> QuadMesh:
    widths = sorted({cost.width_coefficient for cost in grid})
    depths = sorted({cost.depth_coefficient for cost in grid})
    found = {(c.depth_coefficient, c.width_coefficient): c for c in grid}
    table = [[found[depth, width] for width in widths] for depth in depths]
    latency_ms = [[cost.latency_ms for cost in row] for row in table]
    giga_macs = [[cost.macs / 1e9 for cost in row] for row in table]
    is_sent = np.array([[cost.streamed_bytes > 0 for cost in row] for row in table])
    mesh = ax.pcolormesh(
        widths, depths, latency_ms, norm=colours, cmap="viridis", shading="nearest"
    )
    lines = ax.contour(
        widths,
        depths,
        giga_macs,
        levels=[2**n for n in range(7)],
        colors="white",
        linewidths=1,
        antialiased=False,  # Smooth lines on colours make a PNG a fifth larger.
    )
    ax.clabel(lines, fmt="%g", fontsize=9)
    if is_sent.any() and not is_sent.all():
        dashed = {"colors": ORANGE, "linestyles": "dashed", "linewidths": 2}
        ax.contour(widths, depths, is_sent.astype(float), levels=[0.5], **dashed)
    return mesh


def _mark_networks(ax: Axes, networks: Mapping[str, ScaledCost]) -> None:
    for name, cost in networks.items():
        place = cost.width_coefficient, cost.depth_coefficient
        ax.plot(*place, "o", color="white", markeredgecolor="black", markersize=9)
        words = f"{name}  {cost.latency_ms:.1f} ms"
        style = {"ha": "center", "va": "top", "color": "white", "fontweight": "bold"}
        outline = [withStroke(linewidth=2.5, foreground="black")]
        note(ax, words, place, (0, -8), **style, path_effects=outline)


def _legend_of_lines(figure: Figure) -> None:
    """Add a legend with a dark background, on which white lines show."""
    white = Line2D([], [], color="white")
    dashed = Line2D([], [], color=ORANGE, linestyle="dashed", linewidth=2)
    figure.legend(
        [white, dashed],
        ["equal arithmetic, GMAC", "from here on parameters are sent"],
        loc="outside lower center",
        ncols=2,
        fontsize=9,
        facecolor="#30678D",
        framealpha=1,
        labelcolor="white",
    )
