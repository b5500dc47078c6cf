"""Find images in folders, and those that arrive while a program runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images.opening import REMEDIES, readable_suffixes


def images_of(paths: list[str]) -> Iterator[Path]:
    """Yield files as they are, and of folders the images in them, sorted.

    Raises:
        InputError: a folder cannot be read, or has no image.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        found = images_in(path)
        if not found:
            raise InputError(f"{path} has no image; give a folder of JPEG or PNG files")
        yield from found


def images_in(folder: Path) -> list[Path]:
    """Return all images in a folder and the folders below it, sorted by path.

    An image is what ends as one; hidden files and folders are passed over.

    Raises:
        InputError: the folder is missing or cannot be read.
    """
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"cannot read folder {folder}: {error.strerror}; check the path"
        ) from error
    suffixes = readable_suffixes() | REMEDIES.keys()
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(found)


def arriving(folder: Path, *, interval_s: float) -> Iterator[Path]:
    """Yield images of a folder for ever, each once it is written.

    An image is written when its size and time have stayed the same from one look to the
    next; one that changes later is yielded again. Those that are there already come
    first.

    Args:
        folder: looked into, and the folders below it.
        interval_s: seconds between two looks.

    Raises:
        InputError: the folder is missing, cannot be read, or is taken away.
    """
    before: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        now = dict(_states(images_in(folder)))
        for path, state in now.items():
            if before.get(path) == state and done.get(path) != state:
                done[path] = state
                yield path
        # What is gone is forgotten: a name may come again, and memory must not grow.
        done = {path: state for path, state in done.items() if path in now}
        before = now
        time.sleep(interval_s)


def _states(paths: list[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield paths with size and time of change, of files that are not empty."""
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            # Taken away since the folder was listed.
            continue
        if found.st_size:
            yield path, (found.st_size, found.st_mtime_ns)
