"""Figures of accuracy: intervals, classes, confusion, mistakes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from edgetpu_lib import data
from edgetpu_lib.evaluate import Evaluation
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.images import pixels
from edgetpu_lib.plots import common
from edgetpu_lib.plots.common import BLUE, GREEN, GREY, ORANGE

COLOURS = (BLUE, ORANGE, GREEN)
# Larger numbers would be illegible on a page.
MAX_CLASS_ROWS = 15
MAX_NUMBERED_CLASSES = 12
MAX_CONFUSION_CLASSES = 100
MAX_MISTAKES = 10
THUMBNAIL_PIXELS = 160


def plot_accuracies(found: Mapping[str, metrics.Metrics]) -> Axes:
    """Draw the top-1 of several models (by name) with their 95 % intervals."""
    _, ax = plt.subplots(figsize=(6, 0.9 + 0.4 * len(found)))
    for row, (each, colour) in enumerate(zip(found.values(), COLOURS, strict=False)):
        value = 100 * each.top1
        ends = [[value - 100 * each.top1_low], [100 * each.top1_high - value]]
        ax.errorbar(value, row, xerr=ends, fmt="o", color=colour, capsize=4)
        common.note(ax, f"{value:.1f}", (value, row), (0, 6), ha="center")
    ax.set_yticks(range(len(found)), list(found))
    ax.set_ylim(len(found) - 0.5, -0.6)
    ax.margins(x=0.2)
    images = next(iter(found.values())).images
    ax.set_xlabel("top-1, %, with 95 % interval")
    ax.set_title(f"Accuracy on {images:,} images")
    return ax


def plot_classes(found: Mapping[str, Sequence[metrics.ClassRow]]) -> Axes:
    """Draw the top-1 of each class with 95 % intervals, worst first.

    `found` maps a model's name to rows of `metrics.per_class`. The first model sets the
    order; of many classes its worst are shown.
    """
    first, *_ = found.values()
    order = sorted(
        (place for place, row in enumerate(first) if row.images),
        key=lambda place: first[place].top1,
    )[:MAX_CLASS_ROWS]
    height = 0.8 / len(found)
    size = (6.5, 1.1 + 0.2 * len(order) * (1 + len(found)) / 2)
    _, ax = plt.subplots(figsize=size)
    pairs = zip(found.items(), COLOURS, strict=False)
    for number, ((name, rows), colour) in enumerate(pairs):
        shown = [rows[place] for place in order]
        values = np.array([100 * row.top1 for row in shown])
        ends = np.array([[100 * row.low, 100 * row.high] for row in shown]).T
        middles = np.arange(len(order)) + (number - (len(found) - 1) / 2) * height
        style = {"color": colour, "ecolor": GREY, "label": name}
        ax.barh(middles, values, 0.9 * height, xerr=np.abs(ends - values), **style)
    names = [f"{_short(first[place].name)} ({first[place].images})" for place in order]
    ax.set_yticks(range(len(order)), names)
    ax.invert_yaxis()
    worst = "" if len(order) < MAX_CLASS_ROWS else f", {MAX_CLASS_ROWS} worst"
    ax.set(
        xlabel="recognised, %, with 95 % interval",
        xlim=(0, 103),
        title=f"Class by class (images){worst}",
    )
    if len(found) > 1:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> Axes:
    """Draw the matrix of `metrics.confusion`, each row as a share of its true class."""
    many = len(class_names) > MAX_NUMBERED_CLASSES
    side = 6 if many else 1.6 + 0.6 * len(class_names)
    _, ax = plt.subplots(figsize=(side + 0.6, side))
    share = 100 * matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    drawn = ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if many:
        ax.figure.colorbar(drawn, ax=ax, label="%", shrink=0.8)
    else:
        for (row, column), value in np.ndenumerate(share):
            colour = "white" if value > 55 else "black"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour)
        ax.set_xticks(range(len(class_names)), class_names, rotation=30, ha="right")
        ax.set_yticks(range(len(class_names)), class_names)
    ax.set(xlabel="prediction", ylabel="label", title="Confusion, % of the true class")
    return ax


def plot_probabilities(
    first: metrics.Predictions,
    second: metrics.Predictions,
    *,
    names: tuple[str, str] = ("float", "int8"),
) -> Axes:
    """Draw both models' probabilities of the first model's predictions.

    Both were made on the same images; `names` are those of the models.
    """
    _, ax = plt.subplots(figsize=(4.2, 4))
    # A class that is not among the second model's best five has probability 0.
    places = second.indices == first.best[:, None]
    theirs = (second.probabilities * places).sum(axis=1)
    same = first.best == second.best
    for chosen, colour, label in (
        (same, BLUE, "same prediction"),
        (~same, ORANGE, "another prediction"),
    ):
        points = first.probabilities[chosen, 0], theirs[chosen]
        label = f"{label}: {chosen.sum():,} images"
        ax.plot(*points, ".", color=colour, markersize=4, label=label)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    ax.set(
        xlabel=f"probability, {names[0]}",
        ylabel=f"probability of the same class, {names[1]}",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        title=f"{names[0]} against {names[1]}",
    )
    ax.legend(frameon=False, markerscale=3, loc="upper left")
    return ax


def plot_mistakes(evaluation: Evaluation, images: data.Images) -> np.ndarray | None:
    """Show the ten most confident mistakes on the evaluated images.

    Returns the axes, or None if there are no mistakes.
    """
    places = evaluation.mistakes[:MAX_MISTAKES]
    titles = [
        f"{_short(evaluation.names[evaluation.labels[place]])}, seen as\n"
        f"{_predicted(evaluation, place, ',')}"
        for place in places
    ]
    return _gallery(images, places, titles)


def plot_disagreements(
    first: Evaluation,
    second: Evaluation,
    images: data.Images,
    *,
    names: tuple[str, str] = ("float", "int8"),
    count: int = 10,
) -> np.ndarray | None:
    """Show images that two models, called `names`, classify differently.

    At most `count` are shown, the most confident of the first model first. Returns the
    axes, or None if there are no such images.
    """
    places = np.flatnonzero(first.predictions.best != second.predictions.best)
    sure = first.predictions.probabilities[places, 0]
    places = places[np.argsort(-sure, kind="stable")][:count]
    titles = [
        f"{_short(first.names[first.labels[place]])}\n"
        f"{names[0]}: {_predicted(first, place)}\n"
        f"{names[1]}: {_predicted(second, place)}"
        for place in places
    ]
    return _gallery(images, places, titles)


def _short(name: str) -> str:
    """Return the first of a class's names, shortened to fit above an image."""
    return textwrap.shorten(name.split(",")[0], 18, placeholder="…")


def _predicted(evaluation: Evaluation, place: int, mark: str = "") -> str:
    """Return the predicted class of an image, a mark and the probability."""
    found = evaluation.predictions
    name = _short(evaluation.names[found.best[place]])
    return f"{name}{mark} {100 * found.probabilities[place, 0]:.0f} %"


def _gallery(
    images: data.Images, places: np.ndarray, titles: Sequence[str]
) -> np.ndarray | None:
    if not len(places):
        return None
    arrays = [
        pixels.to_uint8(data.load_image(images.paths[place], THUMBNAIL_PIXELS))
        for place in places
    ]
    return common.plot_images(arrays, titles, columns=min(5, len(arrays)))


def save_figures(
    folder: str | Path, evaluations: Mapping[str, Evaluation], images: data.Images
) -> list[Path]:
    """Write the figures of one or two evaluations of the same images as PNG.

    Raises:
        InputError: a file cannot be written.
    """
    common.use_style()
    first, *rest = evaluations.values()
    drawn = {
        "accuracy": plot_accuracies({n: e.metrics for n, e in evaluations.items()}),
        "classes": plot_classes({n: e.classes for n, e in evaluations.items()}),
        "mistakes": plot_mistakes(first, images),
    }
    if first.predictions.classes <= MAX_CONFUSION_CLASSES:
        matrix = metrics.confusion(first.predictions, first.labels)
        drawn["confusion"] = plot_confusion(matrix, first.names)
    for second in rest:
        drawn["probabilities"] = plot_probabilities(
            first.predictions, second.predictions, names=("first", "second")
        )
        drawn["disagreements"] = plot_disagreements(
            first, second, images, names=("1st", "2nd")
        )
    return [
        common.save_figure(Path(folder) / f"{name}.png", np.ravel(axes)[0].figure)
        for name, axes in drawn.items()
        if axes is not None
    ]
