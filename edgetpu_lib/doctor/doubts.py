"""What an audit of a data set finds: doubtful labels, copies, damage, rare classes."""

from __future__ import annotations

import dataclasses
from typing import Any

# What may be wrong with an image alone, and what groups of the same image may be.
FLAWS = ("unreadable", "blank", "small")
COPIES = ("two classes", "two splits", "same bytes", "same scene")


@dataclasses.dataclass(frozen=True)
class Member:
    """An image and where it lies.

    Attributes:
        path: the file, or the record of a shard.
        class_name: of its label.
        split: "train", "validation", "test" or "all".
    """

    path: Any
    class_name: str
    split: str


@dataclasses.dataclass(frozen=True)
class Suspect:
    """An image that a classifier trained without it predicts as another class.

    Attributes:
        image: with the given class.
        given_probability: of that class, 0..1.
        predicted: the class predicted.
        predicted_probability: of that class, 0..1.
    """

    image: Member
    given_probability: float
    predicted: str
    predicted_probability: float


@dataclasses.dataclass(frozen=True)
class Copies:
    """Images that are the same, or show the same scene.

    Attributes:
        kind: the first of `COPIES` that holds for the group.
        images: two or more.
    """

    kind: str
    images: tuple[Member, ...]


@dataclasses.dataclass(frozen=True)
class Flaw:
    """An image that cannot be learnt from.

    Attributes:
        kind: one of `FLAWS`.
        image: the image.
        about: what was found.
    """

    kind: str
    image: Member
    about: str


@dataclasses.dataclass(frozen=True)
class RareClass:
    """A class with too few images.

    Attributes:
        name: of the class.
        images: number of its images.
        about: what it is compared with.
    """

    name: str
    images: int
    about: str


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is doubtful in a data set.

    Attributes:
        images: number of images, unreadable ones among them.
        judged: number of images that a class was predicted for.
        agreement: share of these whose label was predicted, 0..1; 0 if there are none.
        suspects: images predicted otherwise, the least probable label first.
        copies: groups of the same image, in the order of `COPIES`.
        flaws: images that cannot be learnt from, in the order of `FLAWS`.
        rare: classes with too few images.
    """

    images: int
    judged: int
    agreement: float
    suspects: tuple[Suspect, ...]
    copies: tuple[Copies, ...]
    flaws: tuple[Flaw, ...]
    rare: tuple[RareClass, ...]
