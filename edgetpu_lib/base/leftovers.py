"""Keep unfinished files apart by process, flush them, and remove those of dead ones."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import threading
from pathlib import Path

# ".partial-HOST-PID-random"; a host may share its disk with others.
_NAME = re.compile(r"\.partial-(?P<host>[\w.-]*)-(?P<pid>\d+)-[^-]*")
# An old folder that waits in one for the new folder to take its place.
REPLACED = ".replaced"
# Of this process. In a container that starts again, another may have had its number.
_own: set[str] = set()
# Held from making a folder to `keep`: another thread would take it for a leftover.
LOCK = threading.Lock()


def prefix() -> str:
    """Return the start of the name of a folder for this process's unfinished files."""
    return f".partial-{_host()}-{os.getpid()}-"


def keep(folder: Path) -> None:
    """Note that this process writes in a folder."""
    _own.add(folder.name)


def remove(parent: Path) -> None:
    """Remove the unfinished files that killed processes of this machine left behind."""
    with contextlib.suppress(OSError):
        for path in parent.glob(".partial-*"):
            match = _NAME.fullmatch(path.name)
            if match and match["host"] == _host() and not _in_use(path, match):
                _finish(path)
                shutil.rmtree(path, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Complete a replacement of a folder that was killed between its two renames."""
    for old in folder.glob(f"*{REPLACED}"):
        name = old.name[: -len(REPLACED)]
        if not (folder.parent / name).exists():
            whole = folder / name
            (whole if whole.exists() else old).rename(folder.parent / name)


def _in_use(path: Path, match: re.Match) -> bool:
    pid = int(match["pid"])
    return path.name in _own if pid == os.getpid() else is_alive(pid)


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine runs; True where that is unknown."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def flush(path: Path) -> None:
    """Write a file, or a folder and all in it, from memory to the disk.

    Otherwise a power cut may leave a name without its content.
    """
    for each in (*(path.rglob("*") if path.is_dir() else ()), path):
        flush_one(each)


def flush_one(path: Path) -> None:
    """Write one file, or the names in one folder, to the disk."""
    # Windows opens no folders; some file systems flush none.
    with contextlib.suppress(PermissionError, OSError if path.is_dir() else ()):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", platform.node())
