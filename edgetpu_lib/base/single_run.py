"""Let one run at a time write an output that takes long to make."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.lock import acquire

_NAME = ".running"


@contextlib.contextmanager
def only_run(folder: str | Path) -> Iterator[None]:
    """Hold a folder while the block runs; it is made if it is missing.

    The lock is on a file in it, which holds the number of the process. It ends with the
    process, however that ends.

    Raises:
        InputError: another run holds the folder, or it cannot be written.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    descriptor = _open_locked(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / _NAME).unlink()
        os.close(descriptor)
        if is_new:
            # It stays if anything was written.
            with contextlib.suppress(OSError):
                folder.rmdir()


def _open_locked(folder: Path) -> int:
    """Return the descriptor of the folder's lock, once this process holds it."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(
                f"cannot write {folder}: {error.strerror}; choose another output path"
            ) from error
        if not acquire(descriptor, 0):
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise InputError(
                f"another run, process {holder or 'unknown'}, writes {folder}; wait for"
                " its end or give another output"
            )
        # The run before may have removed the file between opening and locking.
        if os.name == "nt" or os.fstat(descriptor).st_nlink:
            with contextlib.suppress(OSError):  # a full disk
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        os.close(descriptor)
