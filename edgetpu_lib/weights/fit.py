"""Compare the tensors of a file with those of a model, and report what was loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        checkpoint: the path, as it was given.
        use_ema: whether the averaged values were loaded.
        global_step: training step of the checkpoint; None if it holds none.
        loaded: names of the checkpoint tensors now in the model.
        kept: names of the model's weights that were not loaded (the classifier).
        ignored: names of the checkpoint tensors that were not loaded.
    """

    checkpoint: str
    use_ema: bool
    global_step: int | None
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    ignored: tuple[str, ...]


def compare_tensors(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    is_known: Callable[[str], bool],
) -> dict[str, list[str]]:
    """Compare the tensors that a model needs with those that a file holds.

    `wanted` and `found` are shapes by name; `is_known` says whether a name that is
    not wanted may be in the file. Returns the tensors that are "missing", "of another
    shape" or "unexpected"; a kind without tensors is left out.
    """
    problems = {
        "missing": [name for name in wanted if name not in found],
        "of another shape": [
            f"{name} is {found[name]} but the model has {shape}"
            for name, shape in wanted.items()
            if name in found and found[name] != shape
        ],
        "unexpected": [
            name for name in sorted(found) if name not in wanted and not is_known(name)
        ],
    }
    return {kind: names for kind, names in problems.items() if names}


def list_problems(problems: Mapping[str, list[str]]) -> str:
    """Return one line with the first three tensors of each kind of problem."""
    return "; ".join(
        f"{len(lines)} {kind} ({', '.join(lines[:3])}{', …' if lines[3:] else ''})"
        for kind, lines in problems.items()
    )
