"""Keep two runs from changing the same folder at the same time."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two runs are not kept apart.
    fcntl = None

_POLL_S = 0.05
_held = threading.local()


@contextlib.contextmanager
def exclusive(folder: str | Path, *, wait_s: float) -> Iterator[bool]:
    """Hold a folder while the block runs, among runs that do the same.

    The lock leaves no file behind and ends with the process, however that ends. Within
    a block, the same thread may take it again.

    Args:
        folder: one that exists; its files can be read and written by others.
        wait_s: longest wait for another run, in seconds.

    Yields:
        Whether the folder is held; False after the wait.

    Raises:
        OSError: there is no such folder.
    """
    held = _held.__dict__.setdefault("folders", set())
    key = os.path.realpath(folder)
    if fcntl is None or key in held:
        yield True
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        # A folder that may be written and not read.
        yield True
        return
    try:
        is_held = acquire(descriptor, wait_s)
        if is_held:
            held.add(key)
        yield is_held
    finally:
        held.discard(key)
        os.close(descriptor)


def acquire(descriptor: int, wait_s: float) -> bool:
    """Take the lock of an open file or folder; return whether it was free in time."""
    if fcntl is None:
        return True
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_S)
        except OSError:
            # Some network file systems know no locks.
            return True
