"""Notice when the library or the environment changes while submissions are graded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

BYTECODE = "__pycache__"


def facts_of(folders: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Return path → facts that change with a file, for all files of some folders.

    The time of the last change of a file's status, which no program can set, stands
    for its content: reading some gigabytes before each submission would take too long.
    Bytecode is left out: Python itself writes it again after a change of a module.
    """
    return {path: facts for folder in folders for path, facts in _files(str(folder))}


def _files(folder: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from () if entry.name == BYTECODE else _files(entry.path)
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        times = status.st_mtime_ns, status.st_ctime_ns
        yield entry.path, (status.st_ino, status.st_mode, status.st_size, *times)


def first_change(
    before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]
) -> str | None:
    """Return the path of a file that changed, came or went; `None` if none did."""
    paths = [*before, *after]
    changed = (path for path in paths if before.get(path) != after.get(path))
    return next(changed, None)
