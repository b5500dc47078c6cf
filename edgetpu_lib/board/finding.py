"""What is right on a computer, or wrong, and what to do about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

RIGHT, WRONG, UNSURE = "right", "wrong", "unsure"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `RIGHT`, `WRONG` or `UNSURE`.
        topic: what it is about, a word or two.
        text: what was found, without a full stop.
        remedy: what to do, where something is wrong; a line to type if there is one.
    """

    state: str
    topic: str
    text: str
    remedy: str = ""


def first_wrong(findings: Iterable[Finding]) -> Finding | None:
    """Return the first thing that is wrong, if anything is."""
    return next((each for each in findings if each.state == WRONG), None)
