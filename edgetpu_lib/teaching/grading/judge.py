"""Talk with the process that runs the checks: answer its calls, replace it if it ends.

A check that takes too long, or takes its process down, costs its own points alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from edgetpu_lib.teaching.grading import sandbox

# Until the libraries are imported and the key's own images are drawn.
START_S = 300
CHECKER = "edgetpu_lib.teaching.grading.checker"
# Where a process of checks is, if not at a task.
LOADING, SETTING_UP, DONE = "(loading)", "(setting up)", "(done)"


class GraderFailed(Exception):
    """The checks could not run, by no fault of the submission."""


class _Checker(contextlib.AbstractContextManager):
    """A process that runs checks, with its events as they arrive."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.process, self._events, self._replies = sandbox.start(
            [sys.executable, "-m", CHECKER],
            cwd=job["place"],
            env={**os.environ, "MPLBACKEND": "agg"},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.send(job)

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self._events:
                self._lines.put(line)
        self._lines.put(None)

    def send(self, content: dict[str, Any]) -> None:
        """Write a line; one that ended reads nothing, and `receive` finds out."""
        with contextlib.suppress(OSError):
            sandbox.write_line(self._replies, content)

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Return the next event, or `None` if the process ended.

        Raises:
            queue.Empty: there was none for so many seconds.
        """
        line = self._lines.get(timeout=seconds)
        return None if line is None else json.loads(line)

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def run_checks(
    job: dict[str, Any],
    ask: Callable[[str], tuple[str, str]],
    tell: Callable[[dict[str, Any]], None],
) -> str:
    """Run all checks of a job, in as many processes as it takes.

    Args:
        job: what `checker.run` takes, "place" (folder to work in), "cell_s" (seconds
            for a check).
        ask: calls a saved function; takes the folder of its arguments, and returns an
            error as one line, or nothing, and the folder of its result.
        tell: called with the events of `checker.run`, and {"checker"}, a process.

    Returns:
        Why no check ran, if what was left behind is to blame, or "".

    Raises:
        GraderFailed: a process ended, or was too slow, before its first check.
    """
    waiting = list(job["checks"])
    while True:
        with _Checker({**job, "checks": waiting}) as checker:
            tell({"checker": checker.process.pid})
            place, ending = _follow(checker, job["cell_s"], ask, tell)
        if place == DONE:
            return ""
        if place == LOADING:
            return f"what it left behind cannot be loaded ({ending})"
        if place == SETTING_UP:
            raise GraderFailed(f"no checks ({ending})")
        tell({"feedback": None, "task": place, "error": ending})
        tasks = [task for task, _ in waiting]
        waiting = waiting[tasks.index(place) + 1 :]


def _follow(
    checker: _Checker,
    cell_s: float,
    ask: Callable[[str], tuple[str, str]],
    tell: Callable[[dict[str, Any]], None],
) -> tuple[str, str]:
    """Pass events on until the end; return where it was (or the task), and how."""
    place, limit_s = LOADING, START_S + cell_s
    try:
        while event := checker.receive(limit_s):
            if "call" in event:
                error, result = ask(event["call"])
                checker.send({"error": error, "result": result})
            elif "done" in event:
                return DONE, ""
            elif "phase" in event:
                place = event["phase"]
            elif "begin" in event:
                place, limit_s = event["begin"], cell_s
            else:
                # Between two checks nothing of a submission is at work.
                place = SETTING_UP if "feedback" in event else place
                tell(event)
    except queue.Empty:
        return place, f"stopped after {limit_s:g} s"
    code = checker.process.wait()
    return place, f"its process ended with {_in_words(code)}"


def _in_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
