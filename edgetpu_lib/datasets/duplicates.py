"""Find images that are there twice: with the same bytes, or of the same scene."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from edgetpu_lib.datasets.labelled import file_digest
from edgetpu_lib.datasets.tfrecord import Record

# Height and width of the grey images that `near_pairs` compares.
GREY_SIZE = 64
# Measured by benchmarks/audit.py: of 3,454 photos of flowers 25 pairs lie above, 23 of
# them one scene; of 500 drawn flowers, which are all different, none.
NEAR = 0.88
_GRID = 12
# Windows that stand for a cropped copy: these shares, at the centre and in each corner.
_SHARES = (0.95, 0.9)
_PLACES = ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))
_END_BYTES = 4096
# So many similarities are held at once.
_CHUNK = 20_000_000


def same_bytes(paths: Sequence[Path | Record]) -> list[list[int]]:
    """Return the positions of files with the same bytes, two or more together.

    Of files of the same size the ends are read, and of the same ends the whole: a large
    folder holds many of one size.
    """
    groups = [[i for i, path in enumerate(paths) if not _is_missing(path)]]
    for key in (_size, _end, file_digest):
        groups = [same for group in groups for same in _alike(group, paths, key)]
    return sorted(groups)


def _alike(
    places: Iterable[int], paths: Sequence[Path | Record], key: Callable[..., Any]
) -> list[list[int]]:
    """Return the positions of files that have the same key, two or more together."""
    found = collections.defaultdict(list)
    for place in places:
        found[key(paths[place])].append(place)
    return [same for same in found.values() if len(same) > 1]


def _is_missing(path: Path | Record) -> bool:
    return isinstance(path, Path) and not path.is_file()


def _size(path: Path | Record) -> int:
    return path.stat().st_size if isinstance(path, Path) else len(path.read_bytes())


def _end(path: Path | Record) -> bytes:
    """Return the last bytes of a file: photos of one camera begin alike."""
    if not isinstance(path, Path):
        return path.read_bytes()[-_END_BYTES:]
    try:
        with open(path, "rb") as stream:
            stream.seek(-min(_END_BYTES, _size(path)), os.SEEK_END)
            return stream.read(_END_BYTES)
    except OSError:
        return b""


def near_pairs(greys_u8: np.ndarray, *, progress: str | None = None) -> np.ndarray:
    """Return the pairs of images that show the same scene.

    Two images are compared by the correlation of their coarse brightness gradients,
    which neither exposure nor colour changes; each as a whole with windows of the
    other, so that a cropped copy is found.

    Args:
        greys_u8: uint8 [images, GREY_SIZE, GREY_SIZE], the largest centred square.
        progress: title of a progress bar; `None` shows none.

    Returns:
        int64 [pairs, 2], the smaller position first, sorted.
    """
    wholes = np.stack([_gradients(_opened(grey)) for grey in greys_u8])
    step = max(1, _CHUNK // max(1, len(wholes) * len(_WINDOWS)))
    found: list[np.ndarray] = []
    bar = {"unit": "image", "leave": False, "delay": 0.5, "disable": progress is None}
    with tqdm(total=len(wholes), desc=progress, **bar) as advance:
        for start in range(0, len(wholes), step):
            part = greys_u8[start : start + step]
            windows = np.stack([_windows(grey) for grey in part])
            likeness = (windows @ wholes.T).max(axis=1)
            rows, columns = np.nonzero(likeness > NEAR)
            found.append(np.stack([rows + start, columns], axis=1))
            advance.update(len(part))
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _opened(grey_u8: np.ndarray) -> Image.Image:
    return Image.fromarray(grey_u8).convert("F")


def _window_boxes() -> list[tuple[float, float, float, float]]:
    """Return (left, top, right, bottom) of the whole and of each window, in pixels."""
    boxes = [(0.0, 0.0, float(GREY_SIZE), float(GREY_SIZE))]
    for share in _SHARES:
        side = GREY_SIZE * share
        for across, down in _PLACES:
            left, top = across * (GREY_SIZE - side), down * (GREY_SIZE - side)
            boxes.append((left, top, left + side, top + side))
    return boxes


_WINDOWS = _window_boxes()


def _windows(grey_u8: np.ndarray) -> np.ndarray:
    """Return the gradients of all windows: float32 [windows, 2 × 12 × 11]."""
    image = _opened(grey_u8)
    return np.stack([_gradients(image, box) for box in _WINDOWS])


def _gradients(image: Image.Image, box: tuple[float, ...] | None = None) -> np.ndarray:
    """Return differences of neighbours in a grid of means, of length one or zero."""
    cells = np.asarray(image.resize((_GRID, _GRID), Image.Resampling.BOX, box=box))
    steps = np.concatenate([np.diff(cells, axis=axis).ravel() for axis in (0, 1)])
    return steps / max(float(np.linalg.norm(steps)), 1e-6)


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return int64 [count]: the same number for all that pairs connect.

    Args:
        count: number of images.
        pairs: int64 [pairs, 2], positions.
    """
    rows, columns = np.asarray(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
