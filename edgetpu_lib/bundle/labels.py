"""The class names of a model, as options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names of a model's classes.

    Attributes:
        labels_map_file: class names as JSON {index: name}, or one per line. [default:
            those in the model's metadata, or inside its file]
        include_background_label: output 0 of the model is the background class, which
            the class names leave out.
    """

    labels_map_file: str | None = None
    include_background_label: bool = False

    def of(self, model: str | Path, classes: int) -> list[str]:
        """Return one name for each of a model's classes.

        Raises:
            InputError: their number does not fit, or a name has several lines.
        """
        from edgetpu_lib import deploy

        offset = int(self.include_background_label)
        names = deploy.output_names(self._given(model), classes, label_offset=offset)
        for name in names:
            if len(name.splitlines()) != 1:
                raise InputError(f"label {name!r} is not one line; rename the class")
        return names

    def are_known(self, model: str | Path) -> bool:
        """Return whether anything names a model's classes."""
        return self._given(model) is not None

    def _given(self, model: str | Path) -> list[str] | None:
        from edgetpu_lib import deploy
        from edgetpu_lib.base.metadata import verified_metadata

        if self.labels_map_file:
            return deploy.read_labels(self.labels_map_file)
        return deploy.class_names(model, verified_metadata(model))
