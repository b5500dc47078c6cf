"""Images stored as files: in class folders, or with their labels listed in a file."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.labelled import Images
from edgetpu_lib.images import rendered

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
IMAGENET_CLASSES = 1000
RENDERED = "rendered_flowers"


def open_data_set(
    data_dir: str | Path,
    *,
    cache_dir: str | Path = "artifacts",
    images_per_class: int = 200,
    seed: int = 0,
) -> Images:
    """Open a folder of class folders, or draw the embedded data set.

    `data_dir` is a folder of class folders, or "rendered_flowers", to which the other
    arguments belong: `cache_dir` keeps them between runs.

    Raises:
        InputError: as `list_images`, or the cache cannot be written.
    """
    if str(data_dir) != RENDERED:
        return list_images(data_dir)
    folder = Path(cache_dir) / f"{RENDERED}-{images_per_class}-seed-{seed}"
    return list_images(
        rendered.rendered_flowers(folder, images_per_class=images_per_class, seed=seed)
    )


def list_images(data_dir: str | Path, *, labelled: bool = True) -> Images:
    """List the images of a folder, sorted by class and file name.

    Args:
        data_dir: `data_dir/<class name>/<image>`; other files are passed over.
        labelled: whether classes are needed. If not, a folder with fewer than two
            class folders may hold images at any depth, and is one class.

    Raises:
        InputError: the folder is missing, has too few class folders, or one of them
            holds no image.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder; give a folder of images")
    folders = sorted(
        path
        for path in data_dir.glob("*")
        if path.is_dir() and not path.name.startswith(".")
    )
    if len(folders) < 2 and not labelled:
        folders = [data_dir]
    elif len(folders) < 2:
        found = f"only {folders[0].name!r}" if folders else "none"
        raise InputError(
            f"{data_dir} must hold at least two class folders, one a class, with"
            f" images in them; found {found}"
        )
    groups = [_images_in(folder) for folder in folders]
    if [] in groups:
        folder = folders[groups.index([])]
        raise InputError(f"{folder} holds no image; add some or remove the folder")
    return Images(
        paths=tuple(itertools.chain.from_iterable(groups)),
        labels=np.repeat(np.arange(len(folders)), [len(group) for group in groups]),
        class_names=tuple(folder.name for folder in folders),
        data_dir=str(data_dir),
    )


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def open_ground_truth(
    image_glob: str, label_file: str | Path, *, class_names: Sequence[str] | None = None
) -> Images:
    """Open images whose labels are listed in a file.

    Args:
        image_glob: pattern of the images' paths, such as "val/*.JPEG".
        label_file: one label a line, from 0 without a background class, for the
            images sorted by name.
        class_names: `None` takes numbers, a thousand at least.

    Raises:
        InputError: no image matches, or the labels do not fit the images or classes.

    Source: tensorflow/tpu models/official/efficientnet/eval_ckpt_main.py.
    """
    paths = sorted(map(Path, glob.glob(image_glob)), key=lambda path: path.name)
    if not paths:
        raise InputError(f"no image matches {image_glob!r}; check folder and ending")
    try:
        labels = [int(line) for line in Path(label_file).read_text().split()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{label_file} is no list of labels ({error}); give one number a line"
        ) from error
    if len(labels) != len(paths):
        raise InputError(
            f"{label_file} has {len(labels)} labels for the {len(paths)} images of"
            f" {image_glob!r}; give one a line for the images sorted by name"
        )
    highest = max(labels)
    names = tuple(class_names or map(str, range(max(IMAGENET_CLASSES, highest + 1))))
    if min(labels) < 0 or highest >= len(names):
        raise InputError(
            f"{label_file} has labels {min(labels)}..{highest}, but there are"
            f" {len(names)} classes, from 0; correct the labels or name more classes"
        )
    return Images(tuple(paths), np.array(labels), names, str(paths[0].parent))
