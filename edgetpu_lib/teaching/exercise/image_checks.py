"""Checks of classes, splits, labels and calibration images.

A student's object is checked by its attributes, not by its class: the grader loads this
library again, and its classes are then not the student's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgetpu_lib.base.artifacts import InputError, sha256_of
from edgetpu_lib.teaching.exercise.feedback import Wrong, check_of, in_words, series

SIDES = ("train", "validation", "test")
FEWEST_CLASSES = 3


def choose_classes(images: Any, class_names: Sequence[str]) -> Any:
    """Return the images of some classes, labelled 0, 1, … in the order of the names.

    Args:
        images: `data.Images`.
        class_names: two or more of its classes; they are sorted first.

    Raises:
        InputError: a name is unknown, or there are fewer than two.
    """
    chosen = sorted(set(class_names or ()))
    unknown = [name for name in chosen if name not in images.class_names]
    if unknown or len(chosen) < 2:
        raise InputError(
            f"cannot choose {series(chosen)}; name two or more of"
            f" {series(images.class_names)}"
        )
    numbers = [images.class_names.index(name) for name in chosen]
    part = images.take(np.flatnonzero(np.isin(images.labels, numbers)))
    labels = np.searchsorted(numbers, part.labels)
    return dataclasses.replace(part, labels=labels, class_names=tuple(chosen))


@check_of(
    "classes",
    lambda images: (
        f"a list of {FEWEST_CLASSES} or more names of {series(_names_of(images))}"
    ),
)
def check_classes(class_names: Any, images: Any) -> str:
    """Check the choice of classes.

    Args:
        class_names: what the student chose.
        images: `data.Images` to choose from.
    """
    chosen, known = class_names, _names_of(images)
    if isinstance(chosen, str) or not isinstance(chosen, list | tuple):
        raise Wrong(in_words(chosen), "write a list of names: [first, second, third]")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise Wrong(f"unknown: {series(unknown)}", f"choose from {series(known)}")
    if len(set(chosen)) < len(chosen):
        raise Wrong(f"a name twice: {series(chosen)}", "name each class once")
    if len(chosen) < FEWEST_CLASSES:
        raise Wrong(f"{len(chosen)} classes: {series(chosen)}", "choose more classes")
    return series(chosen)


def _names_of(images: Any) -> tuple[str, ...]:
    return getattr(images, "class_names", ())


@check_of(
    "split", "every image on one side only, copies too; every class on every side"
)
def check_split(splits: Any, images: Any) -> str:
    """Check that a split loses no image and leaks none.

    Args:
        splits: the student's: {"train", "validation", "test"} → `data.Images`.
        images: `data.Images` to be split.
    """
    sides = _sides_of(splits)
    digests = {side: _digests(part) for side, part in sides.items()}
    _require_no_leak(sides, digests)
    truth = dict(zip(_digests(images), map(int, images.labels), strict=True))
    _require_all_there(digests, truth)
    for side, part in sides.items():
        labels = list(map(int, part.labels))
        if labels != [truth[digest] for digest in digests[side]]:
            raise Wrong(
                f"in {side}, labels and images do not belong together",
                "take images and labels by the same indices",
            )
        missing = set(truth.values()) - set(labels)
        if missing:
            names = [images.class_names[label] for label in sorted(missing)]
            raise Wrong(f"no {series(names)} in {side}", "split class by class")
    if len(sides["train"].labels) * 2 < len(images.labels):
        raise Wrong(
            f"train has {len(sides['train'].labels)} of {len(images.labels)} images",
            "the model learns from train alone; give it the largest share",
        )
    return series(f"{len(part.labels)} {side}" for side, part in sides.items())


def _sides_of(splits: Any) -> dict[str, Any]:
    if not isinstance(splits, dict) or set(splits) != set(SIDES):
        found = series(splits) if isinstance(splits, dict) else in_words(splits)
        raise Wrong(found, f"make a dictionary with the keys {series(SIDES)}")
    return {side: _images(splits[side], f"splits[{side!r}]") for side in SIDES}


def _images(given: Any, name: str) -> Any:
    """Return `given` if it has paths and as many labels.

    Raises:
        Wrong: it has not, or is empty.
    """
    if not hasattr(given, "paths") or not hasattr(given, "labels"):
        raise Wrong(
            f"{name} is {in_words(given)}", "make it of `images`, with its labels"
        )
    if not len(given.paths) or len(given.paths) != len(given.labels):
        raise Wrong(
            f"{name} has {len(given.paths)} images and {len(given.labels)} labels",
            "look at how it was made",
        )
    return given


def _digests(images: Any) -> list[str]:
    return [sha256_of(path) for path in images.paths]


def _require_no_leak(sides: dict[str, Any], digests: dict[str, list[str]]) -> None:
    pairs = ("train", "test"), ("validation", "test"), ("train", "validation")
    for first, second in pairs:
        shared = set(digests[first]) & set(digests[second])
        if shared:
            place = next(i for i, d in enumerate(digests[first]) if d in shared)
            raise Wrong(
                f"{len(shared)} images are in {first} and in {second}, such as"
                f" {sides[first].paths[place].name}",
                "some images were saved twice: compare what files hold, not names",
            )


def _require_all_there(digests: dict[str, list[str]], truth: dict[str, int]) -> None:
    found = {digest for side in digests.values() for digest in side}
    if found - set(truth):
        raise Wrong(
            f"{len(found - set(truth))} images that are not among `images`",
            "split `images`, and leave the parameters that make them as they are",
        )
    if set(truth) - found:
        raise Wrong(
            f"{len(set(truth) - found)} images are on no side",
            "put every image somewhere",
        )


@check_of(
    "labels", "for every test image the number of the model's output for its class"
)
def check_labels(labels: Any, splits: Any) -> str:
    """Check the labels of the test images.

    Args:
        labels: the student's, int [test images], indices of the model's outputs.
        splits: the student's split.
    """
    test = _sides_of(splits)["test"]
    truth = np.asarray(test.labels)
    found = np.asarray(labels)
    if found.dtype.kind not in "iu" or found.shape != truth.shape:
        raise Wrong(
            f"{in_words(labels)}; there are {len(truth)} test images",
            "one whole number a test image",
        )
    if (found == truth).all():
        return f"{found.min()} to {found.max()} for {len(test.class_names)} classes"
    apart = np.unique(found.astype(np.int64) - truth)
    if len(apart) == 1:
        raise Wrong(
            f"{found.min()} to {found.max()} for {len(test.class_names)} classes",
            "from which number do the model's outputs count?",
        )
    wrong = np.mean(found != truth)
    raise Wrong(f"{wrong:.0%} are not the images' own", "use the labels of the split")


@check_of("calibration", "images of every class, and none that measures the result")
def check_calibration(calibration: Any, splits: Any) -> str:
    """Check which images set the quantization ranges.

    Args:
        calibration: `data.Images` that the student drew.
        splits: the student's split.
    """
    sides = _sides_of(splits)
    drawn = set(_digests(_images(calibration, "calibration")))
    for side in ("test", "validation"):
        foreign = drawn & set(_digests(sides[side]))
        if foreign:
            raise Wrong(
                f"{len(foreign)} of {len(drawn)} images are {side} images",
                f"{side} images must not influence what they measure",
            )
    if drawn - set(_digests(sides["train"])):
        raise Wrong("images that are not in the split", "draw from the split")
    seen = set(map(int, calibration.labels))
    if len(seen) < len(set(map(int, sides["train"].labels))):
        raise Wrong(f"{len(seen)} classes", "draw from every class")
    return f"{len(drawn)} training images of {len(seen)} classes"
