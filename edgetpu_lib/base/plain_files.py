"""Read plain files only: a pipe or a device may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError

# Far above any image or list of labels; a file that grows while it is read ends here.
MAX_FILE_BYTES = 1 << 30


def read_plain_file(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: it is missing, cannot be read, is larger than 1 GiB, or is no plain
            file but a folder, a pipe, a socket or a device.
    """
    require_plain_file(path)
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB; remove it")
    return content


def require_plain_file(path: str | Path) -> None:
    """Raise InputError unless a path names a plain file, or a link to one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"cannot read {path}: it is {kind}, not a file; remove it")


def _unreadable(path: str | Path, error: Exception) -> InputError:
    if os.path.islink(path) and not os.path.exists(path):
        return InputError(f"cannot read {path}: it links to nothing; remove it")
    reason = getattr(error, "strerror", None) or error
    return InputError(f"cannot read {path}: {reason}; check the path")
