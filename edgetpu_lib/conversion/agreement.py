"""Compare the predictions of an int8 file with those of the Keras model it is of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.conversion import floats
from edgetpu_lib.conversion.settings import (
    FEW_IMAGES,
    FLAT_LEVELS,
    MIN_VERIFIED_IMAGES,
)
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import interpreter


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well a file agrees with its Keras model.

    Attributes:
        share: 0..1, the smallest of all outputs. Of a classifier, the share of images
            with the same class; of one score, with the same side of 0.5 (of 0 where
            scores leave 0..1); of other outputs, the correlation of the values.
        images: how many were compared.
        one_class: whether the Keras model gives all images the same class.
    """

    share: float
    images: int
    one_class: bool = False


def measure_agreement(
    model: keras.Model,
    content: bytes,
    images: Iterable[np.ndarray],
    *,
    mean: float,
    stddev: float,
) -> Agreement:
    """Run a Keras model and its TFLite file, float or int8, on the same images.

    Args:
        model: takes (pixel − mean) / stddev.
        content: of the TFLite file; quantized, it is fed with the bytes themselves.
        images: uint8 [height, width, 3] each, RGB.
        mean: of the model's pixels.
        stddev: likewise.
    """
    opened = interpreter.start(content)
    rows: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    for image in images:
        fed = pixels.normalize(image, mean, stddev)[None]
        expected = keras.tree.flatten(model.predict_on_batch(fed))
        found = _run(opened, image, fed)
        rows.append(([np.asarray(e, np.float32) for e in expected], found))
    if not rows:
        raise InputError("the agreement of two models needs at least one image")
    steps = [detail["quantization"][0] for detail in opened.get_output_details()]
    columns = [
        tuple(np.concatenate([row[side][output] for row in rows]) for side in (0, 1))
        for output in range(len(steps))
    ]
    shares = [_share(*each, step) for each, step in zip(columns, steps, strict=True)]
    scores = columns[0][0]
    classes = _classes(scores, _threshold(scores)) if _are_classes(scores) else []
    return Agreement(min(shares), len(rows), len(set(classes)) == 1)


def verify(
    model: keras.Model,
    content: bytes,
    images: Sequence[np.ndarray],
    *,
    least: float,
) -> Agreement:
    """Return the agreement of an int8 file with its model, or refuse the file.

    Args:
        model: from which the file was made.
        content: of the int8 file, whose input takes raw bytes.
        images: uint8 [height, width, 3] each; fewer than ten are not judged.
        least: smallest share, 0..1.

    Raises:
        InputError: the share is below `least`; the message names the cause.
    """
    contract = interpreter.input_contract(interpreter.start(content))
    prepared = {"mean": contract.zero_point, "stddev": 1 / contract.scale}
    found = measure_agreement(model, content, images, **prepared)
    if found.share >= least or found.images < MIN_VERIFIED_IMAGES:
        return found
    of_float = measure_agreement(
        model, floats.to_float_tflite(model), images, **prepared
    )
    cause = (
        "8 bits are too coarse for the ranges that the calibration images set; give"
        " more images like those in use, or let `diagnose` find the layer"
    )
    if of_float.share < least:
        cause = (
            f"the float TFLite file agrees on {of_float.share:.0%} only, so that a"
            " layer is converted to something else; replace unusual layers"
        )
    raise InputError(
        f"the int8 model agrees with the Keras model on {found.share:.0%} of"
        f" {found.images} calibration images, below --min_agreement={least:g}: {cause}"
    )


def calibration_remarks(
    images: Sequence[np.ndarray], labels: np.ndarray, one_class: bool
) -> list[str]:
    """Return what calibration images cannot show, and what to do, in a line each.

    Takes all labels, some of the images, uint8 [height, width, 3] each, and whether
    the model gives those the same class.
    """
    remarks = []
    if len(labels) < FEW_IMAGES:
        remarks.append(
            f"only {len(labels)} calibration images: ranges may be too narrow for"
            f" others; give {FEW_IMAGES} or more, of all classes"
        )
    flat = sum(float(image.std()) < FLAT_LEVELS for image in images)
    if flat > len(images) / 2:
        remarks.append(
            f"{flat} of {len(images)} calibration images show one flat colour: give"
            " photos like those in use"
        )
    if one_class:
        remarks.append(
            f"the model gives all {len(images)} calibration images the same class: give"
            " images of all classes"
        )
    return remarks


def _run(opened: Any, image: np.ndarray, fed: np.ndarray) -> list[np.ndarray]:
    """Return all outputs of a file for one image, as float32."""
    taken = opened.get_input_details()[0]
    given = image[None] if taken["dtype"] == np.uint8 else fed
    opened.set_tensor(taken["index"], given.astype(taken["dtype"]))
    opened.invoke()
    found = []
    for detail in opened.get_output_details():
        values = opened.get_tensor(detail["index"]).astype(np.float32)
        scale, zero_point = detail["quantization"]
        found.append((values - zero_point) * np.float32(scale) if scale else values)
    return found


def _share(expected: np.ndarray, found: np.ndarray, step: float) -> float:
    """Return the agreement of one output: [images, …] of each model."""
    if not _are_classes(expected):
        return _correlation(expected, found)
    threshold = _threshold(expected)
    same = _classes(expected, threshold) == _classes(found, threshold)
    # Scores that differ by less than a step of the output are equal to it.
    if expected.shape[1] == 1:
        tied = np.abs(expected[:, 0] - threshold) < step
    else:
        chosen = expected[np.arange(len(expected)), _classes(found, threshold)]
        tied = expected.max(axis=1) - chosen < step
    return float(np.mean(same | tied))


def _are_classes(scores: np.ndarray) -> bool:
    """Return whether scores tell one class: logits, or probabilities of a softmax."""
    if scores.ndim != 2:
        return False
    inside = scores.min() >= 0 and scores.max() <= 1
    sums = scores.sum(axis=1)
    return scores.shape[1] == 1 or not inside or np.allclose(sums, 1, atol=1e-2)


def _threshold(scores: np.ndarray) -> float:
    """Return what separates two classes of one score: of a sigmoid 0.5, else 0."""
    return 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0


def _classes(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return the class of each row of scores: [images, classes] or [images, 1]."""
    if scores.shape[1] > 1:
        return scores.argmax(axis=1)
    return (scores[:, 0] > threshold).astype(int)


def _correlation(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the correlation of two arrays; 1 if both are constant."""
    expected, found = expected.ravel().astype(float), found.ravel().astype(float)
    expected, found = expected - expected.mean(), found - found.mean()
    norm = np.linalg.norm(expected) * np.linalg.norm(found)
    if not norm:
        return float(np.allclose(expected, found))
    return float(expected @ found / norm)
