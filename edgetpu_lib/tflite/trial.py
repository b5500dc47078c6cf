"""Run a file, or open a device, in a process of its own, which it may crash."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import is_own
from edgetpu_lib.board.finding import RIGHT, UNSURE, WRONG, Finding
from edgetpu_lib.board.library import ending
from edgetpu_lib.board.options import DeviceOptions
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
"""
_RUN = """
from edgetpu_lib.tflite import interpreter
interpreter.run_noise(sys.stdin.buffer.read())
"""
_OPEN = """
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board import delegate, options
from edgetpu_lib.tflite import interpreter
content = sys.stdin.buffer.read()
device = options.DeviceOptions(*json.loads(sys.argv[2]))
try:
    if content:
        interpreter.run_noise(content, device=device)
    else:
        delegate.load_delegate(device)
except InputError as error:
    print(error)
    sys.exit(3)
"""
# The status of a process that ends with an exception of Python.
_EXCEPTION = 1
# The status with which the child prints what is wrong.
_REFUSED = 3


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
    try:
        done = _in_child(_RUN, content)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path} computes for more than {TIMEOUT_S} s; give a smaller model"
        ) from error
    if done.returncode not in (0, _EXCEPTION):
        raise InputError(
            f"{path} crashes the TFLite runtime ({ending(done.returncode)}); convert"
            " the model again"
        )


def _in_child(code: str, content: bytes, *given: object) -> subprocess.CompletedProcess:
    """Run code in a process of its own, with `content` as its standard input."""
    arguments = [json.dumps(each) for each in (sys.path, *given)]
    command = [sys.executable, "-c", _CHILD + code, *arguments]
    return subprocess.run(
        command, input=content, capture_output=True, timeout=TIMEOUT_S
    )


def try_device(options: DeviceOptions, content: bytes = b"") -> Finding:
    """Open an Edge TPU in a process of its own, and run a compiled file there once.

    Args:
        options: which device, and its settings.
        content: bytes of the compiled file; empty to open the device alone.
    """
    what = "a device opens and runs the file" if content else "a device opens"
    if not sys.executable:
        return Finding(UNSURE, "trial", "this Python cannot start another")
    started = time.perf_counter()
    try:
        done = _in_child(_OPEN, content, dataclasses.astuple(options))
    except subprocess.TimeoutExpired:
        remedy = "replug the device, and take a shorter cable or no hub"
        return Finding(WRONG, "trial", f"no reply within {TIMEOUT_S} s", remedy)
    if done.returncode == 0:
        took_s = time.perf_counter() - started
        return Finding(RIGHT, "trial", f"{what}, in {took_s:.1f} s with its start")
    if done.returncode == _REFUSED:
        text, _, remedy = done.stdout.decode(errors="replace").strip().partition("; ")
        return Finding(WRONG, "trial", text, remedy)
    text = f"opening the device ends the process ({ending(done.returncode)})"
    remedy = "take a libedgetpu that was built for the TFLite that is installed here"
    return Finding(WRONG, "trial", text, remedy)
