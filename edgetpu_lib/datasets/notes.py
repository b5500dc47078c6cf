"""Say what of a data set was not taken as it lies: passed over, or there twice."""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from edgetpu_lib.datasets.duplicates import same_bytes
from edgetpu_lib.datasets.labelled import Images
from edgetpu_lib.images import opening
from edgetpu_lib.images.listing import is_image

# So many names are written out.
_SHOWN = 5


def tell(splits: dict[str, Images]) -> dict[str, Images]:
    """Print the notes of all splits to the error stream, and return the splits."""
    notes = [line for images in splits.values() for line in images.notes]
    for line in dict.fromkeys((*notes, *duplicate_notes(splits.values()))):
        tqdm.write(f"note: {line}", file=sys.stderr)
    return splits


def enumerated(names: Sequence[str]) -> str:
    """Write names out, the first few of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def passed_over(others: Sequence[Path]) -> tuple[str, ...]:
    """Return a line that counts the files that are not used, and one per remedy."""
    counts = collections.Counter(_kind_of(path) for path in others)
    notes = []
    for suffix, remedy in opening.REMEDIES.items():
        if count := counts.pop(suffix, 0):
            notes.append(f"{count} {suffix} files cannot be read: {remedy}")
    if counts:
        words = [f"{number} {kind}" for kind, number in counts.most_common()]
        notes.append(f"passed over, not among the images: {enumerated(words)}")
    return tuple(notes)


def _kind_of(path: Path) -> str:
    if path.name.startswith((".", "__")):
        return "hidden"
    if is_image(path):
        return f"{path.suffix.lower()} beside the class folders"
    return path.suffix.lower() or "without ending"


def duplicate_notes(splits: Iterable[Images]) -> tuple[str, ...]:
    """Return a line for files with the same bytes in two classes, or in two splits."""
    places = [
        (path, images.class_names[label], images.split)
        for images in splits
        for path, label in zip(images.paths, images.labels, strict=True)
        if isinstance(path, Path)
    ]
    groups = [
        [places[index] for index in same]
        for same in same_bytes([path for path, *_ in places])
    ]
    notes = []
    for kind, position in (("classes", 1), ("splits", 2)):
        pairs = [
            (group[0], other)
            for group in groups
            for other in group[1:]
            if other[position] != group[0][position]
        ]
        for first, other in pairs[:1]:
            notes.append(
                f"{len(pairs)} images are in two {kind}, such as {first[0]} and"
                f" {other[0]}: remove one of them"
            )
    return tuple(notes)
