"""What a check tells a student: points, what was expected, what was found, a hint.

Takes the answer of a check; gives a `Feedback` that reads well in a notebook.
Used by `exercise`, whose checks call `judge`, and by `grading`, which reads the JSON
that a shown feedback carries.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterable
from typing import Any

# How a shown feedback travels from a kernel to whoever grades it.
MIME = "application/vnd.edgetpu-lib.feedback+json"
LONGEST = 500


@dataclasses.dataclass(frozen=True)
class Feedback:
    """What one check found.

    Attributes:
        task: name of the task.
        points: 0..max_points.
        max_points: what the task is worth.
        expected: in words.
        found: in words.
        hint: what to look at next; empty where all is well.
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
        """Return (what, words) in the order of reading; the hint only if needed."""
        rows = [("expected", self.expected), ("found", self.found)]
        return rows + ([("hint", self.hint)] if self.hint else [])

    def __str__(self) -> str:
        """Return plain text, one line a fact."""
        lines = [f"  {name:8}  {words}" for name, words in self.rows()]
        return "\n".join([self.headline, *lines])

    def _repr_markdown_(self) -> str:
        lines = [f"| {name} | {_cell(words)} |" for name, words in self.rows()]
        table = ["| | |", "|---|---|", *lines]
        return f"**{_cell(self.headline)}**\n\n" + "\n".join(table)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            "text/markdown": self._repr_markdown_(),
            MIME: dataclasses.asdict(self),
        }


@dataclasses.dataclass(frozen=True)
class Total:
    """The feedback on all tasks, in their order.

    Attributes:
        feedback: one a task.
    """

    feedback: tuple[Feedback, ...]

    @property
    def points(self) -> float:
        """Reached in all."""
        return sum(each.points for each in self.feedback)

    @property
    def max_points(self) -> float:
        """To be reached in all."""
        return sum(each.max_points for each in self.feedback)

    @property
    def headline(self) -> str:
        """The sum in words."""
        return f"{self.points:g} of {self.max_points:g} points"

    def __str__(self) -> str:
        """Return plain text, one line a task."""
        return "\n".join([self.headline, *(each.headline for each in self.feedback)])

    def _repr_markdown_(self) -> str:
        rows = [
            f"| {'✓' if each.passed else '✗'} | {_cell(each.task)} | {each.points:g} |"
            f" {each.max_points:g} | {_cell(each.hint)} |"
            for each in self.feedback
        ]
        head = ["| | task | points | of | hint |", "|---|---|--:|--:|---|"]
        return f"**{self.headline}**\n\n" + "\n".join(head + rows)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {"text/plain": str(self), "text/markdown": self._repr_markdown_()}


class Wrong(Exception):
    """What a check found wrong.

    Attributes:
        found: in words.
        hint: what to look at next.
        points: reached nevertheless.
    """

    def __init__(self, found: str, hint: str, points: float = 0) -> None:
        """Say what was found, what may help, and what it is worth."""
        super().__init__(found)
        self.found, self.hint, self.points = found, hint, points


def judge(
    task: str, max_points: float, expected: str, given: Any, check: Callable[[], str]
) -> Feedback:
    """Run a check and return its feedback, whatever happens.

    Args:
        task: name of the task.
        max_points: what it is worth.
        expected: in words.
        given: what the student made; `None` is nothing yet.
        check: returns what was found where all is well, and raises `Wrong` or anything
            else where it is not.
    """
    if given is None:
        found, hint, points = "nothing yet", "run your cell, then this one again", 0.0
    else:
        try:
            found, hint, points = check(), "", max_points
        except Wrong as wrong:
            found, hint, points = wrong.found, wrong.hint, wrong.points
        # A student's function may do anything, and a hint helps more than a traceback.
        except (Exception, SystemExit) as error:
            found = f"the check stopped with {type(error).__name__}: {_words_of(error)}"
            hint, points = "compare the type of what you made with what is expected", 0
    return Feedback(task, points, max_points, expected, shorten(found), shorten(hint))


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
    except Exception:  # Whatever a student's object does when it is looked at.
        return kind


def series(words: Iterable[object]) -> str:
    """Join names with commas; say so where there are none."""
    return ", ".join(map(str, words)) or "none"


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # An exception of a student's may fail even at this.
        return "no message"


def _cell(text: str) -> str:
    """Escape what would break a Markdown table or be taken for markup."""
    escaped = html.escape(text, quote=False)
    for sign in "\\|`*_[]$":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
