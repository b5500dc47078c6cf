"""Open any set of labelled photos by its name: one interface for all of them.

Takes a folder of class folders, a folder of TFRecord shards, the name of a TensorFlow
Datasets set, or "rendered_flowers"; gives photos by split.
Next: `train` and `fine_tune` learn from them, `evaluate` measures on them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgetpu_lib import data, records
from edgetpu_lib.artifacts import InputError

ON_ERROR = ("raise", "skip")
_SHARD = re.compile(r"(train|validation|test)-(\d{5})-of-(\d{5})")


def open_splits(
    name: str | Path,
    *,
    holdout_shards: int = 0,
    on_error: str = "raise",
    images_per_class: int = 200,
    seed: int = 0,
) -> dict[str, data.Photos]:
    """Open a data set by its name, already split.

    Args:
        name: "rendered_flowers", a folder of `train-…-of-…` shards, a folder of class
            folders, or the name of a TensorFlow Datasets set, such as "tf_flowers".
        holdout_shards: of TFRecord shards, as `open_shards`.
        on_error: of TFRecord shards, as `open_shards`.
        images_per_class: of the rendered flowers.
        seed: of the split and of the rendered flowers.

    Returns:
        "train", "test" and, unless the shards came without, "validation".

    Raises:
        InputError: nothing is known by that name, or what it names cannot be used.
    """
    folder = Path(name)
    if folder.is_dir() and any(folder.glob("train-*-of-*")):
        return open_shards(folder, holdout_shards=holdout_shards, on_error=on_error)
    if holdout_shards:
        raise InputError(f"{name} has no shards; leave holdout_shards out")
    if str(name) == data.RENDERED or folder.is_dir():
        photos = data.open_data_set(name, images_per_class=images_per_class, seed=seed)
        return data.split_photos(photos, seed=seed)
    raise InputError(f"{name} is not a folder")


def open_shards(
    data_dir: str | Path,
    *,
    holdout_shards: int = 0,
    first_label: int = 1,
    on_error: str = "raise",
) -> dict[str, data.Photos]:
    """Open TFRecord shards in the reference's ImageNet layout.

    Args:
        data_dir: holds `train-00000-of-01024` …, `validation-00000-of-00128` …; class
            names, one a line, in `labels.txt` if there is one.
        holdout_shards: so many of the last training shards become "validation".
        first_label: stored label of the first class; 1 where 0 is the background.
        on_error: "raise" stops at a damaged record, "skip" leaves it out.

    Returns:
        "train", "validation" if shards were held out, "test" from the validation
        shards.

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
    found = {side: _scan(paths, on_error) for side, paths in shards.items()}
    top = max(int(labels.max()) for _, labels in found.values())
    names = _class_names(data_dir, first_label, top)
    return {
        side: data.Photos(places, labels - first_label, names, str(data_dir))
        for side, (places, labels) in found.items()
    }


def _find_shards(data_dir: Path, side: str) -> list[Path]:
    paths = sorted(data_dir.glob(f"{side}-*-of-*"))
    matches = [_SHARD.fullmatch(path.name) for path in paths]
    if not paths or not all(matches):
        raise InputError(
            f"{data_dir} holds no {side}-00000-of-… shards; check the path"
        )
    totals = {int(match[3]) for match in matches}
    if len(totals) > 1 or totals != {len(paths)}:
        raise InputError(
            f"{data_dir} holds {len(paths)} {side} shards but their names say"
            f" {', '.join(map(str, sorted(totals)))}; copy the missing ones"
        )
    return paths


def _scan(shards: list[Path], on_error: str) -> tuple[tuple, np.ndarray]:
    places, labels = [], []
    for shard in tqdm(shards, "indexing", unit="shard", leave=False, delay=0.5):
        for place, label in records.scan_shard(shard, label_key="image/class/label"):
            if isinstance(label, InputError):
                if on_error == "raise":
                    raise label
                continue
            places.append(place)
            labels.append(label)
    return tuple(places), np.array(labels, np.int64)


def _class_names(data_dir: Path, first_label: int, top: int) -> tuple[str, ...]:
    path = data_dir / "labels.txt"
    if not path.is_file():
        return tuple(str(label) for label in range(first_label, top + 1))
    return tuple(path.read_text().split("\n")[first_label:])
