"""Tables of classes: how many images each has, and how well each is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgetpu_lib.commands.tables import print_table

if TYPE_CHECKING:
    from edgetpu_lib.data import Images

# So many classes are written out.
_SHOWN = 20


def print_classes(splits: Mapping[str, Images | None]) -> None:
    """Print how many images each class has in each split, to the error stream.

    Of more than twenty classes, those with the fewest images are shown.
    """
    import numpy as np

    splits = {split: images for split, images in splits.items() if images}
    names = next(iter(splits.values())).class_names
    counts = {
        split: np.bincount(images.labels, minlength=len(names))
        for split, images in splits.items()
    }
    rare = np.argsort(sum(counts.values()), kind="stable")[:_SHOWN]
    shown = range(len(names)) if len(names) <= _SHOWN else rare
    rows = [[names[i], *(str(count[i]) for count in counts.values())] for i in shown]
    if len(names) > _SHOWN:
        more = len(names) - _SHOWN
        rows.append([f"{more} classes more", *("…" for _ in counts)])
    rows.append(["all", *(str(len(images)) for images in splits.values())])
    header = ["class", *counts]
    print_table(header, rows, right=range(1, len(header)), err=True)


def print_worst_classes(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the accuracy of the classes, the worst first, at most twenty.

    `rows` are `metrics.ClassRow`s as dictionaries; classes without images are left out.
    """
    rows = sorted((row for row in rows if row["images"]), key=lambda row: row["top1"])
    cells = [
        (row["name"], str(row["images"]), f"{row['top1']:.1%}") for row in rows[:_SHOWN]
    ]
    print_table(("class", "test images", "top-1"), cells, right=(1, 2))
