"""Infer from an int8 model's ranges what it was calibrated on.

A file stores the smallest and largest value of a tensor over its calibration images.
If one of the images at hand was a calibration image and set a range, that range equals
the image's own to five digits, which also shows how the image was prepared. Otherwise
all ranges are compared with those of images, of noise, and of images with one outlier.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from edgetpu_lib.doctor.preprocessing_variants import DIVIDED, FAULTS, NOISE, RIGHT
from edgetpu_lib.doctor.ranges import FileRanges, Observations

# Other kernels compute the same maximum within 6e-7 (measured with TensorFlow's
# calibrator); two of 400 images are this close by chance once in 10,000 tensors.
_EQUAL = 1e-5
_LEAST_EQUAL = 3
# Mean difference of logarithms, as `distances`. A larger one than this is no match; a
# smaller one must be so many times smaller than that of the images at hand. Chosen
# on S with drawn flowers and a slim network; on 250 other flowers, S took none of 1,500
# draws of 1 to 100 images for noise, an outlier or another preprocessing, and all 900
# draws of 5 to 100 noise images for noise.
_MATCH = 0.14
_BETTER = 2.0
# Weight of the distance of what shares most ranges with the images at hand, as it
# matches whatever they match.
_RELATED = 1.5
# Differences of logarithms are cut here (a factor of two).
_CLIP = 0.7
# "A single image" stands for up to so many; fewer than four times as many images do
# not show how wide ranges should be.
_FEW = 4
# Half of the ranges are narrower (of `_FEW` images and less), or wider (outliers), than
# the images at hand explain, by this factor. On the same other flowers, 272 of 300
# single images were named as such, 4 of 300 draws of 20, none of 600 of 50 or 100.
_NARROW = math.log(0.7)
_WIDE = math.log(1.25)
# Assumed where the metadata does not tell: the default of `export`.
_USUAL_IMAGES = 2000
# Ranges are extrapolated to 2, 4 … 32 times the images at hand.
_DOUBLINGS = 5


@dataclasses.dataclass(frozen=True)
class CalibrationFault:
    """Code of a cause, and a sentence with the measured numbers."""

    code: str
    evidence: str


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """The ranges of an int8 model and of images.

    Attributes:
        file: ranges in the file.
        images: variant → observations of the images at hand.
        synthetic: kind → observations of synthetic images.
        names: of the images at hand.
        calibrated_on: number of calibration images, if known.
    """

    file: FileRanges
    images: dict[str, Observations]
    synthetic: dict[str, Observations]
    names: Sequence[str]
    calibrated_on: int | None = None

    @property
    def right(self) -> np.ndarray:
        """Features of the images prepared correctly: float64 [images, features]."""
        return self.file.features_of(self.images[RIGHT])

    def wider(self) -> np.ndarray:
        """Return log(range of the file / range of all images): float64 [features]."""
        return self.file.features - self.right.max(axis=0)


def find_faults(evidence: Evidence) -> tuple[list[CalibrationFault], bool]:
    """Infer what was wrong with the calibration of an int8 model.

    Returns:
        The faults, most likely first, and whether images at hand were found among the
        calibration images, so that more images would not tell more.
    """
    if not len(evidence.file.columns):
        return [], False
    # Pixels divided twice are nearly black: all such images have the same ranges.
    equal = {
        variant: _equal_ranges(evidence.file, observed)
        for variant, observed in evidence.images.items()
        if variant != DIVIDED
    }
    matched = {variant: int(each.any(axis=0).sum()) for variant, each in equal.items()}
    variant = max(matched, key=matched.get)
    proven = matched[variant] >= _LEAST_EQUAL
    found = []
    if proven:
        found = [_wrong_variant(variant, equal), _one_image(evidence, equal[variant])]
    for find in (_resembling, *([] if proven else [_narrow]), _wide):
        if not any(found):
            found.append(find(evidence))
    return [fault for fault in found if fault], proven


def _equal_ranges(file: FileRanges, observed: Observations) -> np.ndarray:
    """Return which images have exactly a tensor's range: bool [images, tensors].

    Tensors with negative values are left out, as their ends are rounded.
    """
    columns = file.columns[file.one_sided]
    highs = np.maximum(observed.highs[:, columns], np.finfo(np.float32).tiny)
    equal = np.abs(np.log(highs / file.high[file.one_sided])) < _EQUAL
    # If many images have the same maximum, the network clips it (ReLU6).
    return equal & (equal.sum(axis=0) <= 2)


def _wrong_variant(
    variant: str, equal: dict[str, np.ndarray]
) -> CalibrationFault | None:
    """Find images prepared wrongly, by ranges that only those explain."""
    right = equal[RIGHT]
    # Exchanging red and blue does not change a grey image.
    only, only_right = (
        int(each.any(axis=0).sum())
        for each in (equal[variant] & ~right, right & ~equal[variant])
    )
    if only < max(_LEAST_EQUAL, 3 * only_right):
        return None
    code, words = FAULTS[variant]
    return CalibrationFault(
        code,
        f"{only} of {right.shape[1]} ranges are, to five digits, those of images"
        f" {words}; {only_right} are those of images prepared rightly",
    )


def _one_image(evidence: Evidence, equal: np.ndarray) -> CalibrationFault | None:
    """Find one image whose ranges are all equal to the file's."""
    image, tensors = int(equal.sum(axis=1).argmax()), equal.shape[1]
    if len(equal) < 2 or not equal[image].all():
        return None
    return CalibrationFault(
        "calibration-single",
        f"all {tensors} ranges are, to five digits, those of the one image"
        f" {evidence.names[image]}",
    )


def _resembling(evidence: Evidence) -> CalibrationFault | None:
    """Find faulty images with ranges much closer to the file's than right images'."""
    features = evidence.file.features
    right = distances(features, curve(evidence.right)).min()
    likely = []
    for code, words, weight, candidate in _candidates(evidence):
        distance = distances(features, candidate).min()
        if weight * distance <= min(_MATCH, right / _BETTER):
            likely.append((weight * distance, distance, code, words))
    if not likely:
        return None
    _, distance, code, words = min(likely)
    return CalibrationFault(
        code,
        f"the ranges are on average {math.expm1(distance):.0%} off those of {words},"
        f" and {math.expm1(right):.0%} off those of images prepared rightly",
    )


def _candidates(evidence: Evidence) -> Iterator[tuple[str, str, float, np.ndarray]]:
    """Yield code, description, weight and `curve` of each kind of faulty images."""
    for variant, (code, words) in FAULTS.items():
        if variant not in evidence.images:
            continue
        rows = evidence.file.features_of(evidence.images[variant])
        weight = 1.0 if variant == DIVIDED else _RELATED
        yield code, f"images {words}", weight, curve(rows)
    images = curve(evidence.right)
    for kind, observed in evidence.synthetic.items():
        rows = evidence.file.features_of(observed)
        if NOISE in kind:
            yield "calibration-noise", kind, 1.0, curve(rows)
        outlier = np.maximum(images, rows.mean(axis=0))
        words = f"images and one image of {kind}"
        yield "calibration-outlier", words, _RELATED, outlier


def _narrow(evidence: Evidence) -> CalibrationFault | None:
    """Find a calibration with few images by its metadata or its narrow ranges."""
    known, images = evidence.calibrated_on, evidence.right
    code = "calibration-single"
    if known:
        words = f"the metadata of the file says that {known} images set its ranges"
        return CalibrationFault(code, words) if known <= _FEW else None
    nearest = distances(evidence.file.features, curve(images)).argmin()
    few = (sizes(len(images)) + [math.inf] * _DOUBLINGS)[nearest] <= _FEW
    narrower = float(np.median(evidence.wider()))
    if len(images) < 4 * _FEW or not few or narrower > _NARROW:
        return None
    return CalibrationFault(
        code,
        f"the ranges are as narrow as those of {_FEW} images or fewer: half of them"
        f" are below {math.exp(narrower):.2f} of what these {len(images)} images need",
    )


def _wide(evidence: Evidence) -> CalibrationFault | None:
    """Find an outlier of any kind by ranges far wider than images need."""
    images, wider = evidence.right, evidence.wider()
    if len(images) < 4 * _FEW:
        return None
    doublings = math.log2((evidence.calibrated_on or _USUAL_IMAGES) / len(images))
    if np.median(wider - max(0.0, doublings) * growth(images)) < _WIDE:
        return None
    return CalibrationFault(
        "calibration-outlier",
        f"half of the ranges are over {math.exp(np.median(wider)):.1f} times as wide as"
        f" any of these {len(images)} images needs",
    )


def sizes(count: int) -> list[int]:
    """Return the numbers of images whose ranges are compared: 1, 2, 4 … and all."""
    return [*(2**n for n in range(20) if 2**n <= count // 2), count]


def curve(images: np.ndarray) -> np.ndarray:
    """Return the ranges of few to many images: float64 [rows, features].

    Each of `sizes` has a row, the mean over all subsets of that size; five more are
    extrapolated to 2, 4 … 32 times as many images.

    Args:
        images: logarithms of each image's ranges, float64 [images, features].
    """
    count, ascending = len(images), np.sort(images, axis=0)
    # The n-th smallest is the largest of C(n, size − 1) subsets with one more image.
    shares = [
        [math.comb(n, size - 1) / math.comb(count, size) for n in range(count)]
        for size in sizes(count)
    ]
    steps = np.arange(1, _DOUBLINGS + 1)[:, None]
    extrapolated = ascending[-1] + steps * growth(images)
    return np.concatenate([np.array(shares) @ ascending, extrapolated])


def growth(images: np.ndarray) -> np.ndarray:
    """Return the growth of ranges when images, as in `curve`, double: [features].

    Source: B. M. Hill, A Simple General Approach to Inference About the Tail of a
    Distribution, 1975: mean excess of the largest tenth over the next.
    """
    if len(images) < 2:
        return np.zeros(images.shape[1])
    tenth = min(len(images) - 1, max(2, len(images) // 10))
    largest = np.sort(images, axis=0)[::-1]
    return math.log(2) * (largest[:tenth].mean(axis=0) - largest[tenth])


def distances(file: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return the mean difference of features [features] to rows [rows, features]."""
    return np.minimum(np.abs(curve - file), _CLIP).mean(axis=1)
