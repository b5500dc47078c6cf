"""Data sets that TensorFlow Datasets knows by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import shards
from edgetpu_lib.datasets.labelled import Images

TFDS_NAME = re.compile(r"[a-z0-9_]+(/[\w.-]+)?(:[\d.*]+)?")
UNDERSTOOD = (
    "a folder of class folders, a folder of train-…-of-… shards, rendered_flowers, or"
    " a set of TensorFlow Datasets such as tf_flowers"
)


def open_tfds(name: str, **reading: Any) -> dict[str, Images]:
    """Open a set of TensorFlow Datasets; it is prepared first if need be.

    Args:
        name: as `tfds.load` takes it.
        **reading: `on_error` and `map_shards` of `shards.open_records`.

    Returns:
        Those of "train", "validation" and "test" that the set has; a single held-out
        split is "test".

    Raises:
        InputError: the set is unknown, cannot be prepared, or has no labelled images.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"{name} is no folder, and TensorFlow Datasets is not installed; give"
            f" {UNDERSTOOD}, or `pip install tensorflow-datasets`"
        ) from error
    try:
        builder = tfds.builder(name)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise InputError(f"no data set {name!r} is known; give {UNDERSTOOD}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # Every source of data fails in its own way.
        raise InputError(
            f"{name} could not be prepared ({type(error).__name__}); prepare it where"
            f" there is internet and copy the result to {builder.data_dir}"
        ) from error
    features, splits = builder.info.features, builder.info.splits
    if not {"image", "label"} <= set(features) or "train" not in splits:
        raise InputError(f"{name} has no labelled training images; use another set")
    files = {
        side: [Path(path) for path in splits[split].filepaths]
        for side, split in _sides(name, set(splits)).items()
    }
    names = tuple(features["label"].names)
    keys = {"image_key": "image", "label_key": "label"}
    return shards.open_records(files, names, name, **keys, **reading)


def _sides(name: str, splits: set[str]) -> dict[str, str]:
    """Return which of a set's own splits is "train", "validation" and "test"."""
    if name.startswith("imagenet"):
        splits = splits - {"test"}  # its labels are not public
    sides = {side: side for side in ("train", "validation", "test") if side in splits}
    if "test" not in sides and "validation" in sides:
        sides["test"] = sides.pop("validation")
    return sides
