"""Grade submitted notebooks, each in its own processes.

Takes a folder of submissions and a key; gives points, feedback and a status for each,
which `pages` writes.

This protects the teacher's machine and other submissions from accidents: endless
loops, too much memory, files in odd places, and grades from fakes: the checks see what
a submission left behind as data. It does not protect from malicious code: a submission
runs with the rights of whoever grades it, and can read files and reach the network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import InputError, sha256_of
from edgetpu_lib.teaching.exercise.feedback import Feedback, shorten
from edgetpu_lib.teaching.grading.key import Key, submitted_sources
from edgetpu_lib.teaching.grading.process import FAILED, Limits, Place, run_job

GRADED = "graded"
SUFFIX = ".ipynb"


@dataclasses.dataclass(frozen=True)
class Grade:
    """The result of one submission.

    Attributes:
        name: path below the folder, printable.
        digest: of the file and the key, in hex.
        status: "graded", or why it was not.
        feedback: one a check, in the order of the key.
        answers: task → the text that a person grades.
        errors: of the notebook's own cells, one line each.
        seconds: duration.
    """

    name: str
    digest: str
    status: str
    feedback: tuple[Feedback, ...]
    answers: dict[str, str]
    errors: tuple[str, ...]
    seconds: float

    @property
    def points(self) -> float:
        """The sum of all checks."""
        return sum(each.points for each in self.feedback)

    @property
    def is_grade(self) -> bool:
        """Whether it says something of the submission; else the grader failed."""
        return not self.status.startswith(FAILED)


def find_submissions(folder: str | Path) -> list[Path]:
    """Return all paths of a folder that end like a notebook, at any depth, sorted.

    Links to folders are not followed; hidden folders, such as Jupyter's checkpoints,
    are left out.

    Raises:
        InputError: it is not a folder, or holds no notebook.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # A folder of such a name gets a status that says so.
        found += [
            Path(place) / name
            for name in files + folders
            if name.lower().endswith(SUFFIX) and not name.startswith(".")
        ]
    if not found:
        raise InputError(f"{folder} holds no {SUFFIX} file; give a folder of notebooks")
    return sorted(found)


def shown_name(path: Path, folder: str | Path) -> str:
    """Return a submission's path below the folder, printable on one line."""
    name = os.fsencode(path.relative_to(folder).as_posix())
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def digest_of(path: Path, key: Key) -> str:
    """Return the SHA-256 of the key and a submission (if a regular file), in hex."""
    is_regular = path.is_file() and not path.is_symlink()
    content = sha256_of(path) if is_regular else ""
    return hashlib.sha256(f"{key.digest} {content}".encode()).hexdigest()


def grade(
    path: Path,
    name: str,
    key: Key,
    limits: Limits,
    stop: threading.Event,
    place: Place | None = None,
) -> Grade | None:
    """Run a submission and the checks; return the grade, whatever the notebook does.

    Args:
        path: of the notebook.
        name: to show.
        key: from `key.read_key`.
        limits: of time and memory.
        stop: set by another thread to end the work early; then `None` is returned.
        place: where it runs.
    """
    start = time.monotonic()
    events: list[dict[str, Any]] = []
    digest = ""
    try:
        digest = digest_of(path, key)
        sources = submitted_sources(path, key.overrides)
        ending, events = run_job(_job(sources, key), limits, stop, place)
    except (InputError, OSError) as error:
        ending = shorten(str(error))
    if stop.is_set():
        return None
    ends = [event["end"] for event in events if "end" in event]
    status = ending or "".join(ends[-1:])
    return Grade(
        name=name,
        digest=digest,
        status=status,
        feedback=tuple(_feedback(key, events, status)),
        answers={e["task"]: e["answer"] for e in events if "answer" in e},
        errors=tuple(e["error"] for e in events if "error" in e and "task" not in e),
        seconds=time.monotonic() - start,
    )


def try_key(key: Key, limits: Limits, place: Place) -> str:
    """Run the key without a submission and without its checks; return why that fails.

    Afterwards the images that the key draws lie in `place.checks`.
    """
    job = {**_job(None, key), "checks": [], "by_hand": []}
    return run_job(job, limits, threading.Event(), place)[0]


def _job(sources: list[str] | None, key: Key) -> dict[str, Any]:
    return {
        "student": sources,
        "setup": key.setup,
        "checks": [(check.task, check.source) for check in key.checks],
        "by_hand": [(hand.task, hand.variable) for hand in key.by_hand],
        "names": key.names,
    }


def _feedback(
    key: Key, events: list[dict[str, Any]], status: str
) -> Iterator[Feedback]:
    """Yield the feedback of every check, without points if it did not run."""
    told = {event["task"]: event for event in events if "feedback" in event}
    for check in key.checks:
        event = told.get(check.task, {"error": f"not reached: {status}"})
        given = event.get("feedback")
        if not given:
            found = event["error"] or "the check gave no feedback"
            yield Feedback(check.task, 0, check.points, "", found)
            continue
        points = min(max(float(given["points"]), 0.0), check.points)
        words = [str(given[name]) for name in ("expected", "found", "hint")]
        yield Feedback(check.task, points, check.points, *words)
