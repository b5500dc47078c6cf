"""Remember which networks a search has judged, whatever stops it.

Takes networks and their accuracies; gives them back to the next run of the same search.
Used by `search`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.search.space import Stages


class Judged:
    """The networks whose accuracy is known already, kept in a file.

    A search that was stopped goes through the same proposals again and finds them here.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, object]) -> None:
        """Open or start the file.

        Args:
            path: JSON lines; the first holds the settings.
            settings: on which accuracies depend; anything JSON can hold.

        Raises:
            InputError: the file belongs to other settings or cannot be used.
        """
        self._path = Path(path)
        self._top1: dict[Stages, float] = {}
        lines = self._read()
        # As they come back from JSON.
        wanted = json.loads(json.dumps(settings))
        if not lines:
            self._append(wanted)
        elif lines[0] != wanted:
            raise InputError(
                f"{path} belongs to a search with other images or settings; choose"
                " another output folder"
            )
        for line in lines[1:]:
            stages = tuple(specs.StageSpec(**row) for row in line["stages"])
            self._top1[stages] = line["top1"]

    def __len__(self) -> int:
        """Return how many networks are known."""
        return len(self._top1)

    def top1_of(self, stages: Stages) -> float | None:
        """Return the accuracy of a network, or `None` if it is not known."""
        return self._top1.get(stages)

    def keep(self, stages: Stages, top1: float) -> None:
        """Add a network.

        Raises:
            InputError: the file cannot be written.
        """
        self._top1[stages] = top1
        rows = [dataclasses.asdict(stage) for stage in stages]
        self._append({"top1": top1, "stages": rows})

    def _read(self) -> list[dict]:
        if not self._path.is_file():
            return []
        text = self._path.read_bytes().decode(errors="replace")
        # What a process that was killed wrote of its last line is cut off.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise InputError(
                f"{self._path} is damaged ({error}); delete it to start anew"
            ) from error

    def _append(self, line: object) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write {self._path}: {error.strerror}; choose another output"
                " folder"
            ) from error
