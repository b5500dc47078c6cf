"""Settings of the architecture search, each with its default and its meaning.

Light to import: the command line makes its options from them.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from edgetpu_lib.base.artifacts import InputError

Strategy = Literal["evolution", "random"]


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Attributes:
        strategy: "evolution" recombines the best candidates so far; "random" draws
            every candidate independently.
        candidates: largest number of candidates to evaluate.
        first: number of random candidates before evolution breeds any.
        parents: number of best candidates from which the two parents of a child are
            drawn. A child takes every field from one or the other, and one field is
            changed at random.
        at_once: candidates under way at a time. One is proposed once all but the last
            `at_once` - 1 before it are evaluated, so that the result depends neither
            on the number of processes nor on their speed.
        patience: candidates without a better reward before the search stops.
        target_latency_ms: estimated latency on the Edge TPU at which the reward equals
            the accuracy.
        exponent: exponent w of the reward top-1 × (latency / target)^w; −0.07 trades
            a doubling of latency for about 5 % relative accuracy.
        seed: seed of the split, of the candidates and of their training.
    """

    strategy: Strategy = "evolution"
    candidates: int = 24
    first: int = 8
    parents: int = 4
    at_once: int = 4
    patience: int = 24
    target_latency_ms: float = 5.0
    exponent: float = -0.07
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no search can use."""
        if self.strategy not in get_args(Strategy):
            raise InputError(
                f"strategy {self.strategy!r} is unknown; use"
                f" {' or '.join(get_args(Strategy))}"
            )
        for name in ("candidates", "first", "parents", "at_once", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")
        if self.target_latency_ms <= 0:
            raise InputError(
                f"target_latency_ms={self.target_latency_ms} must be above 0"
            )
        if self.exponent > 0:
            raise InputError(
                f"exponent={self.exponent} would reward slow networks; use 0 or less"
            )
