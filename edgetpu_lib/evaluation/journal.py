"""Keep what a model answered until its evaluation is whole.

Takes images and rows of answers; gives back the rows that an interrupted evaluation
left behind. Used by `evaluate`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from edgetpu_lib import data
from edgetpu_lib.datasets.tfrecord import Record
from edgetpu_lib.evaluation.metrics import KEPT_PREDICTIONS

# One image: which it was, and the best answers to it.
ROW = np.dtype(
    [
        ("key", "<u8"),
        ("indices", "<i4", KEPT_PREDICTIONS),
        ("probabilities", "<f4", KEPT_PREDICTIONS),
    ]
)


def empty_rows(images: data.Images) -> np.ndarray:
    """Return a `ROW` for each image, with its key and no answers yet.

    A key follows from an image's place, size and time of change, so that an image that
    was mended is answered anew and all others are not.
    """
    rows = np.zeros(len(images), ROW)
    facts_of: dict[Path, str] = {}
    for index, path in enumerate(images.paths):
        file = path.shard if isinstance(path, Record) else path
        if file not in facts_of:
            facts_of[file] = _facts(file)
        digest = hashlib.sha256(f"{path}\0{facts_of[file]}".encode()).digest()
        rows["key"][index] = int.from_bytes(digest[:8], "little")
    return rows


def _facts(file: Path) -> str:
    try:
        status = os.stat(file)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def restore(path: Path, rows: np.ndarray) -> np.ndarray:
    """Fill in the rows that were kept.

    Args:
        path: of the journal; need not exist.
        rows: from `empty_rows`; changed in place.

    Returns:
        bool [images]: which rows are filled in.
    """
    if not path.is_file():
        return np.zeros(len(rows), bool)
    # A process killed while it wrote leaves part of a row, which is cut off.
    whole = path.stat().st_size // ROW.itemsize * ROW.itemsize
    os.truncate(path, whole)
    kept = np.fromfile(path, ROW)
    place_of = {key: place for place, key in enumerate(kept["key"].tolist())}
    places = np.array([place_of.get(key, -1) for key in rows["key"].tolist()])
    known = places >= 0
    rows[known] = kept[places[known]]
    return known


def append(path: Path, rows: np.ndarray) -> None:
    """Add rows to a journal; a folder or a disk that takes none is no failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(rows.tobytes())
    except OSError:
        pass
