"""Open folders that are split already: `train/`, `val/`, `test/`, by whatever names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.folders import (
    class_folders,
    classes_folder,
    classes_in,
    folders_in,
    holds_images,
    images_of,
    loose_files,
    require_folder,
)
from edgetpu_lib.datasets.labelled import Images
from edgetpu_lib.datasets.notes import enumerated, passed_over
from edgetpu_lib.images.listing import files_in

# What Roboflow, Kaggle, Ultralytics and torchvision call the splits.
SPLIT_OF = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}


def open_split_folders(data_dir: str | Path) -> dict[str, Images]:
    """Open a folder whose folders are splits, such as `train/`, `valid/`, `test/`.

    Returns:
        The images by split, "train", "validation" or "test", all with the classes of
        all splits; nothing if the folder holds no splits. Notes name the splits, and
        every class that one of them lacks.

    Raises:
        InputError: it cannot be told which folders are splits and which classes.
    """
    data_dir = classes_folder(require_folder(data_dir))
    children = class_folders(data_dir)
    places = _split_places(data_dir, children)
    if not places:
        return {}
    groups_of, others = {}, loose_files(data_dir)
    used = {folder for place in places.values() for folder in (place, *place.parents)}
    for child in set(children) - used:
        others += itertools.chain(*files_in(child))
    for split, place in places.items():
        groups_of[split], more = classes_in(place)
        others += more
    names = sorted(set(itertools.chain.from_iterable(groups_of.values())))
    if len(names) < 2:
        raise InputError(
            f"{data_dir} is split but has one class alone, {names[0]!r}; give images of"
            " two classes or more"
        )
    notes = _split_notes(data_dir, places, groups_of, names) + passed_over(others)
    return {
        split: images_of(groups, names, data_dir, notes, split)
        for split, groups in groups_of.items()
    }


def _split_notes(
    data_dir: Path,
    places: dict[str, Path],
    groups_of: dict[str, dict[str, list[Path]]],
    names: Sequence[str],
) -> tuple[str, ...]:
    """Return a line that names the splits, and one for each that lacks a class."""
    words = ", ".join(f"{place.name}/ as {split}" for split, place in places.items())
    notes = [f"{data_dir} is split already: {words}"]
    for split, groups in groups_of.items():
        if missing := [name for name in names if not groups.get(name)]:
            notes.append(f"{places[split].name}/ has no image of {enumerated(missing)}")
    return tuple(notes)


def _split_places(data_dir: Path, children: Sequence[Path]) -> dict[str, Path]:
    """Return {split: its folder}, in the order train, validation, test."""
    told = [child for child in children if split_of(child.name)]
    if not told:
        _refuse_twins(data_dir, children)
        return {}
    classes = [c for c in children if c not in told and holds_images(c)]
    # "freight train" is a class, but "seg_train" beside "seg_test" alone a split.
    named = [c for c in told if not classes or c.name.lower() in SPLIT_OF]
    wholes = {child: _unwrapped(child) for child in named}
    # A class may be called "train": then its images lie in it, without class folders.
    split = [c for c in named if any(map(holds_images, folders_in(wholes[c])))]
    if not split:
        _refuse_without_classes(data_dir, children, named)
        _refuse_twins(data_dir, children)
        return {}
    places: dict[str, Path] = {}
    for child in split:
        other = places.setdefault(split_of(child.name), wholes[child])
        if other is not wholes[child] or classes:
            more = classes[0] if classes else other
            raise InputError(
                f"{data_dir} holds the split {child.name}/ and also {more.name}/; move"
                " one of them elsewhere, or give the folder of one split"
            )
    order = ("train", "validation", "test")
    return {name: places[name] for name in order if name in places}


def split_of(name: str) -> str | None:
    """Return the split that one word of a folder's name tells, or `None`."""
    words = re.findall("[A-Z]?[a-z]+|[A-Z]+", name)
    found = {SPLIT_OF[word.lower()] for word in words if word.lower() in SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def _unwrapped(folder: Path) -> Path:
    """Return the folder that holds the class folders, as in `train/train/dog/`."""
    inside = class_folders(folder)
    if len(inside) == 1 and len(_classes_named(inside[0])) > 1:
        return _unwrapped(inside[0])
    return folder


def _classes_named(folder: Path) -> set[str]:
    return {child.name for child in class_folders(folder) if holds_images(child)}


def _refuse_without_classes(
    data_dir: Path, children: Sequence[Path], named: Sequence[Path]
) -> None:
    """Refuse splits without class folders in them."""
    splits = {split_of(child.name) for child in named}
    if "train" in splits and len(named) == len(children) and len(splits) > 1:
        raise InputError(
            f"{data_dir} holds {_names(children)}, without class folders in them; sort"
            " the images into a folder for each class"
        )


def _refuse_twins(data_dir: Path, children: Sequence[Path]) -> None:
    """Refuse what may be splits by other names: the same folders in each folder."""
    first = _classes_named(children[0]) if len(children) > 1 else set()
    if len(first) > 1 and all(_classes_named(c) == first for c in children[1:]):
        raise InputError(
            f"{data_dir} holds {_names(children)} with the same folders in each: name"
            " them train, val and test if they are splits, or give one of them"
        )


def _names(folders: Sequence[Path]) -> str:
    return enumerated([f"{folder.name}/" for folder in folders])
