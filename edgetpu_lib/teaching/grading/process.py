"""Run a submission in its own process, within limits of time and memory.

Takes a job for `kernel`; gives its events, and why it was ended early, if it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.journal import Journal
from edgetpu_lib.teaching.exercise.feedback import shorten

# Every process of a job carries it in its environment.
MARK = "EDGETPU_LIB_GRADING"
POLL_S = 0.2
# Start of a status that is not the submission's fault.
FAILED = "the grader failed"
# Variables that a kernel needs; the teacher's keys and tokens are not passed on.
PASSED_ON = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
PASSED_ON_PREFIXES = ("CUDA_", "KERAS_", "OMP_", "SSL_CERT", "TF_", "XLA_")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Memory is the sum of the resident sets of all its processes, measured five times a
    second. RLIMIT_AS and RLIMIT_DATA cannot be used, because TensorFlow reserves many
    gigabytes of address space that it never touches.

    Attributes:
        total_s: for the notebook, seconds; the checks have `cell_s` more.
        cell_s: for one cell.
        memory_mib: of all its processes together.
    """

    total_s: float = 1800
    cell_s: float = 600
    memory_mib: float = 6000

    def __post_init__(self) -> None:
        """Validate the limits."""
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"{name}={value} must be above 0")

    def __str__(self) -> str:
        """Return the limits in words."""
        return f"{self.total_s:g} s, {self.cell_s:g} s, {self.memory_mib:g} MiB"


def run_job(
    job: dict[str, Any], limits: Limits, stop: threading.Event
) -> tuple[str, list[dict[str, Any]]]:
    """Run a job in its own process, folder and environment.

    Args:
        job: what `kernel.run` takes, without paths and limits.
        limits: of time and memory.
        stop: set by another thread to end the work early.

    Returns:
        Why it was ended early, or ""; and its events.
    """
    mark = secrets.token_hex(16)
    # A short path: it becomes part of the name of a socket.
    with tempfile.TemporaryDirectory(
        prefix="g", ignore_cleanup_errors=True
    ) as temporary:
        root = Path(temporary)
        (root / "work").mkdir()
        places = {
            "folder": str(root / "work"),
            "connection": str(root / "k.json"),
            "events": str(root / "events"),
        }
        seconds = {"cell_s": limits.cell_s, "total_s": limits.total_s}
        try:
            process = _start({**job, **places, **seconds}, root, mark)
            ending = _watch(process, mark, limits, stop)
        finally:
            _end_marked(mark)
        process.wait()
        events = Journal(root / "events", {}).rows
        if not ending and not any("end" in event for event in events):
            said = (root / "errors").read_text("utf-8", "replace").split("\n")
            last = [line for line in said if line.strip()][-1:]
            ending = f"{FAILED}: {shorten(''.join(last), 200)}"
        return ending, events


def _start(job: dict[str, Any], root: Path, mark: str) -> subprocess.Popen:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    # Settings, caches and temporary files vanish with the submission.
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        place = root / name.lower()
        place.mkdir()
        environment[name] = str(place)
    with open(root / "errors", "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgetpu_lib.teaching.grading.kernel"],
            cwd=root,
            env={**environment, MARK: mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # Ctrl-C is for the grader alone.
            start_new_session=True,
        )
    # One that ended at once reads nothing; `run_job` finds out why it ended.
    with contextlib.suppress(BrokenPipeError), process.stdin as stream:
        stream.write(json.dumps(job).encode())
    return process


def _watch(
    process: subprocess.Popen, mark: str, limits: Limits, stop: threading.Event
) -> str:
    """Wait for the end; return the limit that was exceeded, or ""."""
    # The kernel ends by itself long before this, unless it hangs.
    deadline = time.monotonic() + limits.total_s + limits.cell_s + 30
    while True:
        try:
            process.wait(POLL_S)
            return ""
        except subprocess.TimeoutExpired:
            pass
        if stop.is_set():
            return "interrupted"
        if time.monotonic() > deadline:
            return f"above the limit of {limits.total_s:g} s, and not to be stopped"
        used_mib = sum(_resident_bytes(p) for p in _marked(mark)) / 2**20
        if used_mib > limits.memory_mib:
            return f"above the limit of {limits.memory_mib:g} MiB of memory"


def _marked(mark: str) -> list[psutil.Process]:
    """Return the processes of a submission, detached ones too."""
    return [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(MARK) == mark
    ]


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _end_marked(mark: str) -> None:
    """Kill all processes of a submission, also those they start meanwhile."""
    for _ in range(10):
        processes = _marked(mark)
        if not processes:
            return
        for process in processes:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(processes, timeout=1)
