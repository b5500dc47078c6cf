"""Lay out what was measured: tables for a terminal and for Markdown, dictionaries.

Takes evaluations; gives tables that say how sure each number is, beside the published
ones. Used by the commands `evaluate` and `report`.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from edgetpu_lib import data
from edgetpu_lib.evaluate import Evaluation
from edgetpu_lib.evaluation import metrics

# Top-1 on ImageNet, float and quantized, 0..1. Source: tensorflow/tpu
# models/official/efficientnet/edgetpu/README.md.
PUBLISHED = {
    "efficientnet-edgetpu-S": (0.7723, 0.770),
    "efficientnet-edgetpu-M": (0.7869, 0.786),
    "efficientnet-edgetpu-L": (0.8062, 0.802),
}
IMAGENET_OUTPUTS = (1000, 1001)
_KINDS = {"floats": "float", "integers": "int8"}
# A confusion matrix of more classes is no reading matter.
MAX_CONFUSION_CLASSES = 100
SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """One model in the table of the family; shares are 0..1.

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
        """Percentage points of top-1 that int8 lost against float."""
        return 100 * (self.floats.top1 - self.integers.top1)

    @property
    def published(self) -> tuple[float, ...]:
        """Published top-1, float and int8; empty for other classes than ImageNet's."""
        if self.floats.classes not in IMAGENET_OUTPUTS:
            return ()
        return PUBLISHED.get(self.model_name, ())


def as_dict(evaluation: Evaluation, images: data.Images) -> dict[str, Any]:
    """Return an evaluation for JSON.

    Args:
        evaluation: of a model.
        images: that it was made on.
    """
    found, names = evaluation.predictions, evaluation.names
    content = {
        **dataclasses.asdict(evaluation.metrics),
        "label_shift": evaluation.label_shift,
        "latency": dataclasses.asdict(evaluation.latency),
        "photos_per_s": evaluation.photos_per_s,
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
    """Make the table of a model's main numbers.

    Args:
        content: from `as_dict`.
        title: model and images.
    """
    table = Table("measure", "value", title=title)
    for top in ("top1", "top5"):
        words = percent(content[top], content[f"{top}_low"], content[f"{top}_high"])
        table.add_row(f"top-{top[-1]}, % [95 % interval]", words)
    ms = content["latency"]
    for part in (50, 90, 99):
        table.add_row(
            f"ms an image, {part} % of runs within", f"{ms[f'p{part}_ms']:.1f}"
        )
    table.add_row(
        "images a second, decoded and answered", f"{content['photos_per_s']:.0f}"
    )
    return table


def worst_classes(content: dict[str, Any], shown: int = SHOWN) -> Table:
    """Make the table of the classes that are recognised least."""
    rows = [row for row in content["per_class"] if row["images"]]
    rows.sort(key=lambda row: row["top1"])
    table = Table("class", "photos", "top-1, %", title="Worst classes")
    for row in rows[:shown]:
        words = percent(row["top1"], row["low"], row["high"])
        table.add_row(row["name"], str(row["images"]), words)
    return table


def worst_mistakes(content: dict[str, Any], shown: int = SHOWN) -> Table:
    """Make the table of the most confident mistakes."""
    table = Table(
        "photo", "truth", "answer", "probability", title="Most confident mistakes"
    )
    for row in content["mistakes"][:shown]:
        words = f"{row['probability']:.2f}"
        table.add_row(Path(row["photo"]).name, row["truth"], row["answer"], words)
    return table


def comparison_table(comparison: dict[str, Any], names: tuple[str, str]) -> Table:
    """Make the table of two models on the same images.

    Args:
        comparison: a `metrics.Comparison` as a dictionary.
        names: of the first and the second model.
    """
    table = Table("measure", "value", title=f"{names[0]} against {names[1]}")
    table.add_row("same answer, %", f"{100 * comparison['agreement']:.2f}")
    table.add_row(f"only {names[0]} right", str(comparison["only_first"]))
    table.add_row(f"only {names[1]} right", str(comparison["only_second"]))
    table.add_row("p-value, exact McNemar test", f"{comparison['p_value']:.3g}")
    return table


def family_table(rows: Sequence[ModelRow]) -> Table:
    """Make the reference's table: float and int8 of each model, published beneath."""
    table = Table("", *(row.name for row in rows))
    published = [row.published for row in rows]

    def add(heading: str, *cells: str) -> None:
        table.add_row(heading, *cells)

    add("photos", *(f"{row.floats.images:,}" for row in rows))
    for kind in ("floats", "integers"):
        found = [getattr(row, kind) for row in rows]
        cells = [percent(each.top1, each.top1_low, each.top1_high) for each in found]
        add(f"{_KINDS[kind]} top-1, % [95 % interval]", *cells)
    add("points lost", *(f"{row.lost_points:.2f}" for row in rows))
    add("same answer, %", *(f"{100 * row.comparison.agreement:.2f}" for row in rows))
    add("McNemar's p", *(f"{row.comparison.p_value:.2g}" for row in rows))
    if any(published):
        cells = [" / ".join(f"{100 * v:.2f}" for v in each) for each in published]
        add("published float / int8, %", *cells)
    return table


def row_as_dict(row: ModelRow) -> dict[str, Any]:
    """Return a model's numbers for JSON, the published ones with them."""
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
