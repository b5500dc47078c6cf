"""Open any set of labelled images by its name: one interface for all of them.

Takes a folder of class folders, a folder of TFRecord shards, the name of a TensorFlow
Datasets set, or "rendered_flowers"; gives images by split.
Next: `train` and `fine_tune` learn from them, `evaluate` measures on them.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import tfrecord

UNDERSTOOD = (
    "a folder of class folders, a folder of train-…-of-… shards, rendered_flowers, or"
    " a set of TensorFlow Datasets such as tf_flowers"
)
IMAGENET_CLASSES = 1000
_SHARD = re.compile(r"(train|validation)-(\d{5})-of-(\d{5})")
_TFDS_NAME = re.compile(r"[a-z0-9_]+(/[\w.-]+)?(:[\d.*]+)?")


def open_splits(
    name: str | Path,
    *,
    holdout_shards: int = 0,
    on_error: str = "raise",
    images_per_class: int = 200,
    seed: int = 0,
    map_shards: Callable = map,
) -> dict[str, data.Images]:
    """Open a data set by its name, already split.

    Args:
        name: "rendered_flowers", a folder of `train-…-of-…` shards, a folder of class
            folders, or the name of a TensorFlow Datasets set, such as "tf_flowers".
        holdout_shards: of a folder of shards, as `open_shards`.
        on_error: of TFRecord files, as `open_shards`.
        images_per_class: of the rendered flowers.
        seed: of the split and of the rendered flowers.
        map_shards: of TFRecord files, as `open_shards`.

    Returns:
        "train"; "test" if the set has one or none of its own splits; "validation" if
        the set was split here or shards were held out.

    Raises:
        InputError: nothing is known by that name, or what it names cannot be used.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error={on_error!r} is unknown; use raise or skip")
    folder = Path(name)
    if has_shards(folder):
        return open_shards(
            folder,
            holdout_shards=holdout_shards,
            on_error=on_error,
            map_shards=map_shards,
        )
    if holdout_shards:
        raise InputError(
            f"{name} has no shards, so holdout_shards={holdout_shards} means nothing;"
            " leave it out"
        )
    if str(name) == data.RENDERED or folder.is_dir():
        images = data.open_data_set(name, images_per_class=images_per_class, seed=seed)
        return data.split_images(images, seed=seed)
    if _TFDS_NAME.fullmatch(str(name)):
        splits = open_tfds(str(name), on_error=on_error, map_shards=map_shards)
        return splits if "test" in splits else data.split_images(splits["train"])
    raise InputError(f"no data set at {name}; give {UNDERSTOOD}")


def has_shards(folder: str | Path) -> bool:
    """Return whether a folder holds TFRecord shards, with splits of their own."""
    return any(Path(folder).glob("train-*-of-*"))


def with_validation(
    splits: dict[str, data.Images], *, seed: int = 0
) -> dict[str, data.Images]:
    """Return splits that have "validation" and "test", taken from "train" if need be.

    Args:
        splits: from `open_splits`.
        seed: of the draw.

    Raises:
        InputError: a class has fewer than three different images.
    """
    missing = {"validation", "test"} - splits.keys()
    if not missing:
        return splits
    drawn = data.split_images(splits["train"], seed=seed)
    if "test" not in missing:
        # What a test would have had stays in training.
        indices = {str(path): i for i, path in enumerate(splits["train"].paths)}
        held_out = {indices[str(path)] for path in drawn["validation"].paths}
        rest = sorted(set(indices.values()) - held_out)
        drawn["train"] = splits["train"].take(np.array(rest))
    elif "validation" in splits:
        raise InputError("the data set has no test split; add validation-… shards")
    return {**splits, **{side: drawn[side] for side in {"train", *missing}}}


def verify_images(
    images: data.Images, *, on_error: str = "raise", progress: str | None = None
) -> data.Images:
    """Decode every image once, before something long relies on it.

    Args:
        images: of any data set.
        on_error: "raise" stops at an image that cannot be read, "skip" leaves it out
            and says so in the images' `skipped`.
        progress: title of the progress bar; `None` shows none.

    Returns:
        The images that can be read, in their order.

    Raises:
        InputError: an image cannot be read, or with "skip" none can.
    """

    def error_of(path: Any) -> InputError | None:
        try:
            # The whole square: a cut image may still hold what evaluation crops.
            data.load_image(path, 32, whole_square=True)
        except InputError as error:
            return error
        return None

    errors = tqdm(
        parallel.map_in_order(error_of, images.paths),
        progress,
        len(images),
        unit="image",
        leave=False,
        delay=0.5,
        disable=progress is None,
    )
    readable, skipped = [], []
    for index, error in enumerate(errors):
        if error:
            _raise_or_note(error, on_error, skipped)
        else:
            readable.append(index)
    if not readable:
        raise InputError(
            f"none of the {len(images)} images can be read; the first: {skipped[0]}"
        )
    return dataclasses.replace(
        images.take(np.array(readable)), skipped=(*images.skipped, *skipped)
    )


def open_shards(
    data_dir: str | Path,
    *,
    holdout_shards: int = 0,
    first_label: int = 1,
    on_error: str = "raise",
    map_shards: Callable = map,
) -> dict[str, data.Images]:
    """Open TFRecord shards in the reference's ImageNet layout.

    Args:
        data_dir: holds `train-00000-of-01024` …, `validation-00000-of-00128` …; class
            names, one a line, in `labels.txt` if there is one.
        holdout_shards: so many of the last training shards become "validation".
        first_label: stored label of the first class; 1 where 0 is the background.
        on_error: "raise" stops at a damaged record, "skip" leaves it out and says so
            in the images' `skipped`.
        map_shards: how a function is applied to all shards; `devices.map_divided`
            has each of several processes read its own.

    Returns:
        "train", "validation" if shards were held out, "test" from the validation
        shards if there are any.

    Raises:
        InputError: shards are missing or damaged, or a label has no class.
    """
    data_dir = Path(data_dir)
    shards = {"train": _find_shards(data_dir, "train")}
    if not 0 <= holdout_shards < len(shards["train"]):
        raise InputError(
            f"holdout_shards={holdout_shards} must leave some of the"
            f" {len(shards['train'])} training shards"
        )
    if holdout_shards:
        shards["validation"] = shards["train"][-holdout_shards:]
        shards["train"] = shards["train"][:-holdout_shards]
    if any(data_dir.glob("validation-*-of-*")):
        shards["test"] = _find_shards(data_dir, "validation")
    path = data_dir / "labels.txt"
    names = None
    if path.is_file():
        names = tuple(path.read_text(encoding="utf-8").splitlines()[first_label:])
    return _open_records(
        shards,
        names,
        str(data_dir),
        image_key="image/encoded",
        label_key="image/class/label",
        first_label=first_label,
        on_error=on_error,
        map_shards=map_shards,
    )


def open_ground_truth(
    pattern: str,
    label_file: str | Path,
    *,
    num_images: int | None = None,
    class_names: Sequence[str] | None = None,
) -> data.Images:
    """Open images whose labels stand in a file, as the reference evaluates ImageNet.

    Args:
        pattern: of the images' paths, such as "val/*.JPEG".
        label_file: one number a line, from 0, the background left out, for the images
            sorted by name.
        num_images: the first so many; `None` takes all.
        class_names: `None` takes numbers, a thousand at least.

    Raises:
        InputError: there is no image, or a label for each is not to be had.

    Source: tensorflow/tpu models/official/efficientnet/eval_ckpt_main.py.
    """
    paths = sorted((Path(path) for path in glob.glob(pattern)), key=lambda p: p.name)
    if not paths:
        raise InputError(f"no image matches {pattern!r}; check folder and ending")
    try:
        labels = [int(line) for line in Path(label_file).read_text().split()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{label_file} is no list of labels ({error}); give one number a line"
        ) from error
    if len(labels) != len(paths):
        raise InputError(
            f"{label_file} has {len(labels)} labels for the {len(paths)} images of"
            f" {pattern!r}; give one a line for the images sorted by name"
        )
    highest = max(labels)
    names = tuple(class_names or map(str, range(max(IMAGENET_CLASSES, highest + 1))))
    if min(labels) < 0 or highest >= len(names):
        raise InputError(
            f"{label_file} has labels {min(labels)}..{highest}, but there are"
            f" {len(names)} classes, from 0"
        )
    folder = str(paths[0].parent)
    return data.Images(
        tuple(paths[:num_images]), np.array(labels[:num_images]), names, folder
    )


def open_tfds(
    name: str, *, on_error: str = "raise", map_shards: Callable = map
) -> dict[str, data.Images]:
    """Open a set of TensorFlow Datasets, prepared first if it is not yet.

    Args:
        name: as `tfds.load` takes it.
        on_error: as `open_shards`.
        map_shards: as `open_shards`.

    Returns:
        The set's own "train", "validation" and "test", as far as it has them; a
        single held-out split is "test".

    Raises:
        InputError: the set is unknown, cannot be prepared, or is none of labelled
            images.
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
    features = builder.info.features
    if not {"image", "label"} <= set(features) or "train" not in builder.info.splits:
        raise InputError(f"{name} has no labelled training images; use another set")
    shards = {
        side: [Path(path) for path in builder.info.splits[split].filepaths]
        for side, split in _sides(name, set(builder.info.splits)).items()
    }
    return _open_records(
        shards,
        tuple(features["label"].names),
        name,
        image_key="image",
        label_key="label",
        first_label=0,
        on_error=on_error,
        map_shards=map_shards,
    )


def _sides(name: str, splits: set[str]) -> dict[str, str]:
    """Return which of a set's own splits is "train", "validation" and "test"."""
    if name.startswith("imagenet"):
        splits = splits - {"test"}  # its labels are not public
    sides = {side: side for side in ("train", "validation", "test") if side in splits}
    if "test" not in sides and "validation" in sides:
        sides["test"] = sides.pop("validation")
    return sides


def _find_shards(data_dir: Path, side: str) -> list[Path]:
    """Return all shards of a split.

    Raises:
        InputError: there is none, or some are missing.
    """
    paths = sorted(data_dir.glob(f"{side}-*-of-*"))
    matches = [_SHARD.fullmatch(path.name) for path in paths]
    if not paths or not all(matches):
        raise InputError(
            f"{data_dir} holds no {side}-00000-of-… shards; check the path"
        )
    totals = {int(match[3]) for match in matches}
    if totals != {len(paths)}:
        raise InputError(
            f"{data_dir} holds {len(paths)} {side} shards but their names say"
            f" {', '.join(map(str, sorted(totals)))}; copy the missing ones"
        )
    return paths


def _open_records(
    shards: dict[str, list[Path]],
    names: tuple[str, ...] | None,
    data_dir: str,
    *,
    first_label: int,
    on_error: str,
    map_shards: Callable,
    **keys: str,
) -> dict[str, data.Images]:
    """Return the images of every split; without names, labels are their own.

    Raises:
        InputError: a record is damaged, or its label has no class.
    """
    found: dict[str, Any] = {}
    for side, paths in shards.items():
        found[side] = _scan(paths, on_error, map_shards, **keys)
    top = max((label for p, labels, _ in found.values() for label in labels), default=0)
    if names is None:
        names = tuple(str(label) for label in range(first_label, top + 1))
    splits = {}
    for side, (places, labels, skipped) in found.items():
        _check_labels(places, labels, first_label, names)
        indices = np.array(labels, np.int64) - first_label
        splits[side] = data.Images(
            tuple(places), indices, names, data_dir, tuple(skipped)
        )
    return splits


def _scan(
    shards: list[Path],
    on_error: str,
    map_shards: Callable,
    *,
    image_key: str,
    label_key: str,
) -> tuple[list[tfrecord.Record], list[int], list[str]]:
    """Return places, stored labels, and what was skipped."""
    places, labels, skipped = [], [], []
    scan = functools.partial(_scan_shard, on_error=on_error, label_key=label_key)
    bar = tqdm(shards, "indexing", unit="shard", leave=False, delay=0.5)
    for shard, (rows, lost) in zip(shards, map_shards(scan, bar), strict=True):
        for offset, number, label in rows:
            places.append(tfrecord.Record(shard, offset, number, image_key))
            labels.append(label)
        skipped += lost
    return places, labels, skipped


def _scan_shard(
    shard: Path, *, on_error: str, label_key: str
) -> tuple[list[tuple[int, int, int]], list[str]]:
    """Return offset, number and stored label of every record, and what was skipped."""
    rows, skipped = [], []
    try:
        for place, label in tfrecord.scan_shard(shard, label_key=label_key):
            if isinstance(label, InputError):
                _raise_or_note(label, on_error, skipped)
            else:
                rows.append((place.offset, place.number, label))
    except tfrecord.LostError as error:
        _raise_or_note(error, on_error, skipped)
    return rows, skipped


def _raise_or_note(error: InputError, on_error: str, skipped: list[str]) -> None:
    """Raise an error, or note it and go on, as the user chose."""
    if on_error == "raise":
        raise error
    skipped.append(str(error))


def _check_labels(
    places: list, labels: list[int], first_label: int, names: tuple[str, ...]
) -> None:
    """Refuse a label without a class.

    Raises:
        InputError: it names the record.
    """
    last = first_label + len(names) - 1
    for place, label in zip(places, labels, strict=True):
        if not first_label <= label <= last:
            raise InputError(
                f"{place} has label {label}; {len(names)} classes are labelled"
                f" {first_label} … {last}: check labels.txt and the background offset"
            )
