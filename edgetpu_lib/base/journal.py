"""Save rows of results one by one, so that interrupted work can resume."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import InputError, remedy_of


class Journal:
    """A file of JSON lines: the settings that results depend on, then one row a line.

    Attributes:
        rows: the rows that the file held when it was opened.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, object]) -> None:
        """Read the rows of an earlier run; an incomplete last line is cut off.

        Raises:
            InputError: the file belongs to other settings, or cannot be read.
        """
        self._path = Path(path)
        # As they are read back: a tuple becomes a list.
        self._settings = json.loads(json.dumps(settings))
        known, *self.rows = self._read() or [self._settings]
        if known != self._settings:
            raise InputError(
                f"{path} belongs to other images or settings; delete it, or choose"
                " another output folder"
            )

    def _read(self) -> list[Any]:
        if not self._path.is_file():
            return []
        try:
            content = self._path.read_bytes()
            end = content.rfind(b"\n") + 1
            if end < len(content):
                os.truncate(self._path, end)
            return [json.loads(line) for line in content[:end].splitlines()]
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._path} is damaged or cannot be read; delete it to start again"
            ) from error

    def append(self, *rows: object) -> None:
        """Write all rows to the end of the file, or none if the disk is full.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab", buffering=0) as file:
                size = file.tell()
                lines = rows if size else (self._settings, *rows)
                content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
                if file.write(content) < len(content):
                    # Half a line would damage the rows after it.
                    file.truncate(size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                # A power cut must not take back what was reported as saved.
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write {self._path}: {error.strerror}; {remedy_of(error)}"
            ) from error

    def delete(self) -> None:
        """Remove the file; call it once the work is complete."""
        with contextlib.suppress(OSError):
            self._path.unlink()
