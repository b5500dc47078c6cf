"""Guess from an integer file's ranges what it was calibrated on.

Takes the ranges in a file and what images and noise make the float network do; gives
what was wrong with the calibration, if that is sure.
Next: `diagnose` quantizes again to see what it costs.

A file keeps two numbers a tensor: the smallest and the largest value of all its
calibration images. Two things can be read from them. Where one of the images at hand
was among them and set a range, the range is the image's own value to all digits; so
even a handful of the calibration images tells how they were prepared. Without any, the
ranges as a whole show what is far from images: noise, pixels divided twice, a single
image, an outlier.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from edgetpu_lib.doctor import observations, range_fits
from edgetpu_lib.doctor.observations import Observations
from edgetpu_lib.doctor.range_evidence import Evidence

# Other kernels compute the same maximum within 6e-7, measured with TensorFlow's own
# calibrator; two of 400 images lie as close by chance once in 10,000 tensors.
_EQUAL = 1e-5
_LEAST_EQUAL = 3
# Mean difference of the logarithms of ranges, as `range_fits.distances`. Of 10,000
# draws from S on flowers and on CIFAR-10 (5 to 1,000 images, 30 to 400 others at hand),
# none resembled noise, or images and an outlier, 1.5 times as well as the images at
# hand; noise of three images and more does, and comes within 0.12.
_FITS = 0.12
_FITS_AT_MOST = 0.18
_FITS_BETTER = 1.5
# Images prepared another way differ less from images than one draw from the next (0.08
# and more), unless the draw is the same.
_FITS_SAME_DRAW = 0.05
_SAME_DRAW_BETTER = 2.5
# An outlier that changes less than this harms nothing.
_LEAST_OUTLIER = 0.02
# Nine of ten single images have the ranges of one to four; of draws of 20 none has.
_FEW = 4
_NARROW = math.log(0.75)
# So much wider than images need, beyond what 2,000 images explain; draws of 1,000
# images stay below 1.0.
_WIDE = math.log(1.25)
_WIDE_FOR_FEW = math.log(4)
# Where the number of calibration images is not known: the default of `export`.
_USUAL_IMAGES = 2000
# Thirty images at hand may be the narrower ones by chance.
_LEAST_DOUBLINGS = 2.0

_WORDS = {
    observations.BGR: ("preprocessing-bgr", "with red and blue exchanged"),
    observations.SQUARE: ("preprocessing-no-crop", "without the centre crop"),
    observations.WHOLE: ("preprocessing-no-crop", "squeezed whole to a square"),
    observations.UNIT: ("preprocessing-div255", "divided by 255 instead of normalised"),
    observations.DIVIDED: ("preprocessing-div255", "divided by 255, then normalised"),
}


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """What was wrong with a calibration.

    Attributes:
        code: of the cause.
        evidence: with its numbers.
    """

    code: str
    evidence: str


def find_suspicions(evidence: Evidence) -> tuple[list[Suspicion], bool]:
    """Say what was wrong with the calibration of an integer file.

    Args:
        evidence: of the file, images and noise.

    Returns:
        What is sure, most likely first; and whether images at hand were found among
        the calibration images, so that more images would tell nothing new.
    """
    if not len(evidence.file.columns):
        return [], False
    equal = {
        way: _equal_ranges(evidence, seen)
        for way, seen in evidence.images.items()
        # Next to black, whatever the image: its ranges are equal by chance.
        if way != observations.DIVIDED
    }
    matched = {way: int(each.any(axis=0).sum()) for way, each in equal.items()}
    way = max(matched, key=matched.get)
    proven = matched[way] >= _LEAST_EQUAL
    found = []
    if proven:
        found += [_prepared(way, equal), _one_image(evidence, equal[way])]
    for suspect in (_resembling, *([] if proven else [_narrow]), _wide):
        if not any(found):
            found.append(suspect(evidence))
    return [suspicion for suspicion in found if suspicion], proven


def _equal_ranges(evidence: Evidence, seen: Observations) -> np.ndarray:
    """Return which image has exactly a tensor's range: bool [images, tensors].

    Only tensors without negative values: of others the file keeps the width exactly,
    but the two ends are rounded.
    """
    one_sided = evidence.file.one_sided
    columns = evidence.file.columns[one_sided]
    highs = np.maximum(seen.highs[:, columns], np.finfo(np.float32).tiny)
    equal = np.abs(np.log(highs / evidence.file.high[one_sided])) < _EQUAL
    # Many images with one maximum are clipped by the network (ReLU6).
    return equal & (equal.sum(axis=0) <= 2)


def _prepared(way: str, equal: dict[str, np.ndarray]) -> Suspicion | None:
    """Suspect images prepared another way, by ranges that nothing else explains."""
    right = equal[observations.RIGHT]
    # Of a grey image, red and blue can be exchanged.
    only = [
        int(each.any(axis=0).sum())
        for each in (equal[way] & ~right, right & ~equal[way])
    ]
    if only[0] < max(_LEAST_EQUAL, 3 * only[1]):
        return None
    code, words = _WORDS[way]
    return Suspicion(
        code,
        f"{only[0]} of {right.shape[1]} ranges are, to five digits, those of images"
        f" {words}; {only[1]} are those of images prepared rightly",
    )


def _one_image(evidence: Evidence, equal: np.ndarray) -> Suspicion | None:
    """Suspect a single image that set all ranges, also where others go beyond."""
    image, tensors = int(equal.sum(axis=1).argmax()), equal.shape[1]
    if len(equal) < 2 or not equal[image].all():
        return None
    return Suspicion(
        "calibration-single",
        f"all {tensors} ranges are, to five digits, those of the one image"
        f" {evidence.names[image]}",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Suspect:
    """Images whose ranges may be the file's, and how sure that must be."""

    code: str
    words: str
    curve: np.ndarray
    limit: float = _FITS
    better: float = _FITS_BETTER
    least: float = 0.0
    doubt: float = 1.0


def _resembling(evidence: Evidence) -> Suspicion | None:
    """Suspect what has ranges much more like the file's than the images have."""

    def fit(curve: np.ndarray) -> float:
        return float(range_fits.distances(evidence.features, curve).min())

    right, likely = fit(range_fits.curve(evidence.right)), []
    for suspect in _suspects(evidence):
        found = fit(suspect.curve)
        better = max(suspect.better * found, suspect.least)
        if found <= suspect.limit and right >= better:
            likely.append((suspect.doubt * found, found, suspect.code, suspect.words))
    if not likely:
        return None
    _, found, code, words = min(likely)
    return Suspicion(
        code,
        f"the ranges are on average {_percent(found)} off those of {words}, and"
        f" {_percent(right)} off those of images prepared rightly",
    )


def _suspects(evidence: Evidence) -> Iterator[_Suspect]:
    for kind, seen in evidence.noise.items():
        arrays = evidence.features_of(seen)
        # Where one noise image differs from the next as much, so may the file's.
        limit = max(_FITS, min(1.5 * range_fits.scatter(arrays), _FITS_AT_MOST))
        yield _Suspect("calibration-noise", kind, range_fits.curve(arrays), limit)
    for way, seen in evidence.images.items():
        if way == observations.RIGHT:
            continue
        code, words = _WORDS[way]
        curve = range_fits.curve(evidence.features_of(seen))
        if way == observations.DIVIDED:
            yield _Suspect(code, f"images {words}", curve)
        else:
            limits = _FITS_SAME_DRAW, _SAME_DRAW_BETTER
            yield _Suspect(code, f"these images {words}", curve, *limits)
    images = range_fits.curve(evidence.right)
    for kind, seen in {**evidence.noise, **evidence.outliers}.items():
        alone = evidence.features_of(seen).mean(axis=0)
        yield _Suspect(
            "calibration-outlier",
            f"images and one image of {kind}",
            np.maximum(images, alone),
            least=_LEAST_OUTLIER,
            doubt=2.0,  # It has the images' ranges to choose from as well.
        )


def _narrow(evidence: Evidence) -> Suspicion | None:
    """Suspect a few images at most: the record says so, or ranges as narrow."""
    known = evidence.calibrated_on
    if known:
        words = f"the file's record says that {known} images set its ranges"
        return Suspicion("calibration-single", words) if known <= _FEW else None
    images = evidence.right
    sizes = range_fits.sizes(len(images))
    nearest = range_fits.distances(evidence.features, range_fits.curve(images)).argmin()
    narrower = float(np.median(evidence.features - images.max(axis=0)))
    few = nearest < len(sizes) and sizes[nearest] <= _FEW
    if len(images) < 4 * _FEW or not few or narrower > _NARROW:
        return None
    return Suspicion(
        "calibration-single",
        f"the ranges are as narrow as those of {_FEW} images or fewer: half of them"
        f" are below {math.exp(narrower):.2f} of what these {len(images)} images need",
    )


def _wide(evidence: Evidence) -> Suspicion | None:
    """Suspect an outlier of any kind: ranges far wider than images need."""
    images = evidence.right
    wider = evidence.features - images.max(axis=0)
    known = evidence.calibrated_on or _USUAL_IMAGES
    doublings = max(_LEAST_DOUBLINGS, math.log2(known / len(images)))
    limit = _WIDE_FOR_FEW if len(images) < 4 * _FEW else _WIDE
    if np.median(wider - doublings * range_fits.growth(images)) < limit:
        return None
    return Suspicion(
        "calibration-outlier",
        f"half of the ranges are over {math.exp(np.median(wider)):.1f} times as wide as"
        f" any of these {len(images)} images needs",
    )


def _percent(distance: float) -> str:
    return f"{100 * math.expm1(distance):.0f} %"
