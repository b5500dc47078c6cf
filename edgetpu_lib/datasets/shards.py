"""Open TFRecord shards as images, without unpacking them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.plain_files import read_plain_file, require_plain_file
from edgetpu_lib.datasets import tfrecord
from edgetpu_lib.datasets.labelled import Images

_SHARD = re.compile(r"(train|validation)-\d{5}-of-\d{5}")


def has_shards(folder: str | Path) -> bool:
    """Return whether a folder holds TFRecord shards, with splits of their own."""
    found = (Path(folder).glob(f"{side}-*-of-*") for side in ("train", "validation"))
    return any(itertools.chain.from_iterable(found))


def open_shards(
    data_dir: str | Path,
    *,
    holdout_shards: int = 0,
    first_label: int = 1,
    **reading: Any,
) -> dict[str, Images]:
    """Open TFRecord shards in the reference's ImageNet layout.

    Args:
        data_dir: holds `train-00000-of-01024` …, `validation-00000-of-00128` …; class
            names, one a line, in `labels.txt` if there is one.
        holdout_shards: so many of the first training shards become "validation", as
            in the reference.
        first_label: stored label of the first class; 1 where 0 is the background.
        **reading: `on_error` and `map_shards` of `open_records`.

    Returns:
        "train" if there are training shards, "validation" if some were held out, "test"
        from the validation shards if there are any.

    Raises:
        InputError: shards are missing or damaged, or a label has no class.
    """
    data_dir = Path(data_dir)
    shards = {}
    if any(data_dir.glob("train-*-of-*")) or holdout_shards:
        train = _find_shards(data_dir, "train")
        if not 0 <= holdout_shards < len(train):
            raise InputError(
                f"holdout_shards={holdout_shards} must leave some of the"
                f" {len(train)} training shards"
            )
        shards["train"] = train[holdout_shards:]
        if holdout_shards:
            shards["validation"] = train[:holdout_shards]
    if any(data_dir.glob("validation-*-of-*")):
        shards["test"] = _find_shards(data_dir, "validation")
    path = data_dir / "labels.txt"
    names = None
    if path.is_file():
        lines = read_plain_file(path).decode("utf-8", "replace").splitlines()
        names = tuple(lines[first_label:])
    keys = {"image_key": "image/encoded", "label_key": "image/class/label"}
    return open_records(
        shards, names, str(data_dir), first_label=first_label, **keys, **reading
    )


def _find_shards(data_dir: Path, side: str) -> list[Path]:
    """Return all shards of a split; raise InputError if any is missing."""
    paths = sorted(data_dir.glob(f"{side}-*-of-*"))
    if not paths or not all(_SHARD.fullmatch(path.name) for path in paths):
        raise InputError(
            f"{data_dir} holds no {side}-00000-of-… shards; check the path"
        )
    totals = {int(path.name.split("-of-")[1]) for path in paths}
    for path in paths:
        require_plain_file(path)
    if totals != {len(paths)}:
        raise InputError(
            f"{data_dir} holds {len(paths)} {side} shards but their names say"
            f" {', '.join(map(str, sorted(totals)))}; copy the missing ones"
        )
    return paths


def open_records(
    shards: dict[str, list[Path]],
    names: tuple[str, ...] | None,
    data_dir: str,
    *,
    image_key: str,
    label_key: str,
    first_label: int = 0,
    on_error: str = "raise",
    map_shards: Callable = map,
) -> dict[str, Images]:
    """Return the images of TFRecord files, by split.

    Args:
        shards: {split: its files}.
        names: of the classes; `None` names each class by its stored label.
        data_dir: the images' attribute.
        image_key: the feature that holds the encoded image.
        label_key: the feature that holds the class, an integer.
        first_label: stored label of the first class.
        on_error: "raise" stops at a damaged record, "skip" leaves it out and adds a
            line to the images' `skipped`.
        map_shards: how a function is applied to all shards; `devices.map_divided`
            has each of several processes read its own.

    Raises:
        InputError: a record is damaged, or its label has no class.
    """
    scan = functools.partial(_scan_shard, label_key=label_key)
    splits = {}
    for split, files in shards.items():
        records, labels, skipped = [], [], []
        bar = tqdm(files, "indexing", unit="shard", leave=False, delay=0.5)
        for shard, (rows, damages) in zip(files, map_shards(scan, bar), strict=True):
            if damages and on_error == "raise":
                raise InputError(damages[0])
            skipped += damages
            for offset, number, label in rows:
                records.append(tfrecord.Record(shard, offset, number, image_key))
                labels.append(label)
        indices = np.array(labels, np.int64) - first_label
        splits[split] = Images(
            tuple(records), indices, (), data_dir, tuple(skipped), split
        )
    if names is None:
        last = max(images.labels.max(initial=-1) for images in splits.values())
        names = tuple(str(first_label + index) for index in range(last + 1))
    for images in splits.values():
        _require_classes(images, names, first_label)
    return {
        split: dataclasses.replace(images, class_names=names)
        for split, images in splits.items()
    }


def _scan_shard(
    shard: Path, *, label_key: str
) -> tuple[list[tuple[int, int, int]], list[str]]:
    """Return offset, number and stored label of every record, and what is damaged."""
    rows, damages = [], []
    try:
        for record, label in tfrecord.scan_shard(shard, label_key=label_key):
            if isinstance(label, InputError):
                damages.append(str(label))
            else:
                rows.append((record.offset, record.number, label))
    except tfrecord.LostError as error:
        damages.append(str(error))
    return rows, damages


def _require_classes(images: Images, names: tuple[str, ...], first_label: int) -> None:
    """Raise InputError, naming the first record whose label has no class."""
    outside = (images.labels < 0) | (images.labels >= len(names))
    for index in np.flatnonzero(outside)[:1]:
        raise InputError(
            f"{images.paths[index]} has label {images.labels[index] + first_label};"
            f" {len(names)} classes are labelled {first_label} …"
            f" {first_label + len(names) - 1}: check labels.txt and the label offset"
        )
