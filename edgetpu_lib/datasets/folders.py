"""List the images of folders: classes, splits, and what is passed over."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.labelled import Images
from edgetpu_lib.datasets.notes import enumerated, is_image, passed_over
from edgetpu_lib.images import opening

# What Roboflow, Kaggle, Ultralytics and torchvision call the splits.
SPLIT_OF = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}


def list_images(data_dir: str | Path, *, labelled: bool = True) -> Images:
    """List the images of a folder, sorted by class and file name.

    Args:
        data_dir: `data_dir/<class name>/<image>`; the notes count what is passed over.
        labelled: whether classes are needed. If not, a folder with fewer than two
            class folders may hold images at any depth, and is one class.

    Raises:
        InputError: the folder is missing, has too few class folders, or one of them
            holds no image.
    """
    data_dir = _require_folder(data_dir)
    folders = _class_folders(data_dir)
    if len(folders) < 2 and not labelled:
        found, others = _files_in(data_dir)
        if not found:
            why = " ".join(f"({note})" for note in passed_over(others))
            raise InputError(
                f"{data_dir} holds no image {why}; add some or give another folder"
            )
        name = data_dir.name
        return _images_of({name: found}, [name], data_dir, passed_over(others))
    if len(folders) < 2:
        name = f"only {folders[0].name!r}" if folders else "none"
        raise InputError(
            f"{data_dir} must hold at least two class folders, one a class, with"
            f" images in them; found {name}"
        )
    groups, others = _classes_in(data_dir)
    for name, files in groups.items():
        if not files:
            why = "".join(f" ({n})" for n in passed_over(_files_in(data_dir / name)[1]))
            raise InputError(
                f"{data_dir / name} holds no image{why}; add some or remove the folder"
            )
    return _images_of(groups, list(groups), data_dir, passed_over(others))


def open_split_folders(data_dir: str | Path) -> dict[str, Images]:
    """Open a folder whose folders are splits, such as `train/`, `valid/`, `test/`.

    Returns:
        The images by split, "train", "validation" or "test", all with the classes of
        all splits; nothing if the folder holds no splits. Notes name the splits, and
        every class that one of them lacks.

    Raises:
        InputError: it cannot be told which folders are splits and which classes.
    """
    data_dir = _require_folder(data_dir)
    children = _class_folders(data_dir)
    places = _split_places(data_dir, children)
    if not places:
        return {}
    groups_of, others = {}, _loose_files(data_dir)
    for child in set(children) - set(places.values()):
        others += itertools.chain(*_files_in(child))
    for split, place in places.items():
        groups_of[split], more = _classes_in(place)
        others += more
    names = sorted(set(itertools.chain.from_iterable(groups_of.values())))
    if len(names) < 2:
        raise InputError(
            f"{data_dir} is split but has one class alone, {names[0]!r}; give images of"
            " two classes or more"
        )
    notes = _split_notes(data_dir, places, groups_of, names) + passed_over(others)
    return {
        split: _images_of(groups, names, data_dir, notes, split)
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
    named = [child for child in children if child.name.lower() in SPLIT_OF]
    # A class may be called "train": then its images lie in it, without class folders.
    split = [child for child in named if any(map(_holds_images, _folders_in(child)))]
    if not split:
        return _refuse_unlabelled(data_dir, children, named)
    classes = [c for c in children if c not in named and _holds_images(c)]
    places: dict[str, Path] = {}
    for child in split:
        other = places.setdefault(SPLIT_OF[child.name.lower()], child)
        if other is not child or classes:
            more = classes[0] if classes else other
            raise InputError(
                f"{data_dir} holds the split {child.name}/ and also {more.name}/; move"
                " one of them elsewhere, or give the folder of one split"
            )
    order = ("train", "validation", "test")
    return {name: places[name] for name in order if name in places}


def _refuse_unlabelled(
    data_dir: Path, children: Sequence[Path], named: Sequence[Path]
) -> dict[str, Path]:
    """Refuse `train/` and `test/` without class folders; else return no splits."""
    splits = {SPLIT_OF[child.name.lower()] for child in named}
    if "train" in splits and len(named) == len(children) and len(splits) > 1:
        raise InputError(
            f"{data_dir} holds {enumerated([c.name for c in named])}, without class"
            " folders in them; sort the images into a folder for each class"
        )
    return {}


def _require_folder(data_dir: str | Path) -> Path:
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder; give a folder of images")
    return data_dir


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and archives' own."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot read {folder}: {error.strerror}; check the path"
        ) from error
    return [p for p in paths if p.is_dir() and not p.name.startswith((".", "__"))]


def _class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are no images by their names."""
    suffixes = opening.readable_suffixes()
    return [p for p in _folders_in(folder) if p.suffix.lower() not in suffixes]


def _holds_images(folder: Path) -> bool:
    return any(is_image(path) for path in _walk(folder))


def _classes_in(data_dir: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return {class: its images}, and the files that are passed over."""
    groups, others = {}, _loose_files(data_dir)
    for folder in _class_folders(data_dir):
        groups[folder.name], more = _files_in(folder)
        others += more
    return groups, others


def _loose_files(folder: Path) -> list[Path]:
    """Return the files beside the class folders: an image there has no label."""
    return list(itertools.chain(*_files_in(folder, depth=0)))


def _files_in(
    folder: Path, *, depth: int | None = None
) -> tuple[list[Path], list[Path]]:
    """Return the images in a folder at any depth, sorted, and all other files."""
    found = sorted(_walk(folder, depth))
    images = [path for path in found if is_image(path)]
    return images, [path for path in found if not is_image(path)]


def _walk(folder: Path, depth: int | None = None) -> Iterable[Path]:
    """Yield all files below a folder, links followed.

    Folders that are not entered, hidden ones and those named as images, count as files.
    """
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        real = os.path.realpath(place)
        if real in seen:
            # A link leads back to a folder above it.
            folders.clear()
            continue
        seen.add(real)
        yield from (here / name for name in files)
        images = [name for name in folders if is_image(Path(name))]
        yield from (here / name for name in images)
        kept = [n for n in folders if n not in images and not n.startswith((".", "__"))]
        yield from (here / name for name in set(folders) - {*images, *kept})
        folders[:] = [] if depth == 0 else sorted(kept)


def _images_of(
    groups: dict[str, list[Path]],
    names: Sequence[str],
    data_dir: Path,
    notes: tuple[str, ...],
    split: str = "all",
) -> Images:
    """Return listed files as images; a class without files is one all the same."""
    files = [groups.get(name, []) for name in names]
    return Images(
        paths=tuple(itertools.chain.from_iterable(files)),
        labels=np.repeat(np.arange(len(names)), [len(group) for group in files]),
        class_names=tuple(names),
        data_dir=str(data_dir),
        notes=notes,
        split=split,
    )
