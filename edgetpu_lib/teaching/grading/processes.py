"""Find, measure and end all processes of a submission."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from typing import Any

import psutil

# Every process of a job carries it in its environment, unless it was started without.
MARK = "EDGETPU_LIB_GRADING"


def used_mib(runner: int, mark: str, events: list[dict[str, Any]]) -> float:
    """Return the memory of a submission or of its checks, whichever is larger."""
    checkers = {event["checker"] for event in [*events] if "checker" in event}
    used = {True: 0, False: 0}
    for process in _all_of(runner, mark):
        with contextlib.suppress(psutil.Error):
            used[process.pid in checkers] += process.memory_info().rss
    return max(used.values()) / 2**20


def below(pid: int) -> list[psutil.Process]:
    """Return the processes that a process started, and those that they started."""
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return [process for process in found if not _is_over(process)]


def _is_over(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _all_of(runner: int, mark: str) -> list[psutil.Process]:
    """Return the processes of a job except the first; on macOS, detached ones too."""
    marked = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(MARK) == mark
    ]
    return [each for each in {*below(runner), *marked} if each.pid != runner]


def end_below(pid: int) -> None:
    """Kill all processes below one, also those they start meanwhile."""
    _kill(lambda: below(pid))


def end(process: subprocess.Popen, mark: str) -> None:
    """End a job. The first process goes last: below it no other gets lost."""
    _kill(lambda: _all_of(process.pid, mark))
    process.kill()
    process.wait()
    _kill(lambda: _all_of(process.pid, mark))


def _kill(find: Callable[[], list[psutil.Process]]) -> None:
    for _ in range(20):
        processes = find()
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=0.5)
