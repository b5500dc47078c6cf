"""Figures of a search: accuracy against latency, progress, and several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from edgetpu_lib.plots import common
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE, PINK
from edgetpu_lib.search import evolution
from edgetpu_lib.search.evolution import Candidate

# Colour and marker of each strategy's networks.
STRATEGY_LOOKS = {"evolution": (BLUE, "o"), "random": (ORANGE, "s")}


def plot_candidates(
    searches: Mapping[str, Sequence[Candidate]],
    *,
    target_latency_ms: float,
    references: Mapping[str, tuple[float, float]] | None = None,
) -> Axes:
    """Draw accuracy against latency, with the Pareto front and each search's winner.

    Args:
        searches: strategy → candidates.
        target_latency_ms: drawn as a line.
        references: other networks, name → (latency in ms, top-1).
    """
    _, ax = plt.subplots(figsize=(7.5, 4.6))
    everything = [candidate for found in searches.values() for candidate in found]
    front = evolution.pareto_front(everything)
    ax.step(
        [c.latency_ms for c in front] + [max(c.latency_ms for c in everything)],
        [c.top1 for c in front] + [front[-1].top1],
        where="post",
        color=GREEN,
        linewidth=1.2,
        label="Pareto front",
        zorder=1,
    )
    for strategy, found in searches.items():
        _draw_search(ax, strategy, found)
    for name, (latency_ms, top1) in (references or {}).items():
        ax.scatter(latency_ms, top1, s=70, color=PINK, marker="D", label=name)
    ax.axvline(target_latency_ms, color=GREY, linewidth=1, linestyle=":")
    style = {"xycoords": ("data", "axes fraction"), "color": GREY, "va": "top"}
    common.note(ax, "target", (target_latency_ms, 1), (3, -3), **style)
    ax.set(
        xscale="log",
        xlabel="estimated latency, ms",
        ylabel="top-1 after a brief training",
        title="Accuracy against latency, one mark a network",
    )
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(lambda value, _: _few(value))
    # Steps of whole percents, so that no label is rounded.
    ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    # Beside the axes, where it covers no networks.
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return ax


def _draw_search(ax: Axes, strategy: str, found: Sequence[Candidate]) -> None:
    """Draw all networks of a search, and outline its winner."""
    colour, mark = STRATEGY_LOOKS[strategy]
    ax.scatter(
        [c.latency_ms for c in found],
        [c.top1 for c in found],
        s=28,
        color=colour,
        marker=mark,
        alpha=0.55,
        linewidth=0,
        label=f"{strategy}, {len(found)} networks",
    )
    winner = evolution.best(found)
    ax.scatter(
        winner.latency_ms,
        winner.top1,
        s=150,
        facecolor="none",
        edgecolor=colour,
        linewidth=2,
        marker=mark,
        label=f"its winner, reward {winner.reward:.3f}",
    )


def _few(value: float) -> str:
    """Return a label for 2 and 5 of each decade, none for others."""
    digit = value / 10 ** np.floor(np.log10(value))
    return f"{value:g}" if round(digit) in (2, 5) else ""


def plot_progress(searches: Mapping[str, Sequence[Candidate]]) -> Axes:
    """Draw the best reward so far over the number of evaluated networks."""
    _, ax = plt.subplots(figsize=(7, 3.2))
    for strategy, found in searches.items():
        colour, mark = STRATEGY_LOOKS[strategy]
        rewards = [candidate.reward for candidate in found]
        numbers = np.arange(1, len(rewards) + 1)
        best, label = np.maximum.accumulate(rewards), f"{strategy}, best so far"
        ax.step(numbers, best, where="post", color=colour, label=label)
        ax.scatter(numbers, rewards, s=16, color=colour, marker=mark, alpha=0.5)
    ax.set(
        xlabel="networks evaluated",
        ylabel="reward",
        title="A mark is a network, the line the best so far",
    )
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return ax


def plot_seeds(rows: Sequence[Mapping[str, float]], strategies: Sequence[str]) -> Axes:
    """Draw the rewards of several searches' winners, a line a seed.

    Each row is of one seed: strategy → reward of its winner, trained again.
    """
    _, ax = plt.subplots(figsize=(5, 3.2))
    for row in rows:
        values = [row[strategy] for strategy in strategies]
        ax.plot(strategies, values, color=GREY, linewidth=1, zorder=1)
    for strategy in strategies:
        colour, mark = STRATEGY_LOOKS[strategy]
        values = [row[strategy] for row in rows]
        ax.scatter([strategy] * len(rows), values, s=36, color=colour, marker=mark)
        words, place = f"mean {np.mean(values):.3f}", (strategy, max(values))
        common.note(ax, words, place, (0, 9), ha="center", color=colour)
    ax.margins(x=0.35, y=0.18)
    ax.set(
        ylabel="reward of the winner, trained again",
        title=f"{len(rows)} seeds, the same budget",
    )
    return ax


def save_figure(
    path: str | Path,
    searches: Mapping[str, Sequence[Candidate]],
    *,
    target_latency_ms: float,
) -> Path:
    """Write the figure of `plot_candidates` as PNG; InputError if that fails."""
    common.use_style()
    ax = plot_candidates(searches, target_latency_ms=target_latency_ms)
    return common.save_figure(path, ax.figure)
