"""Run a file from elsewhere once in a process of its own, which it may crash."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import is_own
from edgetpu_lib.tflite.file import read_tflite

# A Raspberry Pi needs a second for L; a file with an endless loop would never end.
TIMEOUT_S = 60
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
from edgetpu_lib.tflite import interpreter
interpreter.run_noise(sys.stdin.buffer.read())
"""
# The status of a process that ends with an exception of Python.
_EXCEPTION = 1


def require_running(path: str | Path, content: bytes) -> None:
    """Refuse a file that would crash this process, or never end.

    A file that has this library's metadata, with its digest, is trusted. What raises
    an exception is left to the caller, for whom it will raise again.

    Raises:
        InputError: the file is damaged, crashes the runtime or exceeds `TIMEOUT_S`.
    """
    read_tflite(content, name=str(path))
    if is_own(path) or not sys.executable:
        return
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path)]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path} computes for more than {TIMEOUT_S} s; give a smaller model"
        ) from error
    if done.returncode not in (0, _EXCEPTION):
        raise InputError(
            f"{path} crashes the TFLite runtime ({_status(done.returncode)}); convert"
            " the model again"
        )


def _status(code: int) -> str:
    """Return the name of the signal that ended a process, or its exit code."""
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
