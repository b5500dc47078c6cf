"""Where this computer keeps what an Edge TPU needs; a test may name other places."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _searched_first() -> tuple[str, ...]:
    """Return the folders in which the user lets the loader look before all others."""
    names = {"darwin": "DYLD_LIBRARY_PATH", "win32": "PATH"}
    listed = os.environ.get(names.get(sys.platform, "LD_LIBRARY_PATH"), "")
    return tuple(folder for folder in listed.split(os.pathsep) if folder)


@dataclasses.dataclass(frozen=True)
class System:
    """A computer, as seen through its files.

    Attributes:
        root: that `/sys`, `/dev`, `/usr/lib` and `/var/lib/dpkg` are below.
        platform: as `sys.platform`.
        python: the running Python; libraries must be of its kind.
        searched_first: folders to look for libraries before those of the system.
        may_open: whether a device's file may be read and written.
    """

    root: Path = Path("/")
    platform: str = sys.platform
    python: str = sys.executable
    searched_first: tuple[str, ...] = dataclasses.field(default_factory=_searched_first)
    may_open: Callable[[Path], bool] = _may_open

    @property
    def is_linux(self) -> bool:
        """Whether devices and packages are listed in files, as on Linux."""
        return self.platform.startswith("linux")
