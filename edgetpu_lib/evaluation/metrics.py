"""Accuracy with confidence intervals, comparisons of two models, confusions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite.scores import probabilities

CONFIDENCE = 0.95
# Probability of reporting a shift of correct labels.
SHIFT_P_VALUE = 0.001
KEPT_PREDICTIONS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """A model's best predictions for images, best first; forty bytes an image.

    Attributes:
        indices: int32 [images, up to 5], of the model's outputs.
        probabilities: float32 [images, up to 5], 0..1.
        classes: number of the model's outputs.
    """

    indices: np.ndarray
    probabilities: np.ndarray
    classes: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    @property
    def best(self) -> np.ndarray:
        """The best prediction for each image: int32 [images]."""
        return self.indices[:, 0]


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Accuracy of a model; shares are 0..1, with 95 % Wilson intervals.

    Attributes:
        images: number of images.
        classes: number of the model's outputs.
        top1: share of images whose best prediction is right.
        top1_low, top1_high: ends of its interval.
        top5: share of images with the label among the five best predictions; 1 for
            models of five classes or fewer.
        top5_low, top5_high: ends of its interval.
    """

    images: int
    classes: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float
    top5_low: float
    top5_high: float


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """Accuracy of one class, with its interval; None where it has no image."""

    name: str
    images: int
    top1: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        agreement: share of images with the same best prediction, 0..1.
        only_first: images that only the first model has right.
        only_second: images that only the second model has right.
        p_value: of the exact McNemar test: the probability of counts at least as
            uneven if both models are equally accurate.
    """

    agreement: float
    only_first: int
    only_second: int
    p_value: float


def best_predictions(scores: np.ndarray) -> Predictions:
    """Return the best five predictions from scores, float [images, classes].

    Of equal scores the lower index is first.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :KEPT_PREDICTIONS]
    kept = np.take_along_axis(probabilities(scores), order, axis=1)
    return Predictions(
        order.astype(np.int32), kept.astype(np.float32), classes=scores.shape[1]
    )


def hits(predictions: Predictions, labels: np.ndarray, *, top: int = 1) -> np.ndarray:
    """Return whether the label is among the `top` best predictions: bool [images].

    `labels` are int [images], indices of the model's outputs; `top` is 1 to 5.

    Raises:
        InputError: the numbers of images differ, or a label is no class.
    """
    if len(predictions) != len(labels) or not len(labels):
        raise InputError(
            f"{len(predictions)} predictions do not match {len(labels)} labels"
        )
    if labels.min() < 0 or labels.max() >= predictions.classes:
        raise InputError(
            f"labels {labels.min()}..{labels.max()} do not fit a model of"
            f" {predictions.classes} classes; check the class folders and the model"
        )
    return (predictions.indices[:, :top] == labels[:, None]).any(axis=1)


def measure(predictions: Predictions, labels: np.ndarray) -> Metrics:
    """Return the accuracy of predictions; takes and raises what `hits` does."""
    found = {"images": len(labels), "classes": predictions.classes}
    for top in (1, 5):
        right = int(hits(predictions, labels, top=top).sum())
        low, high = wilson_interval(right, len(labels))
        found |= {
            f"top{top}": right / len(labels),
            f"top{top}_low": low,
            f"top{top}_high": high,
        }
    return Metrics(**found)


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, 0..1, by Wilson's score method.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical
    Inference, 1927; without continuity correction.
    """
    result = stats.binomtest(right, images)
    low, high = result.proportion_ci(CONFIDENCE, method="wilson")
    return float(low), float(high)


def agreement(predictions: Predictions, others: Predictions) -> float:
    """Return the share of images with the same best prediction from two models, 0..1.

    Raises:
        InputError: the numbers of images or of classes differ.
    """
    if (len(predictions), predictions.classes) != (len(others), others.classes):
        raise InputError(
            f"{len(predictions)} predictions of {predictions.classes} classes cannot be"
            f" compared with {len(others)} of {others.classes}"
        )
    return float((predictions.best == others.best).mean())


def compare(
    predictions: Predictions, others: Predictions, labels: np.ndarray
) -> Comparison:
    """Compare two models on the same images, image by image.

    Raises:
        InputError: as `hits` and `agreement`.
    """
    first, second = hits(predictions, labels), hits(others, labels)
    return Comparison(
        agreement=agreement(predictions, others),
        only_first=int((first & ~second).sum()),
        only_second=int((second & ~first).sum()),
        p_value=paired_p_value(first, second),
    )


def paired_p_value(right: np.ndarray, others_right: np.ndarray) -> float:
    """Return the p-value of the exact McNemar test.

    Takes bool [images]: where the first model is right, and where the second is.

    Source: Q. McNemar, Note on the Sampling Error of the Difference Between Correlated
    Proportions or Percentages, 1947; exact, by the binomial distribution of the images
    that one model alone has right.
    """
    only_first = int((right & ~others_right).sum())
    decided = only_first + int((others_right & ~right).sum())
    return float(stats.binomtest(only_first, decided).pvalue) if decided else 1.0


def label_shift(predictions: Predictions, labels: np.ndarray) -> int:
    """Return by how much labels are shifted against the predictions: 0, −1 or 1.

    1 means that most images would be right if every label were one larger, as when
    the labels do not count the model's background class 0.
    """
    plain = predictions.best == labels
    for shift in (1, -1):
        shifted = predictions.best == labels + shift
        better = shifted.sum() > plain.sum()
        if better and paired_p_value(shifted, plain) < SHIFT_P_VALUE:
            return shift
    return 0


def per_class(
    predictions: Predictions, labels: np.ndarray, names: Sequence[str]
) -> list[ClassRow]:
    """Return the accuracy of each class; `names` has one for each of the outputs.

    Raises:
        InputError: as `hits`.
    """
    right = hits(predictions, labels)
    rows = []
    for index, name in enumerate(names):
        chosen = right[labels == index]
        share = low = high = None
        if len(chosen):
            share = float(chosen.mean())
            low, high = wilson_interval(int(chosen.sum()), len(chosen))
        rows.append(ClassRow(name, len(chosen), share, low, high))
    return rows


def confusion(predictions: Predictions, labels: np.ndarray) -> np.ndarray:
    """Return int64 [classes, classes]: images by label (row), prediction (column)."""
    hits(predictions, labels)
    matrix = np.zeros((predictions.classes, predictions.classes), np.int64)
    np.add.at(matrix, (labels, predictions.best), 1)
    return matrix


def confident_mistakes(
    predictions: Predictions, labels: np.ndarray, count: int = 10
) -> np.ndarray:
    """Return int64 [≤ count]: places of wrong predictions, most confident first."""
    wrong = np.flatnonzero(~hits(predictions, labels))
    order = np.argsort(-predictions.probabilities[wrong, 0], kind="stable")
    return wrong[order[:count]]
