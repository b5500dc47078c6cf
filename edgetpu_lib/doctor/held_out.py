"""Predict every image's class by a classifier that was trained without it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

FOLDS = 5
# A class with fewer images to train on is not predicted.
MIN_TRAINED = 3
# Share of a multiple of the identity in the covariance. Of 0.03, 0.1, 0.3 and 0.6 the
# best or second best for drawn flowers and photos; benchmarks/audit.py uses it.
_SHRINKAGE = 0.3
# Standard deviations from the mean; what lies farther counts as that far, so that a
# few strange images do not decide for all.
_CLIP = 3.0
# Share of labels that are taken to be wrong when the temperature is fitted.
_WRONG_LABELS = 0.01


def held_out_probabilities(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    num_classes: int,
    seed: int = 0,
) -> np.ndarray:
    """Return each image's class probabilities, by cross-validation.

    The images are dealt into five parts, class by class; those of a part are predicted
    by linear discriminant analysis of the others, on features of length one. One
    temperature, fitted to all, makes probabilities of scores.

    Args:
        features: float32 [images, channels], of a frozen network.
        labels: int64 [images].
        groups: int64 [images]; images with the same number, such as copies, fall into
            the same part.
        num_classes: number of classes.
        seed: of the parts.

    Returns:
        float64 [images, num_classes]; NaN for images of a class with too few others.
    """
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    features = features / np.maximum(lengths, 1e-12)
    part_of = _deal(labels, groups, seed)
    scores = np.full((len(labels), num_classes), -np.inf)
    for part in range(FOLDS):
        held_out = part_of == part
        if held_out.any() and not held_out.all():
            scores[held_out] = _discriminant(
                features[~held_out], labels[~held_out], features[held_out], num_classes
            )
    judged = np.isfinite(scores[np.arange(len(labels)), labels])
    probabilities = np.full(scores.shape, np.nan)
    if judged.any():
        probabilities[judged] = _calibrated(scores[judged], labels[judged])
    return probabilities


def _deal(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the part of each image, int64 [images]: every class in equal shares."""
    names, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    # Sorted by class, one after another, as cards are dealt to players.
    order = order[np.argsort(labels[first][order], kind="stable")]
    parts = np.empty(len(names), np.int64)
    parts[order] = np.arange(len(names)) % FOLDS
    return parts[inverse]


def _discriminant(
    known: np.ndarray, labels: np.ndarray, asked: np.ndarray, num_classes: int
) -> np.ndarray:
    """Return linear discriminant scores; −∞ for a class with too few known images."""
    counts = np.bincount(labels, minlength=num_classes)
    scores = np.full((len(asked), num_classes), -np.inf)
    usable = np.flatnonzero(counts >= MIN_TRAINED)
    if not len(usable):
        return scores
    kept = np.isin(labels, usable)
    known, labels = known[kept], labels[kept]
    mean, deviation = known.mean(axis=0), known.std(axis=0) + 1e-6
    known, asked = (
        np.clip((each - mean) / deviation, -_CLIP, _CLIP) for each in (known, asked)
    )
    means = np.stack([known[labels == label].mean(axis=0) for label in usable])
    residuals = known - means[np.searchsorted(usable, labels)]
    covariance = residuals.T @ residuals / len(known)
    variance = np.trace(covariance) / len(covariance) + 1e-6
    covariance *= 1 - _SHRINKAGE
    covariance[np.diag_indices_from(covariance)] += _SHRINKAGE * variance
    directions = np.linalg.solve(covariance, means.T)
    bias = np.log(counts[usable] / len(known)) - (means.T * directions).sum(axis=0) / 2
    scores[:, usable] = asked @ directions + bias
    return scores


def _calibrated(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Divide scores by the temperature that fits the labels best; probabilities."""
    rows = np.arange(len(labels))

    def loss(sharpness: float) -> float:
        given = softmax(scores * np.exp(sharpness), axis=1)[rows, labels]
        mixed = (1 - _WRONG_LABELS) * given + _WRONG_LABELS / scores.shape[1]
        return -np.log(mixed).mean()

    fitted = minimize_scalar(loss, bounds=(-7, 3), method="bounded")
    return softmax(scores * np.exp(fitted.x), axis=1)
