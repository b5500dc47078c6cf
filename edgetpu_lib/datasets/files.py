"""Open images that are drawn, or whose labels are listed in a file."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.plain_files import read_plain_file
from edgetpu_lib.datasets.folders import list_images
from edgetpu_lib.datasets.labelled import Images
from edgetpu_lib.images import rendered

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
    images = list_images(
        rendered.rendered_flowers(folder, images_per_class=images_per_class, seed=seed)
    )
    # The list of what was drawn lies beside the images.
    return dataclasses.replace(images, notes=())


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
    words = read_plain_file(label_file).split()
    try:
        labels = [int(word) for word in words]
    except ValueError as error:
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
