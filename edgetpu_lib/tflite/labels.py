"""Read the class names that are packed inside a TFLite file.

Source: TensorFlow's "Adding metadata to TensorFlow Lite models": associated files are
a ZIP archive behind the model's bytes.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError

# A thousand long names are 40 kB.
MAX_BYTES = 4 << 20
_UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, OSError, RuntimeError)
_UNREADABLE += (EOFError,)


def labels_inside(path: str | Path) -> list[str] | None:
    """Return the class names inside a file, one a line there; `None` if it has none.

    Where there are several text files, that with "label" in its name is read.

    Raises:
        InputError: the archive is damaged, or its labels are longer than `MAX_BYTES`.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [i for i in archive.infolist() if i.filename.endswith(".txt")]
            named = [i for i in texts if "label" in i.filename.lower()]
            chosen = named or (texts if len(texts) == 1 else [])
            if not chosen:
                return None
            with archive.open(chosen[0]) as stream:
                content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        lines = content.decode("utf-8-sig").splitlines()
    except _UNREADABLE as error:
        raise InputError(
            f"the labels inside {path} cannot be read ({error}); give --labels_map_file"
        ) from error
    return [line.strip() for line in lines if line.strip()] or None
