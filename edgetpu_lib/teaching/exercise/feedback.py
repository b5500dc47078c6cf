"""Feedback of a check: points, what was expected, what was found, a hint.

`check_of` makes a check that gives `Feedback`; a notebook shows it as text and
Markdown, and `grading` reads the JSON that it carries.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# The MIME type in which a kernel sends a shown feedback to the grader.
MIME = "application/vnd.edgetpu-lib.feedback+json"
LONGEST = 500
# Points of each task, in the order of the notebook.
TASKS = {
    "classes": 1,
    "split": 4,
    "training": 2,
    "preprocessing": 2,
    "labels": 2,
    "calibration": 2,
    "file": 2,
    "budget": 5,
}


@dataclasses.dataclass(frozen=True)
class Feedback:
    """The result of one check.

    Attributes:
        task: a key of `TASKS`.
        points: 0..max_points.
        max_points: of the task.
        expected: in words.
        found: in words.
        hint: what to look at next; empty if the task is solved.
    """

    task: str
    points: float
    max_points: float
    expected: str
    found: str
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether all points were reached."""
        return self.points >= self.max_points

    @property
    def headline(self) -> str:
        """Mark, task and points in one line."""
        mark = "✓" if self.passed else "✗"
        return f"{mark} {self.task}: {self.points:g} of {self.max_points:g} points"

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, text) of what is to be shown, in this order."""
        rows = [("expected", self.expected), ("found", self.found)]
        return rows + ([("hint", self.hint)] if self.hint else [])

    def __str__(self) -> str:
        """Return plain text, one line a row."""
        lines = [f"  {name:8}  {text}" for name, text in self.rows()]
        return "\n".join([self.headline, *lines])

    def _repr_markdown_(self) -> str:
        lines = [f"| {name} | {_cell(text)} |" for name, text in self.rows()]
        table = ["| | |", "|---|---|", *lines]
        return f"**{_cell(self.headline)}**\n\n" + "\n".join(table)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            "text/markdown": self._repr_markdown_(),
            MIME: dataclasses.asdict(self),
        }


@dataclasses.dataclass(frozen=True, repr=False)
class Total:
    """The feedback on all tasks.

    Attributes:
        feedback: one a task, in the order of `TASKS`.
    """

    feedback: tuple[Feedback, ...]

    @property
    def points(self) -> float:
        """Points of all tasks."""
        return sum(each.points for each in self.feedback)

    @property
    def max_points(self) -> float:
        """Most points of all tasks."""
        return sum(each.max_points for each in self.feedback)

    @property
    def headline(self) -> str:
        """The sum in words."""
        return f"{self.points:g} of {self.max_points:g} points"

    def __repr__(self) -> str:
        """Return plain text, one line a task."""
        return "\n".join([self.headline, *(each.headline for each in self.feedback)])

    def _repr_markdown_(self) -> str:
        lines = [f"**{self.headline}**", "", "| | task | points | of | hint |"]
        lines += ["|---|---|--:|--:|---|"] + [
            f"| {'✓' if each.passed else '✗'} | {_cell(each.task)} | {each.points:g} |"
            f" {each.max_points:g} | {_cell(each.hint)} |"
            for each in self.feedback
        ]
        return "\n".join(lines)


@dataclasses.dataclass(eq=False)
class Wrong(Exception):
    """A mistake that a check found, a hint, and the points reached nevertheless."""

    found: str
    hint: str
    points: float = 0


# The last feedback on each task. A check that was moved, doubled or typed anew still
# counts, once; the cells of a notebook share nothing else that no student can delete.
_latest: dict[str, Feedback] = {}


def check_of(
    task: str, expected: str | Callable[..., str]
) -> Callable[[Callable[..., str]], Callable[..., Feedback]]:
    """Return a decorator: it makes a check of a function that finds mistakes.

    Args:
        task: a key of `TASKS`.
        expected: in words, or a function of the arguments after the first.
    """

    def decorate(find: Callable[..., str]) -> Callable[..., Feedback]:
        @functools.wraps(find)
        def check(*args: Any, **kwargs: Any) -> Feedback:
            given, *context = inspect.signature(find).bind(*args, **kwargs).args
            words = expected if isinstance(expected, str) else expected(*context)
            _latest[task] = judge(
                task, TASKS[task], words, given, lambda: find(given, *context)
            )
            return _latest[task]

        return check

    return decorate


def judge(
    task: str, max_points: float, expected: str, given: Any, find: Callable[[], str]
) -> Feedback:
    """Run a check and return its feedback, whatever happens.

    Args:
        task: name of the task.
        max_points: of the task.
        expected: in words.
        given: what the student made; `None` is nothing yet.
        find: returns what it found if the task is solved; raises `Wrong` or anything
            else if it is not.
    """
    if given is None:
        found, hint, points = "nothing yet", "run your cell, then this one again", 0.0
    else:
        try:
            found, hint, points = find(), "", max_points
        except Wrong as wrong:
            found, hint, points = wrong.found, wrong.hint, wrong.points
        # A student's function may do anything, and a hint helps more than a traceback.
        except (Exception, SystemExit) as error:
            found = f"the check stopped with {type(error).__name__}: {_words_of(error)}"
            hint, points = "compare the type of what you made with what is expected", 0
    return Feedback(task, points, max_points, expected, shorten(found), shorten(hint))


def total(feedback: Sequence[Feedback] | None = None) -> Total:
    """Add up the last feedback on every task.

    Args:
        feedback: of any tasks in any order; `None` takes that of all checks so far.
    """
    told = _latest if feedback is None else {each.task: each for each in feedback}
    missing = "not checked yet"
    return Total(
        tuple(
            told.get(task) or Feedback(task, 0, points, "", missing, missing)
            for task, points in TASKS.items()
        )
    )


def shorten(text: str, longest: int = LONGEST) -> str:
    """Return a text in one line, cut where it is too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def in_words(given: Any) -> str:
    """Describe any object by its type and, if short, its value."""
    kind = type(given).__name__
    try:
        if hasattr(given, "shape"):
            return f"{kind} of shape {tuple(given.shape)}, {given.dtype}"
        if isinstance(given, bytes | bytearray):
            return f"{kind}, {len(given):,} bytes"
        return f"{kind} {shorten(repr(given), 80)}"
    except Exception:  # A student's object may raise anything.
        return kind


def series(words: Iterable[object]) -> str:
    """Join names with commas; "none" if there are none."""
    return ", ".join(map(str, words)) or "none"


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # So may a student's exception.
        return "no message"


def _cell(text: str) -> str:
    """Escape what would break a Markdown table or be taken for markup."""
    escaped = html.escape(text, quote=False)
    for sign in "\\|`*_[]$":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
