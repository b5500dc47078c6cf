"""What a file tells that was compiled for the Edge TPU."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path

from edgetpu_lib.tflite.flatbuffer import FlatBuffer
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR

# Begins the device's programs inside a file, a FlatBuffer of its own, and the field of
# the oldest runtime that runs them. Source: google-coral/libedgetpu
# executable/executable.fbs, table Package.
_PROGRAMS, _MIN_RUNTIME_VERSION = b"DWN1", 0


def is_compiled(content: bytes) -> bool:
    """Return whether a file is compiled for the Edge TPU."""
    return COMPILED_OPERATOR.encode() in content


def before_compilation(name: str) -> str:
    """Return words for the file that a compiled one was made of."""
    path = Path(name)
    original = path.with_name(path.name.replace("_edgetpu", ""))
    if original == path:
        return "the file before compilation"
    return f"the file before compilation ({original.name})"


def needed_runtime(content: bytes) -> int:
    """Return the oldest version of the Edge TPU runtime that runs a compiled file.

    Returns:
        10 to 14 for files of Google's compiler; 0 if the file does not tell.
    """
    versions = [0]
    for found in re.finditer(_PROGRAMS, content):
        # The offset of the table stands before the identifier.
        package = content[found.start() - 4 :] if found.start() >= 4 else b""
        with contextlib.suppress(ValueError, IndexError, struct.error):
            table = FlatBuffer(package).root()
            versions.append(table.number(_MIN_RUNTIME_VERSION, "i"))
    # By chance the four letters may stand elsewhere, with any number behind them.
    return max(version for version in versions if version < 1000)
