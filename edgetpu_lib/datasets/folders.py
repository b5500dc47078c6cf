"""List the images of folders: classes, and what is passed over."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.labelled import Images
from edgetpu_lib.datasets.notes import passed_over
from edgetpu_lib.images import opening
from edgetpu_lib.images.listing import files_below, files_in, is_image


def list_images(data_dir: str | Path, *, labelled: bool = True) -> Images:
    """List the images of a folder, sorted by class and file name.

    Args:
        data_dir: `data_dir/<class name>/<image>`, or a folder as `classes_folder`
            takes it; the notes count what is passed over.
        labelled: whether classes are needed. If not, a folder with fewer than two
            class folders may hold images at any depth, and is one class.

    Raises:
        InputError: the folder is missing, has too few class folders, or one of them
            holds no image.
    """
    given = require_folder(data_dir)
    data_dir = classes_folder(given)
    folders = class_folders(data_dir)
    if len(folders) < 2 and not labelled:
        found, others = files_in(data_dir)
        if not found:
            why = " ".join(f"({note})" for note in passed_over(others))
            raise InputError(
                f"{data_dir} holds no image {why}; add some or give another folder"
            )
        name = data_dir.name
        return images_of({name: found}, [name], data_dir, passed_over(others))
    if len(folders) < 2:
        name = f"only {folders[0].name!r}" if folders else "none"
        raise InputError(
            f"{data_dir} must hold at least two class folders, one a class, with"
            f" images in them; found {name}"
        )
    groups, others = classes_in(data_dir)
    for name, files in groups.items():
        if not files:
            why = "".join(f" ({n})" for n in passed_over(files_in(data_dir / name)[1]))
            raise InputError(
                f"{data_dir / name} holds no image{why}; add some or remove the folder"
            )
    notes = _unlabelled(given) if data_dir != given else ()
    return images_of(groups, list(groups), data_dir, notes + passed_over(others))


def require_folder(data_dir: str | Path) -> Path:
    """Return a folder's path; InputError if there is none."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder; give a folder of images")
    return data_dir


def classes_folder(data_dir: Path) -> Path:
    """Return the folder of class folders: `dataset/` of a classifier's in Frigate.

    Frigate keeps labelled images in `clips/<name>/dataset/<class>/`. In
    `clips/<name>/train/` are images that nobody has labelled yet: no split, and no
    class. Any other folder is returned itself.
    """
    inside, unlabelled = data_dir / "dataset", data_dir / "train"
    if not inside.is_dir() or not class_folders(inside):
        return data_dir
    others = set(class_folders(data_dir)) - {inside, unlabelled}
    is_split = unlabelled.is_dir() and class_folders(unlabelled)
    return data_dir if others or is_split else inside


def _unlabelled(data_dir: Path) -> tuple[str, ...]:
    """Return a line on the classes of `dataset/` and the images without a label."""
    found, _ = files_in(data_dir)
    count = sum(data_dir / "dataset" not in path.parents for path in found)
    others = f"; {count} images outside it have no label" if count else ""
    return (f"{data_dir}: the classes are the folders in dataset/{others}",)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and archives' own."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot read {folder}: {error.strerror}; check the path"
        ) from error
    return [p for p in paths if p.is_dir() and not p.name.startswith((".", "__"))]


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are no images by their names."""
    suffixes = opening.readable_suffixes()
    return [p for p in folders_in(folder) if p.suffix.lower() not in suffixes]


def holds_images(folder: Path) -> bool:
    """Return whether there is an image in a folder, at any depth."""
    return any(is_image(path) for path in files_below(folder))


def classes_in(data_dir: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return {class: its images}, and the files that are passed over."""
    groups, others = {}, loose_files(data_dir)
    for folder in class_folders(data_dir):
        groups[folder.name], more = files_in(folder)
        others += more
    return groups, others


def loose_files(folder: Path) -> list[Path]:
    """Return the files beside the class folders: an image there has no label."""
    return list(itertools.chain(*files_in(folder, depth=0)))


def images_of(
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
