"""What commands that take a model have in common: its pixels, and its metadata."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import StaleMetadata, resize_of, verified_metadata
from edgetpu_lib.commands import options
from edgetpu_lib.images.normalization import Resize

if TYPE_CHECKING:
    from edgetpu_lib.tflite.contract import PixelScale


@dataclasses.dataclass(frozen=True)
class Scale:
    """What is done to the pixels of an image for a model.

    Attributes:
        mean: subtracted from the pixels, 0..255; one number, or three with commas.
            [default: what the model tells]
        std: the difference is divided by it; one number, or three with commas.
            [default: what the model tells]
    """

    mean: str | None = None
    std: str | None = None

    def read(self) -> PixelScale | None:
        """Return mean and standard deviation, or `None` where they are not given.

        Raises:
            InputError: one of them is missing or is no number.
        """
        if self.mean is None and self.std is None:
            return None
        if self.mean is None or self.std is None:
            given = f"--mean={self.mean}" if self.std is None else f"--std={self.std}"
            raise InputError(f"{given} alone says too little; give --mean and --std")
        return (
            options.channels(self.mean, "mean"),
            options.channels(self.std, "std"),
        )


@dataclasses.dataclass(frozen=True)
class Pixels(Scale):
    """What a model takes for an image.

    Attributes:
        resize: how an image becomes square: its centre is cut out, or it is stretched
            whole. [default: what the model's metadata say, or else crop]
    """

    resize: Resize | None = None

    def resize_for(self, model: str | Path | None) -> Resize:
        """Return how a model's images become square, as given or as it tells.

        Raises:
            InputError: its metadata cannot be read, or are of another file.
        """
        return self.resize or (resize_of(model) if model else "crop")


def metadata_of(model: str | Path | None, *, needed: bool = True) -> dict:
    """Return the metadata of a model, after comparing their digest with its file.

    Unless they are `needed`, metadata of another file are ignored with a line.

    Raises:
        InputError: they cannot be read, or are needed and belong to another file.
    """
    try:
        return verified_metadata(model) if model else {}
    except StaleMetadata as error:
        if needed:
            raise
        print(f"ignored: {error}", file=sys.stderr)
        return {}
