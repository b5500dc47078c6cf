"""Say what of a data set was not taken as it lies: passed over, or there twice."""

from __future__ import annotations

import collections
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edgetpu_lib.datasets.labelled import Images, file_digest
from edgetpu_lib.images import opening
from edgetpu_lib.images.listing import is_image

# So many names are written out.
_SHOWN = 5
_END_BYTES = 4096


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
    """Return a line for files with the same bytes in two classes, or in two splits.

    Of files of the same size the ends are read, and of the same ends the whole: a large
    folder holds many of one size.
    """
    groups = [
        [
            (path, images.class_names[label], images.split)
            for images in splits
            for path, label in zip(images.paths, images.labels, strict=True)
            if isinstance(path, Path) and path.is_file()
        ]
    ]
    for key in (_size, _end, file_digest):
        groups = [same for group in groups for same in _alike(group, key)]
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


def _alike(places: list[tuple], key: Callable[[Path], Any]) -> list[list[tuple]]:
    """Return the places whose files have the same key, two or more together."""
    found = collections.defaultdict(list)
    for place in places:
        found[key(place[0])].append(place)
    return [same for same in found.values() if len(same) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _end(path: Path) -> bytes:
    """Return the last bytes of a file: photos of one camera begin alike."""
    try:
        with open(path, "rb") as stream:
            stream.seek(-min(_END_BYTES, _size(path)), os.SEEK_END)
            return stream.read(_END_BYTES)
    except OSError:
        return b""
