"""Classify an image with a TFLite file, on a computer or on a board.

Takes a `.tflite` file, labels and an image; gives the most probable classes.
The last stage; needs only NumPy, Pillow and a TFLite runtime.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import verified_metadata
from edgetpu_lib.base.plain_files import read_plain_file
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.images import listing, pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite import scores
from edgetpu_lib.tflite.contract import PixelScale
from edgetpu_lib.tflite.interpreter import ANY_DEVICE
from edgetpu_lib.tflite.labels import labels_inside


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One class: its index among the model's outputs, its name, its probability."""

    index: int
    label: str
    probability: float


def classify(
    model: str | Path,
    image: str | Path,
    *,
    labels: list[str] | None = None,
    top: int = 5,
) -> list[Prediction]:
    """Classify one image with a TFLite file.

    Args:
        model: float or int8; its input's dtype, scale and size are read from the file.
        image: an image file.
        labels: one name a class; `None` takes the class names of the file's metadata,
            or those inside the file.
        top: number of predictions, highest probability first.

    Raises:
        InputError: the model, the image or the labels cannot be used.

    See: notebooks/06_deploy.ipynb.
    """
    if labels is None:
        labels = class_names(model, verified_metadata(model))
    return best_predictions(image_scorer(model)(image), labels, top=top)


def image_scorer(
    model: str | Path,
    *,
    pixel_scale: PixelScale | None = None,
    resize: Resize | None = None,
    device: DeviceOptions = ANY_DEVICE,
) -> Callable[[str | Path], np.ndarray]:
    """Open a TFLite file once, for any number of images.

    Args:
        model: float, int8 or compiled for the Edge TPU.
        pixel_scale: what is subtracted from pixels, 0..255, and what they are divided
            by; `None` takes what the file tells.
        resize: how an image becomes square, "crop" or "stretch"; `None` takes what the
            metadata tell.
        device: the Edge TPU that runs a compiled file.

    Returns:
        A function: an image file to its probabilities, float32 [classes]. It raises
        `InputError` if the image cannot be used.

    Raises:
        InputError: the model cannot be used, or nothing tells which pixels it takes.
    """
    scorer = scores.open_scorer(
        model, pixel_scale=pixel_scale, resize=resize, device=device
    )

    def score(image: str | Path) -> np.ndarray:
        image_f32 = pixels.load_on_device(
            image, scorer.image_size, resize=scorer.resize
        )
        return scores.probabilities(scorer(image_f32)[None])[0]

    return score


def score_image(model: str | Path, image: str | Path, **options: Any) -> np.ndarray:
    """Return the probabilities that a TFLite file gives one image: float32 [classes].

    The options, and what is raised, are those of `image_scorer`.
    """
    return image_scorer(model, **options)(image)


def image_paths(source: str | Path, listed: Iterable[bytes] = ()) -> Iterator[str]:
    """Yield the image files that are to be classified.

    Args:
        source: an image file; a folder, of which all images at any depth are taken,
            sorted; or "-", which takes one path a line of `listed`.
        listed: lines, read one by one as they come.

    Raises:
        InputError: the folder holds no image.
    """
    if str(source) == "-":
        yield from (
            os.fsdecode(line.rstrip(b"\r\n")) for line in listed if line.strip()
        )
    elif Path(source).is_dir():
        found, _ = listing.files_in(Path(source))
        if not found:
            raise InputError(f"{source} holds no image; give a folder of JPEG or PNG")
        yield from map(str, found)
    else:
        yield str(source)


def class_names(model: str | Path | None, metadata: dict) -> list[str] | None:
    """Return the class names of a model: of its metadata, or inside its file."""
    inside = str(model).endswith(".tflite")
    return metadata.get("class_names") or (labels_inside(model) if inside else None)


def best_predictions(
    found: np.ndarray,
    labels: list[str] | None,
    *,
    top: int = 5,
    label_offset: int = 0,
) -> list[Prediction]:
    """Name the highest scores.

    Args:
        found: scores, float [classes], 0..1.
        labels: names; `None` shows indices as names.
        top: number of predictions, highest score first.
        label_offset: 1 where class 0 is the background, which `labels` leaves out.

    Raises:
        InputError: the number of labels does not fit the model.
    """
    names = output_names(labels, len(found), label_offset=label_offset)
    best = np.argsort(-found, kind="stable")[: max(1, top)]
    return [Prediction(int(i), names[i], float(found[i])) for i in best]


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
        """Return one name for each of a model's classes; indices where none is known.

        Raises:
            InputError: the names cannot be read, or their number does not fit.
        """
        offset = int(self.include_background_label)
        return output_names(self.known(model), classes, label_offset=offset)

    def known(self, model: str | Path) -> list[str] | None:
        """Return the names in the file, or those that the model tells.

        Raises:
            InputError: they cannot be read.
        """
        if self.labels_map_file:
            return read_labels(self.labels_map_file)
        return class_names(model, verified_metadata(model))


def output_names(
    labels: list[str] | None, classes: int, *, label_offset: int = 0
) -> list[str]:
    """Return one name for each of a model's outputs.

    Arguments and errors are those of `best_predictions`.
    """
    if labels is None:
        return list(map(str, range(classes)))
    names = ["background"] * label_offset + labels
    if len(names) != classes:
        raise InputError(_misfit(len(labels), classes, label_offset))
    return names


def _misfit(labels: int, classes: int, label_offset: int) -> str:
    message = f"{labels} labels do not fit a model of {classes} classes; "
    if labels + 1 == classes and not label_offset:
        return message + "is class 0 the background? (--include_background_label)"
    if labels == classes:
        return message + "leave --include_background_label out"
    return message + "give the label file the model was trained with"


def read_labels(path: str | Path) -> list[str]:
    """Read class names: JSON `{"0": "tench", …}`, a JSON list, or one name a line.

    Raises:
        InputError: the file is missing, empty, or its JSON keys are not 0, 1, 2 ….
    """
    try:
        text = read_plain_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"cannot read labels {path}: not UTF-8 text; save it as UTF-8"
        ) from error
    if text.lstrip().startswith(("{", "[")):
        return _labels_from_json(text, path)
    labels = [line.strip() for line in text.splitlines() if line.strip()]
    if not labels:
        raise InputError(f"label file {path} is empty; give one name a line")
    return labels


def _labels_from_json(text: str, path: str | Path) -> list[str]:
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(index)] for index in range(len(content))]
    except (ValueError, KeyError) as error:
        raise InputError(
            f'label file {path} is not JSON of the form {{"0": "name", "1": …}}'
            f" ({error}); correct it or give one name a line"
        ) from error
    return [str(name) for name in content]
