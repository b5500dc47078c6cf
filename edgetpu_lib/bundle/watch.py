"""Find the images that arrive in a folder while a program runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import listing
from edgetpu_lib.images.opening import REMEDIES


def images_in(folder: Path) -> list[Path]:
    """Return all images in a folder at any depth, sorted.

    Those of formats that this installation cannot read are among them, so that a
    message tells what would make them readable.

    Raises:
        InputError: the folder is missing or cannot be read.
    """
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"cannot read folder {folder}: {error.strerror}; check the path"
        ) from error
    images, others = listing.files_in(folder)
    unreadable = [
        path
        for path in others
        if path.suffix.lower() in REMEDIES and not path.name.startswith(".")
    ]
    return sorted([*images, *unreadable])


def arriving(folder: Path, *, interval_s: float) -> Iterator[Path]:
    """Yield images of a folder for ever, each once it is written.

    An image is written when its size and time have stayed the same from one look to the
    next; one that changes later is yielded again. Those that are there already come
    first.

    Args:
        folder: looked into at any depth.
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
