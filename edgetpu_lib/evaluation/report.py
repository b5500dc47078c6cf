"""The result of an evaluation, as a dictionary for JSON and as tables."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from edgetpu_lib import data
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.tflite.interpreter import Latency

# Top-1 on ImageNet, float and quantized, 0..1. Source: tensorflow/tpu
# models/official/efficientnet/edgetpu/README.md.
PUBLISHED = {
    "efficientnet-edgetpu-S": (0.7723, 0.770),
    "efficientnet-edgetpu-M": (0.7869, 0.786),
    "efficientnet-edgetpu-L": (0.8062, 0.802),
}
IMAGENET_OUTPUTS = (1000, 1001)
# A larger confusion matrix is left out of the JSON.
MAX_CONFUSION_CLASSES = 100
SHOWN = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """The measurements of a model on a set of images.

    Attributes:
        metrics: accuracies with their intervals.
        label_shift: −1 or 1 where the labels seem to be shifted by that much, else 0.
        classes: accuracy of each class.
        mistakes: int64, positions of wrong predictions, the most confident first.
        latency: of one inference without decoding, one thread.
        images_per_s: with decoding, all cores.
        predictions: for every image.
        labels: int64 [images], indices of the model's outputs.
        names: one for each of the model's outputs.
    """

    metrics: metrics.Metrics
    label_shift: int
    classes: tuple[metrics.ClassRow, ...]
    mistakes: np.ndarray
    latency: Latency
    images_per_s: float
    predictions: metrics.Predictions
    labels: np.ndarray
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """One model in the table of the family.

    Attributes:
        name: of the checkpoint.
        model_name: a key of `specs.SPECS`.
        floats: accuracies of the float model.
        integers: accuracies of the int8 model on the same images.
        comparison: float, then int8, image by image.
    """

    name: str
    model_name: str
    floats: metrics.Metrics
    integers: metrics.Metrics
    comparison: metrics.Comparison

    @property
    def lost_points(self) -> float:
        """Percentage points of top-1 that the int8 model lost against float."""
        return 100 * (self.floats.top1 - self.integers.top1)

    @property
    def published(self) -> tuple[float, ...]:
        """Published top-1, float and int8; empty for other classes than ImageNet's."""
        if self.floats.classes not in IMAGENET_OUTPUTS:
            return ()
        return PUBLISHED.get(self.model_name, ())


def as_dict(evaluation: Evaluation, images: data.Images) -> dict[str, Any]:
    """Return an evaluation of images for JSON."""
    found, names = evaluation.predictions, evaluation.names
    content = {
        **dataclasses.asdict(evaluation.metrics),
        "label_shift": evaluation.label_shift,
        "latency": dataclasses.asdict(evaluation.latency),
        "photos_per_s": evaluation.images_per_s,
        "per_class": [dataclasses.asdict(row) for row in evaluation.classes],
        "mistakes": [
            {
                "photo": str(images.paths[place]),
                "truth": names[evaluation.labels[place]],
                "answer": names[found.best[place]],
                "probability": float(found.probabilities[place, 0]),
            }
            for place in evaluation.mistakes
        ],
    }
    if found.classes <= MAX_CONFUSION_CLASSES:
        matrix = metrics.confusion(found, evaluation.labels)
        content["confusion"] = matrix.tolist()
    return content


def percent(share: float, low: float, high: float) -> str:
    """Write a share in per cent, with its interval: "83.90 [83.17, 84.61]"."""
    return f"{100 * share:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def overview(content: dict[str, Any], title: str) -> Table:
    """Make the table of a model's main numbers."""
    table = Table("measure", "value", title=title)
    for top in ("top1", "top5"):
        words = percent(content[top], content[f"{top}_low"], content[f"{top}_high"])
        table.add_row(f"top-{top[-1]}, % [95 % interval]", words)
    ms = content["latency"]
    for part in (50, 90, 99):
        words = f"{ms[f'p{part}_ms']:.1f}"
        table.add_row(f"ms an image, {part} % of runs within", words)
    table.add_row("images a second, with decoding", f"{content['photos_per_s']:.0f}")
    return table


def worst_classes(content: dict[str, Any]) -> Table:
    """Make the table of the classes with the lowest accuracy."""
    rows = [row for row in content["per_class"] if row["images"]]
    rows.sort(key=lambda row: row["top1"])
    table = Table("class", "images", "top-1, %", title="Worst classes")
    for row in rows[:SHOWN]:
        words = percent(row["top1"], row["low"], row["high"])
        table.add_row(row["name"], str(row["images"]), words)
    return table


def worst_mistakes(content: dict[str, Any]) -> Table:
    """Make the table of the most confident mistakes."""
    table = Table(
        "image", "label", "prediction", "probability", title="Most confident mistakes"
    )
    for row in content["mistakes"][:SHOWN]:
        words = f"{row['probability']:.2f}"
        table.add_row(Path(row["photo"]).name, row["truth"], row["answer"], words)
    return table


def comparison_table(comparison: dict[str, Any], first: str, second: str) -> Table:
    """Make the table of a `metrics.Comparison` of two models."""
    table = Table("measure", "value", title=f"{first} against {second}")
    table.add_row("same prediction, %", f"{100 * comparison['agreement']:.2f}")
    table.add_row(f"only {first} right", str(comparison["only_first"]))
    table.add_row(f"only {second} right", str(comparison["only_second"]))
    table.add_row("p-value, exact McNemar test", f"{comparison['p_value']:.3g}")
    return table


def family_table(rows: Sequence[ModelRow]) -> Table:
    """Make the reference's table: float, int8 and published accuracy of each model."""
    table = Table("", *(row.name for row in rows))
    cells_of = {
        "images": lambda row: f"{row.floats.images:,}",
        "float top-1, % [95 % interval]": lambda row: _top1(row.floats),
        "int8 top-1, % [95 % interval]": lambda row: _top1(row.integers),
        "points lost": lambda row: f"{row.lost_points:.2f}",
        "same prediction, %": lambda row: f"{100 * row.comparison.agreement:.2f}",
        "McNemar's p": lambda row: f"{row.comparison.p_value:.2g}",
        "published float / int8, %": lambda row: " / ".join(
            f"{100 * top1:.2f}" for top1 in row.published
        ),
    }
    for heading, cell_of in cells_of.items():
        cells = [cell_of(row) for row in rows]
        if any(cells):
            table.add_row(heading, *cells)
    return table


def _top1(found: metrics.Metrics) -> str:
    return percent(found.top1, found.top1_low, found.top1_high)


def row_as_dict(row: ModelRow) -> dict[str, Any]:
    """Return a model's numbers for JSON, with the published ones."""
    return {
        "name": row.name,
        "model_name": row.model_name,
        "float": dataclasses.asdict(row.floats),
        "int8": dataclasses.asdict(row.integers),
        "comparison": dataclasses.asdict(row.comparison),
        "lost_points": row.lost_points,
        "published": dict(zip(("float", "int8"), row.published, strict=False)),
    }


def to_markdown(table: Table) -> str:
    """Return a table as Markdown, its title as a heading."""
    title, table.title, table.box = table.title, None, box.MARKDOWN
    text = io.StringIO()
    Console(file=text, width=1000).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join([*([f"### {title}", ""] if title else []), *lines]) + "\n"


def tables_of(content: dict[str, Any]) -> list[Table]:
    """Make the tables of an evaluation and of the model it is compared with.

    `content` is from `as_dict`, with "model", "split" and perhaps "against".
    """
    where = f"on {content['images']:,} images ({content['split']})"
    tables = [overview(content, f"{content['model']} {where}")]
    if other := content.get("against"):
        tables.append(overview(other, f"{other['model']} {where}"))
        tables.append(comparison_table(other, content["model"], other["model"]))
    tables.append(worst_classes(content))
    return [*tables, worst_mistakes(content)] if content["mistakes"] else tables


def shift_warning(content: dict[str, Any]) -> str | None:
    """Return a warning if all labels seem to be shifted by one."""
    if not content["label_shift"]:
        return None
    words = "larger" if content["label_shift"] > 0 else "smaller"
    return (
        f"labels are shifted: most images would be right if every label were one"
        f" {words}; is output 0 the background? See --include_background_label"
    )
