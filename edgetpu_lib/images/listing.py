"""List the image files of a folder, at any depth."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edgetpu_lib.images import opening


def is_image(path: Path) -> bool:
    """Return whether a name is that of an image that can be read here."""
    return not path.name.startswith(".") and (
        path.suffix.lower() in opening.readable_suffixes()
    )


def files_in(
    folder: Path, *, depth: int | None = None
) -> tuple[list[Path], list[Path]]:
    """Return the images in a folder at any depth, sorted, and all other files."""
    found = sorted(files_below(folder, depth))
    images = [path for path in found if is_image(path)]
    return images, [path for path in found if not is_image(path)]


def files_below(folder: Path, depth: int | None = None) -> Iterable[Path]:
    """Yield all files below a folder, links followed.

    Folders that are not entered, hidden ones and those named as images, count as files.
    """
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        real = os.path.realpath(place)
        if real in seen:
            # A link leads back to a folder above it.
            folders.clear()
            continue
        seen.add(real)
        yield from (here / name for name in files)
        images = [name for name in folders if is_image(Path(name))]
        yield from (here / name for name in images)
        kept = [n for n in folders if n not in images and not n.startswith((".", "__"))]
        yield from (here / name for name in set(folders) - {*images, *kept})
        folders[:] = [] if depth == 0 else sorted(kept)
