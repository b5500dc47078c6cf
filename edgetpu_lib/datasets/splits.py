"""Split images into training, validation and test without leaks."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.folders import classes_folder, list_images
from edgetpu_lib.datasets.labelled import Images, file_digest
from edgetpu_lib.datasets.shards import has_shards, open_shards
from edgetpu_lib.datasets.split_folders import open_split_folders

SPLIT_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def split_images(images: Images, *, seed: int = 0) -> dict[str, Images]:
    """Split into train (70 %), validation (10 %) and test (20 %), class by class.

    Files with the same bytes always fall into the same split, so that no test image
    was ever trained on. The same images and seed give the same splits on any machine.

    Raises:
        InputError: a class has fewer than three different images.
    """
    bar = tqdm(images.paths, "comparing images", unit="image", leave=False, delay=0.5)
    digests = [file_digest(path) for path in bar]
    class_of = dict(zip(digests, images.labels, strict=True))
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for label, name in enumerate(images.class_names):
        unique = sorted(digest for digest, known in class_of.items() if known == label)
        if len(unique) < 3:
            raise InputError(
                f"class {name!r} has {len(unique)} different images; a split into"
                " train, validation and test needs at least 3"
            )
        shuffled = [unique[index] for index in rng.permutation(len(unique))]
        for split in ("test", "validation"):
            count = max(1, round(SPLIT_SHARES[split] * len(unique)))
            split_of |= dict.fromkeys(shuffled[:count], split)
            del shuffled[:count]
        split_of |= dict.fromkeys(shuffled, "train")
    places = {split: [] for split in SPLIT_SHARES}
    for index, digest in enumerate(digests):
        places[split_of[digest]].append(index)
    return {
        split: dataclasses.replace(images.take(np.array(indices, int)), split=split)
        for split, indices in places.items()
    }


def with_validation(splits: dict[str, Images], *, seed: int = 0) -> dict[str, Images]:
    """Return splits with "validation" and "test", taken from "train" if need be.

    Of a data set with one held-out split, that is "test", whatever its name is, so that
    nothing chosen during training depends on it.

    Raises:
        InputError: a class has fewer than three different images.
    """
    if {"validation", "test"} <= splits.keys():
        return splits
    if "validation" in splits:
        test = dataclasses.replace(splits["validation"], split="test")
        splits = {"train": splits["train"], "test": test}
    train = splits["train"]
    drawn = split_images(train, seed=seed)
    if "test" not in splits:
        return drawn
    # The data set has its own test split: what was drawn for one stays in training.
    held_out = set(drawn["validation"].paths)
    kept = [i for i, path in enumerate(train.paths) if path not in held_out]
    return {**drawn, "train": train.take(np.array(kept)), "test": splits["test"]}


def with_train(splits: dict[str, Images], name: str | Path) -> dict[str, Images]:
    """Return the splits; raise InputError if there are some, but none to train on."""
    if splits and "train" not in splits:
        raise InputError(f"{name} holds no training images, only {', '.join(splits)}")
    return splits


def stored_splits(data_dir: str | Path) -> dict[str, Images]:
    """Return the splits that a folder has by itself; none if nothing was split.

    Raises:
        InputError: the folder is missing, or it cannot be told what its splits are.
    """
    if has_shards(data_dir):
        return open_shards(data_dir)
    return open_split_folders(data_dir)


def choose_split(
    data_dir: str | Path,
    split: str | None,
    default_split: str,
    metadata: Mapping[str, Any],
    labelled: bool,
) -> Images:
    """Return the images of a folder, or of the split of it that is to be used.

    The arguments and errors are those of `data.open_images`.
    """
    splits = stored_splits(data_dir)
    if splits:
        split = split or _nearest(splits, default_split)
    else:
        splits = {"all": list_images(data_dir, labelled=labelled)}
        trained_on = metadata.get("data_dir")
        folder = classes_folder(Path(data_dir)).resolve()
        same = trained_on and classes_folder(Path(trained_on)).resolve() == folder
        split = split or (default_split if same else "all")
        if split != "all":
            splits |= split_images(splits["all"], seed=metadata.get("seed", 0))
    if split not in splits:
        known = " or ".join(splits)
        raise InputError(f"{data_dir} has no split {split!r}; use {known}")
    return splits[split]


def _nearest(splits: dict[str, Images], split: str) -> str:
    """Return the split asked for, or the one that stands in for it."""
    held_out = {"test": "validation", "validation": "test"}
    for name in (split, held_out.get(split), *splits):
        if name in splits:
            break
    if name != split:
        tqdm.write(f"note: no split {split!r}; {name} is used", file=sys.stderr)
    return name
