"""Save evaluated networks so that a search can resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import require_writable
from edgetpu_lib.base.journal import Journal
from edgetpu_lib.search.space import Stages


class History:
    """Evaluated networks and their accuracies in a journal.

    A resumed search proposes the same networks again and finds their accuracies here.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, object]) -> None:
        """Read the networks of earlier runs with the same settings.

        Raises:
            InputError: the journal belongs to other settings, or cannot be read or
                written.
        """
        require_writable(path)
        self._journal = Journal(path, settings)
        self._top1: dict[Stages, float] = {
            tuple(specs.StageSpec(**stage) for stage in row["stages"]): row["top1"]
            for row in self._journal.rows
        }

    def __len__(self) -> int:
        """Return the number of evaluated networks."""
        return len(self._top1)

    def top1_of(self, stages: Stages) -> float | None:
        """Return the top-1 accuracy of a network, 0..1; `None` if it is unknown."""
        return self._top1.get(stages)

    def add(self, stages: Stages, top1: float) -> None:
        """Save the accuracy of a network."""
        self._top1[stages] = top1
        rows = [dataclasses.asdict(stage) for stage in stages]
        self._journal.append({"top1": top1, "stages": rows})
