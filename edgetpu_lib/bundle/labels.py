"""Names of classes as files hold them, one a line."""

from __future__ import annotations

from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.deploy import Labels


def lines_of(labels: Labels | None, model: str | Path, classes: int) -> list[str]:
    """Return one name for each of a model's classes.

    Args:
        labels: `None` takes what the model tells.
        model: `.tflite` file.
        classes: number of its outputs.

    Raises:
        InputError: their number does not fit, or a name is not one line.
    """
    names = (labels or Labels()).of(model, classes)
    for name in names:
        if len(name.splitlines()) != 1:
            raise InputError(f"label {name!r} is not one line; rename the class")
    return names
