"""Measure any model with the same numbers on the same photos.

Takes a Keras model or a TFLite file, and photos; gives probabilities and `Metrics`.
Next: `deploy` puts the measured file to work.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from edgetpu_lib import data, interpreter, pixels
from edgetpu_lib.artifacts import InputError


@dataclasses.dataclass(frozen=True)
class Metrics:
    """How well a model did.

    Attributes:
        images: number of photos.
        top1: share of photos whose best answer is right, 0..1.
        top5: share whose five best answers hold the right one, 0..1; 1 for models of
            five classes or fewer.
        classes: number of answers the model chooses from.
    """

    images: int
    top1: float
    top5: float
    classes: int


def predict_keras(
    model: keras.Model, photos: data.Photos, *, progress: str | None = "Keras"
) -> np.ndarray:
    """Classify photos with a Keras model, in constant memory.

    Args:
        model: normalised pixels to logits, from `build.build_model`.
        photos: what to classify; pixels keep their bicubic overshoot.
        progress: title of the progress bar; `None` shows none.

    Returns:
        float32 [photos, classes] probabilities.

    Raises:
        InputError: a photo cannot be used.
    """
    batches = data.iterate_batches(photos, model.input_shape[1], progress=progress)
    logits = np.concatenate(
        [model.predict_on_batch(pixels.normalize(batch)) for batch in batches]
    )
    return np.asarray(keras.ops.softmax(logits))


def predict_tflite(
    model: str | Path | bytes, photos: data.Photos, *, progress: str | None = "TFLite"
) -> np.ndarray:
    """Classify photos with a TFLite file.

    Args:
        model: path or bytes of the file. Quantized inputs get pixels rounded and
            clipped to 0..255, as a device would see them.
        photos: what to classify.
        progress: title of the progress bar; `None` shows none.

    Returns:
        float32 [photos, classes]: the output tensor, dequantized.

    Raises:
        InputError: the model or a photo cannot be used.
    """
    opened = interpreter.open_interpreter(model)
    contract = interpreter.input_contract(opened)
    rows = []
    for picture in data.iterate_pixels(photos, contract.shape[1], progress=progress):
        if contract.scale:
            picture = pixels.to_uint8(picture)
        rows.append(interpreter.run(opened, picture))
    return np.stack(rows)


def measure(scores: np.ndarray, labels: np.ndarray) -> Metrics:
    """Compare answers with the truth.

    Args:
        scores: float [photos, classes]; higher is likelier. Ties go to the lower
            index, as `argmax` decides.
        labels: int [photos], indices into the classes.

    Raises:
        InputError: the numbers do not match, or a label is no class.
    """
    if len(scores) != len(labels) or not len(labels):
        raise InputError(f"{len(scores)} answers do not match {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(
            f"labels {labels.min()}..{labels.max()} do not fit a model of"
            f" {scores.shape[1]} classes; check the class folders and the model"
        )
    ranked = np.argsort(-scores, axis=1, kind="stable")
    hits = ranked == labels[:, None]
    return Metrics(
        images=len(labels),
        top1=float(hits[:, :1].any(axis=1).mean()),
        top5=float(hits[:, :5].any(axis=1).mean()),
        classes=scores.shape[1],
    )


def agreement(scores: np.ndarray, others: np.ndarray) -> float:
    """Return the share of photos on which two models give the same best answer."""
    if scores.shape != others.shape:
        raise InputError(f"answers of shapes {scores.shape} and {others.shape} differ")
    return float((scores.argmax(axis=1) == others.argmax(axis=1)).mean())


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return int64 [classes, classes]: photos by true (row) and answered (column)."""
    classes = scores.shape[1]
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, scores.argmax(axis=1)), 1)
    return matrix
