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
        from edgetpu_lib.base.metadata import verified_metadata

        given = self.labels_map_file
        names = deploy.output_names(
            deploy.read_labels(given)
            if given
            else deploy.class_names(model, verified_metadata(model)),
            classes,
            label_offset=int(self.include_background_label),
        )
        for name in names:
            if len(name.splitlines()) != 1:
                raise InputError(f"label {name!r} is not one line; rename the class")
        return names
