"""Compare the ranges in a file with those of few and of many images.

Takes logarithms of ranges, image by image; gives how far a file is from them.
Used by `range_suspects`; needs NumPy only.
"""

from __future__ import annotations

import math

import numpy as np

# Beyond this difference of logarithms (a factor of two) a range counts no more.
CLIP = 0.7
# Subsets over which the ranges of so many images are averaged.
_DRAWS = 24
# Doublings of the images at hand that ranges are extrapolated by.
_DOUBLINGS = 5


def sizes(count: int) -> list[int]:
    """Return numbers of images whose ranges are looked at: 1, 2, 4 … and all."""
    return [*(2**n for n in range(20) if 2**n <= count // 2), count]


def curve(images: np.ndarray) -> np.ndarray:
    """Return the ranges of few to many images: float64 [sizes, features].

    Args:
        images: float64 [images, features], logarithms of each image's ranges.

    Returns:
        A row for each of `sizes`, averaged over subsets drawn from a fixed seed, and
        five more for two to 32 times as many images.
    """
    count, rng = len(images), np.random.default_rng(0)
    rows = []
    for size in sizes(count):
        draws = [
            images[rng.choice(count, size, replace=False)].max(axis=0)
            for _ in range(_DRAWS if size < count else 1)
        ]
        rows.append(np.mean(draws, axis=0))
    steps = range(1, _DOUBLINGS + 1)
    return np.array([*rows, *(rows[-1] + step * growth(images) for step in steps)])


def growth(images: np.ndarray) -> np.ndarray:
    """Return by how much ranges grow when images double: float64 [features].

    Args:
        images: as `curve`.

    Source: B. M. Hill, A Simple General Approach to Inference About the Tail of a
    Distribution, 1975: mean excess of the largest tenth over the next.
    """
    if len(images) < 2:
        return np.zeros(images.shape[1])
    tenth = min(len(images) - 1, max(2, len(images) // 10))
    largest = np.sort(images, axis=0)[::-1]
    return math.log(2) * (largest[:tenth].mean(axis=0) - largest[tenth])


def distances(file: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return the mean difference of logarithms to each row of a curve.

    Args:
        file: float64 [features].
        curve: float64 [rows, features].
    """
    return np.minimum(np.abs(curve - file), CLIP).mean(axis=1)


def scatter(images: np.ndarray) -> float:
    """Return how far half of the images are from the curve of the other half.

    Args:
        images: as `curve`.
    """
    half = len(images) // 2
    file = images[:half].max(axis=0)
    return float(distances(file, curve(images[half:])).min())
