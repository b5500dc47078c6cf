"""Turn answers into numbers one can trust: shares with intervals, and who is confused.

Takes a model's best answers and the truth; gives accuracies, comparisons, mistakes.
Used by `evaluate`, `report` and `diagnose`; needs NumPy and SciPy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from edgetpu_lib.base.artifacts import InputError

CONFIDENCE = 0.95
# Chance that labels are called shifted though they are not.
SHIFT_P_VALUE = 0.001
KEPT_PREDICTIONS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """A model's best answers to images, best first; forty bytes an image.

    Attributes:
        indices: int32 [images, up to 5], of the model's outputs.
        probabilities: float32, as `indices`.
        classes: number of outputs they were chosen from.
    """

    indices: np.ndarray
    probabilities: np.ndarray
    classes: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    @property
    def best(self) -> np.ndarray:
        """The answer to each image: int32 [images]."""
        return self.indices[:, 0]


@dataclasses.dataclass(frozen=True)
class Metrics:
    """How well a model did; shares are 0..1, with 95 % Wilson intervals.

    Attributes:
        images: number of images.
        classes: number of answers the model chooses from.
        top1: share of images whose best answer is right.
        top1_low: lower end of its interval.
        top1_high: upper end of its interval.
        top5: share whose five best answers hold the right one; 1 for models of five
            classes or fewer.
        top5_low: lower end of its interval.
        top5_high: upper end of its interval.
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
    """How well one class is recognised; `top1` is None where it has no image."""

    name: str
    images: int
    top1: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        agreement: share of images with the same best answer, 0..1.
        only_first: images that only the first model has right.
        only_second: images that only the second model has right.
        p_value: of the exact McNemar test: how likely so uneven a pair of counts is
            if both models are equally good.
    """

    agreement: float
    only_first: int
    only_second: int
    p_value: float


def best_predictions(scores: np.ndarray) -> Predictions:
    """Keep the best five of a model's scores.

    Args:
        scores: float [images, classes], higher is likelier: probabilities, or
            anything else, which a softmax turns into such, image by image. Ties go to
            the lower index.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :KEPT_PREDICTIONS]
    kept = np.take_along_axis(probabilities(scores), order, axis=1)
    return Predictions(
        order.astype(np.int32), kept.astype(np.float32), classes=scores.shape[1]
    )


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities where they are none yet.

    Args:
        scores: float [images, classes].

    Returns:
        [images, classes]; rows within 0..1 as they are, others through a softmax.
    """
    # Quantized probabilities need not sum to one: most are rounded to zero.
    given = (scores.min(axis=1) >= 0) & (scores.max(axis=1) <= 1.01)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax = powers / powers.sum(axis=1, keepdims=True)
    return np.where(given[:, None], scores, softmax)


def hits(predictions: Predictions, labels: np.ndarray, *, top: int = 1) -> np.ndarray:
    """Return for each image whether its `top` best answers hold the truth.

    Args:
        predictions: of a model.
        labels: int [images], indices of the model's outputs.
        top: 1 to 5.

    Returns:
        bool [images].

    Raises:
        InputError: the numbers do not match, or a label is no class.
    """
    if len(predictions) != len(labels) or not len(labels):
        raise InputError(
            f"{len(predictions)} answers do not match {len(labels)} labels"
        )
    if labels.min() < 0 or labels.max() >= predictions.classes:
        raise InputError(
            f"labels {labels.min()}..{labels.max()} do not fit a model of"
            f" {predictions.classes} classes; check the class folders and the model"
        )
    return (predictions.indices[:, :top] == labels[:, None]).any(axis=1)


def measure(predictions: Predictions, labels: np.ndarray) -> Metrics:
    """Compare answers with the truth.

    Args:
        predictions: of a model.
        labels: int [images], indices of the model's outputs.

    Raises:
        InputError: as `hits`.
    """
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

    Args:
        right: how many of the images count.
        images: how many images there are, at least one.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical
    Inference, 1927; without continuity correction.
    """
    result = stats.binomtest(right, images)
    low, high = result.proportion_ci(CONFIDENCE, method="wilson")
    return float(low), float(high)


def agreement(predictions: Predictions, others: Predictions) -> float:
    """Return the share of images on which two models give the same best answer.

    Raises:
        InputError: they answered other images, or choose from other classes.
    """
    mine, theirs = (
        (len(predictions), predictions.classes),
        (len(others), others.classes),
    )
    if mine != theirs:
        raise InputError(
            f"{mine[0]} answers of {mine[1]} classes cannot be compared with"
            f" {theirs[0]} of {theirs[1]}"
        )
    return float((predictions.best == others.best).mean())


def compare(
    predictions: Predictions, others: Predictions, labels: np.ndarray
) -> Comparison:
    """Compare two models on the same images, image by image.

    Args:
        predictions: of the first model.
        others: of the second.
        labels: int [images], indices of the models' outputs.

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

    Args:
        right: bool [images], where the first model is right.
        others_right: bool [images], where the second is.

    Source: Q. McNemar, Note on the Sampling Error of the Difference Between Correlated
    Proportions or Percentages, 1947; exact, by the binomial distribution of the images
    that one model alone has right.
    """
    only_first = int((right & ~others_right).sum())
    decided = only_first + int((others_right & ~right).sum())
    return float(stats.binomtest(only_first, decided).pvalue) if decided else 1.0


def label_shift(predictions: Predictions, labels: np.ndarray) -> int:
    """Return by how much labels are shifted against the answers: 0, −1 or 1.

    1 means that most images would be right if every label were one larger, as when
    the labels leave out the background that is the model's class 0.

    Args:
        predictions: of a model.
        labels: int [images], taken as indices of the model's outputs.
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
    """Return how well each class is recognised.

    Args:
        predictions: of a model.
        labels: int [images], indices of the model's outputs.
        names: one for each of the model's outputs.

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
    """Return int64 [classes, classes]: images by true (row) and answered (column).

    Raises:
        InputError: as `hits`.
    """
    hits(predictions, labels)
    matrix = np.zeros((predictions.classes, predictions.classes), np.int64)
    np.add.at(matrix, (labels, predictions.best), 1)
    return matrix


def confident_mistakes(
    predictions: Predictions, labels: np.ndarray, count: int = 10
) -> np.ndarray:
    """Return the positions of wrong answers, the most confident first: int64 [≤ count].

    Raises:
        InputError: as `hits`.
    """
    wrong = np.flatnonzero(~hits(predictions, labels))
    order = np.argsort(-predictions.probabilities[wrong, 0], kind="stable")
    return wrong[order[:count]]
