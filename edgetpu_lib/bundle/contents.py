"""What lies in a bundle, and how its program opens it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Union

import numpy as np

from edgetpu_lib import deploy
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.deploy import Prediction
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite import scores
from edgetpu_lib.tflite.contract import Channels
from edgetpu_lib.tflite.interpreter import ANY_DEVICE
from edgetpu_lib.tflite.scores import Scorer

MODEL = "model/model.tflite"
COMPILED = "model/model_edgetpu.tflite"
LABELS = "model/labels.txt"
SETTINGS = "model/settings.json"
README = "README.txt"
UDEV_RULES = "99-edgetpu-accelerator.rules"
SERVICE = "watch.service"
TEXTS = (README, UDEV_RULES, SERVICE)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a bundle's program knows of its model.

    Attributes:
        name: of the model's file, without its ending.
        version: of this library.
        compiled: whether a file for the Edge TPU is in the bundle too.
        mean: subtracted from pixels, 0..255; one number, or three.
        stddev: that the difference is divided by.
        resize: how an image becomes square, "crop" or "stretch".
        ends_in_logistic: as of `Scorer`; a compiled file does not tell.
        tolerance: one quantization step of the scores.
        expected: scores of the stored images, by name in the bundle.
    """

    name: str
    version: str
    compiled: bool
    mean: Channels
    stddev: Channels
    resize: Resize
    ends_in_logistic: bool
    tolerance: float
    expected: dict[str, list[float]]

    def to_json(self) -> bytes:
        """Return the settings as a bundle holds them."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode()


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file in a bundle, which images are opened from as from a path."""

    name: str
    content: bytes

    def __str__(self) -> str:
        """Return the name, for messages."""
        return self.name

    def read_bytes(self) -> bytes:
        """Return the content."""
        return self.content


Image = Union[str, Path, Stored]  # noqa: UP007 (evaluated on Python 3.9)


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """An opened model with its labels.

    Attributes:
        scorer: gives the scores of pixels.
        labels: one name a score.
    """

    scorer: Scorer
    labels: list[str]

    def scores_of(self, image: Image) -> np.ndarray:
        """Return the dequantized scores of an image: float32 [classes].

        Raises:
            InputError: the image cannot be used, or the runtime fails.
        """
        scorer = self.scorer
        return scorer(
            pixels.load_on_device(image, scorer.image_size, resize=scorer.resize)
        )

    def predict(self, image: Image, top: int) -> list[Prediction]:
        """Return the most probable classes of an image.

        Raises:
            InputError: as `scores_of`.
        """
        found = scores.probabilities(self.scores_of(image)[None])[0]
        return deploy.best_predictions(found, self.labels, top=top)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The files of a bundle; `read` returns the content of one of them."""

    read: Callable[[str], bytes]

    @functools.cached_property
    def settings(self) -> Settings:
        """What the bundle knows of its model."""
        return Settings(**json.loads(self.read(SETTINGS)))

    @property
    def labels(self) -> list[str]:
        """One name a score."""
        return self.read(LABELS).decode().split("\n")[:-1]

    def open(self, *, compiled: bool, device: DeviceOptions = ANY_DEVICE) -> Classifier:
        """Open a model of the bundle; nothing is unpacked to the disk.

        Args:
            compiled: open the file for the Edge TPU.
            device: the Edge TPU that runs it.

        Raises:
            InputError: no runtime is installed, or no Edge TPU answers.
        """
        settings = self.settings
        scorer = scores.open_scorer(
            self.read(COMPILED if compiled else MODEL),
            pixel_scale=(settings.mean, settings.stddev),
            resize=settings.resize,
            device=device,
        )
        known = {"ends_in_logistic": settings.ends_in_logistic, "name": settings.name}
        return Classifier(dataclasses.replace(scorer, **known), self.labels)

    def verify(self, classifier: Classifier) -> float:
        """Compare the predictions of the stored images with those of the bundling.

        Returns:
            The largest difference of a score, in quantization steps.

        Raises:
            InputError: a score differs by more than one step.
        """
        differences = [
            np.abs(classifier.scores_of(Stored(name, self.read(name))) - expected).max()
            for name, expected in self.settings.expected.items()
        ]
        # NumPy's, which takes a NaN for the largest.
        worst = float(np.max(differences) / self.settings.tolerance)
        # The last bits of a multiplication by the scale are no difference.
        if not worst <= 1.001:
            raise InputError(
                f"scores differ by {worst:.1f} quantization steps from those of the"
                " bundling, one is allowed; copy the bundle again, or install another"
                " version of ai-edge-litert"
            )
        return worst
