"""List the doubtful images of a data set: labels, duplicates, damage, rare classes.

Takes splits and a function that computes features; gives an `Audit`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.data import Images
from edgetpu_lib.datasets import duplicates
from edgetpu_lib.doctor.doubts import (
    COPIES,
    FLAWS,
    Audit,
    Copies,
    Flaw,
    Member,
    RareClass,
    Suspect,
)
from edgetpu_lib.doctor.held_out import held_out_probabilities
from edgetpu_lib.images import opening
from edgetpu_lib.images.loading import load_image

MIN_SIDE = 32
# Standard deviation of grey levels, 0..255. The flattest of 3,454 photos has 16.
MIN_CONTRAST = 3.0
MIN_IMAGES = 20
MIN_SHARE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class _Look:
    """What one decoding of an image tells.

    Attributes:
        grey_u8: uint8 [GREY_SIZE, GREY_SIZE], the largest centred square.
        size: width and height, pixels.
        error: why the image cannot be read, or "".
    """

    grey_u8: np.ndarray
    size: tuple[int, int]
    error: str = ""

    @property
    def contrast(self) -> float:
        """Standard deviation of the grey levels, 0..255; 0 if there are none."""
        return float(self.grey_u8.std())


def audit(
    splits: Mapping[str, Images],
    features_of: Callable[[Images], np.ndarray],
    *,
    seed: int = 0,
) -> Audit:
    """Look for doubtful images; nothing is changed.

    Args:
        splits: all with the same classes, as `splits.stored_splits` opens them.
        features_of: returns float32 [images, channels] for images that can be read.
        seed: of the parts of the cross-validation.

    Raises:
        InputError: all images are unreadable or blank.
    """
    images = merged(splits)
    members = [
        Member(path, part.class_names[label], split)
        for split, part in splits.items()
        for path, label in zip(part.paths, part.labels, strict=True)
    ]
    looks = _look_at(images)
    # Blank images are all alike, and show no class.
    full = np.flatnonzero([look.contrast >= MIN_CONTRAST for look in looks])
    if not len(full):
        why = looks[0].error or f"{images.paths[0]} is blank"
        raise InputError(f"{images.data_dir} has no image to look at: {why}")
    greys_u8 = np.stack([looks[place].grey_u8 for place in full])
    pairs = duplicates.near_pairs(greys_u8, progress="comparing images")
    scenes = duplicates.components(len(full), pairs)
    kept = images.take(full)
    probabilities = held_out_probabilities(
        features_of(kept),
        kept.labels,
        scenes,
        num_classes=len(images.class_names),
        seed=seed,
    )
    judged = ~np.isnan(probabilities[:, 0])
    suspects = _suspects(
        probabilities[judged],
        kept.take(np.flatnonzero(judged)),
        [members[place] for place in full[judged]],
    )
    count = int(judged.sum())
    return Audit(
        images=len(images),
        judged=count,
        agreement=1 - len(suspects) / count if count else 0.0,
        suspects=suspects,
        copies=_copies(members, full[pairs]),
        flaws=_flaws(members, looks),
        rare=rare_classes(images),
    )


def merged(splits: Mapping[str, Images]) -> Images:
    """Return the images of all splits, one after another."""
    parts = list(splits.values())
    return dataclasses.replace(
        parts[0],
        paths=tuple(itertools.chain.from_iterable(part.paths for part in parts)),
        labels=np.concatenate([part.labels for part in parts]),
    )


def _look_at(images: Images) -> list[_Look]:
    bar = {"unit": "image", "leave": False, "delay": 0.5}
    stream = parallel.map_in_order(_look, images.paths)
    return list(tqdm(stream, "reading images", len(images), **bar))


def _look(path: Any) -> _Look:
    """Decode an image small; the whole square, as a cut image lacks its end."""
    try:
        rgb = load_image(path, duplicates.GREY_SIZE, resize="square")
        size = opening.open_image(path)[1].size
    except InputError as error:
        return _Look(np.zeros([duplicates.GREY_SIZE] * 2, np.uint8), (0, 0), str(error))
    return _Look(np.rint(rgb.mean(axis=-1)).clip(0, 255).astype(np.uint8), size)


def _suspects(
    probabilities: np.ndarray, images: Images, members: Sequence[Member]
) -> tuple[Suspect, ...]:
    """Return the images that are predicted otherwise, the least probable label first.

    By the probability of the label more planted errors came first than by its distance
    from that of the prediction (benchmarks/audit.py).
    """
    given = probabilities[np.arange(len(members)), images.labels]
    best = probabilities.argmax(axis=1)
    order = np.argsort(given, kind="stable")
    return tuple(
        Suspect(
            image=members[place],
            given_probability=float(given[place]),
            predicted=images.class_names[best[place]],
            predicted_probability=float(probabilities[place, best[place]]),
        )
        for place in order
        if best[place] != images.labels[place]
    )


def _copies(members: Sequence[Member], near: np.ndarray) -> tuple[Copies, ...]:
    """Return groups of the same image: with the same bytes, or of the same scene."""
    same = duplicates.same_bytes([member.path for member in members])
    exact = [(group[0], other) for group in same for other in group[1:]]
    pairs = np.concatenate([near, np.array(exact, np.int64).reshape(-1, 2)])
    group_of = duplicates.components(len(members), pairs)
    file_of = np.arange(len(members))
    for first, other in exact:
        file_of[other] = first
    groups: dict[int, list[int]] = {}
    for place in np.unique(pairs):
        groups.setdefault(int(group_of[place]), []).append(int(place))
    found = []
    for places in groups.values():
        images = tuple(members[place] for place in places)
        kind = _kind_of(images, one_file=len(set(file_of[places])) == 1)
        found.append(Copies(kind, images))
    return tuple(sorted(found, key=lambda group: COPIES.index(group.kind)))


def _kind_of(images: Sequence[Member], *, one_file: bool) -> str:
    if len({image.class_name for image in images}) > 1:
        return "two classes"
    if len({image.split for image in images}) > 1:
        return "two splits"
    return "same bytes" if one_file else "same scene"


def _flaws(members: Sequence[Member], looks: Sequence[_Look]) -> tuple[Flaw, ...]:
    found = []
    for member, look in zip(members, looks, strict=True):
        width, height = look.size
        if look.error:
            found.append(Flaw("unreadable", member, look.error))
        elif look.contrast < MIN_CONTRAST:
            found.append(Flaw("blank", member, "one colour, almost"))
        elif min(look.size) < MIN_SIDE:
            found.append(Flaw("small", member, f"{width} × {height} pixels"))
    return tuple(sorted(found, key=lambda flaw: FLAWS.index(flaw.kind)))


def rare_classes(images: Images) -> tuple[RareClass, ...]:
    """Return the classes with under 20 images, or under a tenth of the largest's."""
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    largest = int(counts.max())
    found = []
    for name, count in zip(images.class_names, counts.tolist(), strict=True):
        if count < MIN_IMAGES:
            found.append(RareClass(name, count, f"fewer than {MIN_IMAGES}"))
        elif count < MIN_SHARE * largest:
            found.append(RareClass(name, count, f"the largest class has {largest}"))
    return tuple(found)
