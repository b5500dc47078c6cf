"""Run a submission in its own processes, within limits of time and memory.

Takes a job for `kernel`; gives its events, and why it was ended early, if it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.teaching.exercise.feedback import shorten
from edgetpu_lib.teaching.grading import judge, processes, sandbox
from edgetpu_lib.teaching.grading.processes import MARK

POLL_S = 0.2
# Start of a status that is not the submission's fault.
FAILED = "the grader failed"
# Variables that a kernel needs; the teacher's keys and tokens are not passed on.
PASSED_ON = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
OWN_FOLDERS = ("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")
# A submission installs nothing: the next ones run in the same environment.
NO_INSTALLING = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
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


@dataclasses.dataclass(frozen=True)
class Place:
    """Where jobs run.

    Attributes:
        jobs: folder for temporary files of all jobs; `None` is the system's.
        checks: folder that all checks run in, so that the key draws its images once;
            `None` is one for each job.
        closed: folders that no submission may write even where it may write others.
    """

    jobs: Path | None = None
    checks: Path | None = None
    closed: tuple[Path, ...] = ()


def run_job(
    job: dict[str, Any],
    limits: Limits,
    stop: threading.Event,
    place: Place | None = None,
) -> tuple[str, list[dict[str, Any]]]:
    """Run a job in its own processes, folder and environment.

    Args:
        job: what `kernel.run` takes, without paths and limits.
        limits: of time and memory.
        stop: set by another thread to end the work early.
        place: where it runs.

    Returns:
        Why it was ended early, or ""; and its events.
    """
    place = place or Place()
    mark = secrets.token_hex(16)
    events: list[dict[str, Any]] = []
    # A short path: it becomes part of the name of a socket.
    with tempfile.TemporaryDirectory(
        prefix="g", dir=place.jobs, ignore_cleanup_errors=True
    ) as temporary:
        root = Path(temporary)
        whole = _completed(job, limits, root, place)
        process, stream = _start(whole, root, mark)
        reader = threading.Thread(target=_read, args=(stream, events))
        try:
            reader.start()
            longest_s = whole["longest_s"]
            ending = _watch(process, mark, limits, longest_s, stop, events)
        finally:
            processes.end(process, mark)
        reader.join()
        return ending or _failure(events, root / "errors"), events


def _completed(
    job: dict[str, Any], limits: Limits, root: Path, place: Place
) -> dict[str, Any]:
    """Return a job with its limits and paths; make the folders.

    A submission writes to the folder "s" alone: what is beside it is the grader's.
    """
    own = root / "s"
    is_boxed = sandbox.is_available()
    for folder in (own / "work", own / "results", root / "checks"):
        folder.mkdir(parents=True)
    return {
        **job,
        "folder": str(own / "work"),
        "connection": str(own / "k.json"),
        "left": str(own / "left"),
        "results": str(own / "results"),
        "calls": str(root / "call"),
        "place": str(place.checks or root / "checks"),
        "rules": _rules(root, place) if is_boxed else None,
        "environment": {
            **_own_folders(own),
            **NO_INSTALLING,
            **({} if is_boxed else _own_library(own / "library")),
        },
        "cell_s": limits.cell_s,
        "total_s": limits.total_s,
        "longest_s": _longest_s(job, limits),
    }


def _rules(root: Path, place: Place) -> list[tuple[str, bool]]:
    """Return which folders a submission can write, and which it cannot."""
    around = [Path(sys.prefix), Path(__file__).parents[3]]
    closed = [*place.closed, *around, *installed_in(), place.jobs or root, root]
    return [
        (tempfile.gettempdir(), True),
        ("/dev/shm", True),
        *((str(folder), False) for folder in closed),
        (str(root / "s"), True),
    ]


def installed_in() -> list[Path]:
    """Return the folders of this library, of the environment, and of Python."""
    names = ("purelib", "platlib", "stdlib", "scripts")
    found = [Path(__file__).parents[2], *(Path(sysconfig.get_path(n)) for n in names)]
    return sorted({folder.resolve() for folder in found if folder.is_dir()})


def _own_folders(place: Path) -> dict[str, str]:
    """Make folders for settings, caches and temporary files; return their variables."""
    environment = {}
    for name in OWN_FOLDERS:
        folder = place / name.lower()
        folder.mkdir(parents=True)
        environment[name] = str(folder)
    return environment


def _own_library(folder: Path) -> dict[str, str]:
    """Copy this library, so that another one than the grader's can be spoiled."""
    package = Path(__file__).parents[2]
    shutil.copytree(package, folder / package.name)
    data = package.parent / "data"
    if data.is_dir():
        shutil.copytree(data, folder / "data")
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([others] if others else [])])}


def _longest_s(job: dict[str, Any], limits: Limits) -> float:
    """Return seconds after which everything has ended by itself, unless it hangs."""
    cells_s = limits.cell_s * (2 + len(job["checks"]))
    return limits.total_s + cells_s + judge.START_S


def _start(
    job: dict[str, Any], root: Path, mark: str
) -> tuple[subprocess.Popen, TextIO]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    with open(root / "errors", "wb") as errors:
        process, events, stream = sandbox.start(
            [sys.executable, "-m", "edgetpu_lib.teaching.grading.kernel"],
            cwd=root,
            env={**environment, **_own_folders(root / "own"), MARK: mark},
            stderr=errors,
            # Ctrl-C is for the grader alone.
            start_new_session=True,
        )
    # One that ended at once reads nothing; `run_job` finds out why it ended.
    with contextlib.suppress(OSError), stream:
        sandbox.write_line(stream, job)
    return process, events


def _read(stream: TextIO, events: list[dict[str, Any]]) -> None:
    # A process that ends before it read its job resets the connection.
    with stream, contextlib.suppress(OSError):
        events.extend(json.loads(line) for line in stream if line.endswith("\n"))


def _failure(events: list[dict[str, Any]], errors: Path) -> str:
    """Return why the grader failed, or ""."""
    found = [event.get("failed") or event.get("broken") for event in events]
    found = [text for text in found if text]
    if not found and not any("end" in event for event in events):
        said = errors.read_text("utf-8", "replace").split("\n")
        found = [line for line in said if line.strip()][-1:] or ["it ended early"]
    return f"{FAILED}: {shorten(found[0], 200)}" if found else ""


def _watch(
    process: subprocess.Popen,
    mark: str,
    limits: Limits,
    longest_s: float,
    stop: threading.Event,
    events: list[dict[str, Any]],
) -> str:
    """Wait for the end; return the limit that was exceeded, or ""."""
    deadline = time.monotonic() + longest_s + 30
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
        if processes.used_mib(process.pid, mark, events) > limits.memory_mib:
            return f"above the limit of {limits.memory_mib:g} MiB of memory"
