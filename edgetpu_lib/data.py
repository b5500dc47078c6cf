"""Find images, split them without leaks, and load them as the reference does.

Takes a data set's name, or a folder; gives splits, pixels and calibration images.
Next: `train`, `convert` and `evaluate` read what is loaded here.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.files import RENDERED, open_data_set, open_ground_truth
from edgetpu_lib.datasets.folders import list_images
from edgetpu_lib.datasets.labelled import Images, digest_of, file_digest, list_digest
from edgetpu_lib.datasets.notes import tell
from edgetpu_lib.datasets.public import TFDS_NAME, UNDERSTOOD, open_tfds
from edgetpu_lib.datasets.shards import has_shards, open_shards
from edgetpu_lib.datasets.split_folders import open_split_folders
from edgetpu_lib.datasets.splits import (
    choose_split,
    split_images,
    with_train,
    with_validation,
)
from edgetpu_lib.images import pixels
from edgetpu_lib.images.loading import load_image
from edgetpu_lib.images.pixels import Window

# What is called as `data.…`, parts of `datasets` among it.
__all__ = ["Images", "list_images", "open_data_set", "digest_of", "list_digest"]
__all__ += ["open_splits", "split_images", "with_validation", "open_images"]
__all__ += ["label_offset_of", "calibration_images", "verify_images"]
__all__ += ["load_image", "iterate_pixels", "iterate_batches", "load_pixels"]


def open_splits(
    name: str | Path,
    *,
    holdout_shards: int = 0,
    on_error: str = "raise",
    images_per_class: int = 200,
    seed: int = 0,
    map_shards: Callable = map,
) -> dict[str, Images]:
    """Open a data set by its name, already split.

    Args:
        name: "rendered_flowers", a folder of `train-…-of-…` shards, of class folders or
            of splits (`train/`, `val/`, `test/` …) with class folders in each, or the
            name of a TensorFlow Datasets set, such as "tf_flowers".
        holdout_shards: so many of the first training shards become "validation".
        on_error: at a damaged TFRecord, "raise" or "skip".
        images_per_class: of the rendered flowers.
        seed: of the split and of the rendered flowers.
        map_shards: as `shards.open_records`.

    Returns:
        "train"; "test" and "validation" if the set has them or was split here. What
        was not taken as it lies is told on the error stream, a line for each.

    Raises:
        InputError: nothing is known by that name, or what it names cannot be used.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error={on_error!r} is unknown; use raise or skip")
    reading = {"on_error": on_error, "map_shards": map_shards}
    if has_shards(name):
        splits = open_shards(name, holdout_shards=holdout_shards, **reading)
        return tell(with_train(splits, name))
    if holdout_shards:
        raise InputError(
            f"{name} has no shards, so holdout_shards={holdout_shards} means nothing;"
            " leave it out"
        )
    if str(name) == RENDERED:
        images = open_data_set(name, images_per_class=images_per_class, seed=seed)
        return split_images(images, seed=seed)
    if Path(name).is_dir():
        splits = with_train(open_split_folders(name), name)
        return tell(splits or split_images(list_images(name), seed=seed))
    if TFDS_NAME.fullmatch(str(name)):
        splits = open_tfds(str(name), **reading)
        return splits if "test" in splits else split_images(splits["train"], seed=seed)
    raise InputError(f"no data set at {name}; give {UNDERSTOOD}")


def open_images(
    data_dir: str | Path | None = None,
    *,
    imagenet_eval_glob: str | None = None,
    imagenet_eval_label: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    num_images: int | None = None,
    split: str | None = None,
    default_split: str = "test",
    metadata: Mapping[str, Any] | None = None,
    labelled: bool = True,
) -> Images:
    """Open images for evaluation or calibration: a folder, or files with labels.

    Args:
        data_dir: a folder of class folders, of splits with class folders, of TFRecord
            shards or, unless `labelled`, of images at any depth.
        imagenet_eval_glob: instead of a folder, a pattern such as "val/*.JPEG".
        imagenet_eval_label: a file of their labels, as `files.open_ground_truth`.
        class_names: for `imagenet_eval_glob`; `None` takes numbers.
        num_images: at most so many, drawn from a folder at random, or the first of
            the pattern's; `None` and, as in the reference, numbers below 1 take all.
        split: of a folder: "all", "train", "validation" or "test". `None` takes
            `default_split` if the folder has splits of its own or the model was
            trained on part of it, else all: training and test images must not mix.
        default_split: "test", or "train" for calibration; a folder that has splits but
            not this one gives another that it has, and says so.
        metadata: of the model; `data_dir` and `seed` tell what it was trained on.
        labelled: refuse a folder without class folders.

    Raises:
        InputError: the arguments contradict each other, or cannot be used.
    """
    pattern, labels = imagenet_eval_glob, imagenet_eval_label
    if bool(data_dir) == bool(pattern) or bool(pattern) != bool(labels):
        raise InputError(
            f"got folder {data_dir}, images {pattern} and labels {labels}; give"
            " data_dir=FOLDER alone, or imagenet_eval_glob='val/*.JPEG' with"
            " imagenet_eval_label=FILE"
        )
    count = num_images if num_images and num_images > 0 else None
    if pattern:
        images = open_ground_truth(pattern, labels, class_names=class_names)
        return images.take(np.arange(len(images))[:count])
    images = choose_split(data_dir, split, default_split, metadata or {}, labelled)
    tell({images.split: images})
    return images.sample(count) if count else images


def label_offset_of(
    images: Images, outputs: int, *, background: bool | None, imagenet: bool = False
) -> int:
    """Return the label offset: 1 if a model's output 0 is the background, else 0.

    `None` as `background` assumes it for ImageNet's labels if the model has one output
    more than the images' classes.
    """
    if background is None:
        background = imagenet and outputs == len(images.class_names) + 1
    return int(background)


def iterate_pixels(
    images: Images,
    image_size: int,
    *,
    resize: Window = "crop",
    progress: str | None = None,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield each image's pixels in order, decoded ahead by several threads.

    Args:
        images: what to load.
        image_size: height and width.
        resize: as `load_image`.
        progress: title of a progress bar; `None` shows none.
        workers: threads; `None` takes one a core.
        ahead: images decoded before they are asked for; `None` takes a few a core.

    Yields:
        float32 [image_size, image_size, 3], 0..255 with bicubic overshoot.

    Raises:
        InputError: an image cannot be used; the message names it.
    """

    def load(path: Any) -> np.ndarray:
        return load_image(path, image_size, resize=resize)

    yield from _map_images(load, images, progress, workers=workers, ahead=ahead)


def iterate_batches(
    images: Images, image_size: int, *, batch_size: int = 32, **options: Any
) -> Iterator[np.ndarray]:
    """Yield images in batches: float32 [≤ batch_size, size, size, 3], 0..255.

    While one batch is worked on, the next is decoded. `options`: of `iterate_pixels`.
    """
    stream = iterate_pixels(images, image_size, ahead=batch_size, **options)
    while batch := list(itertools.islice(stream, batch_size)):
        yield np.stack(batch)


def load_pixels(images: Images, image_size: int, **options: Any) -> np.ndarray:
    """Load all images into one array: uint8 [number, size, size, 3], 0..255.

    Options and errors are those of `iterate_pixels`.
    """
    images_u8 = np.empty((len(images), image_size, image_size, 3), np.uint8)
    for index, image in enumerate(iterate_pixels(images, image_size, **options)):
        images_u8[index] = pixels.to_uint8(image)
    return images_u8


def verify_images(
    images: Images, *, on_error: str = "raise", progress: str | None = None
) -> Images:
    """Decode every image once, before something long relies on it.

    At an image that cannot be read, `on_error` "raise" stops; "skip" leaves it out of
    the images returned, and adds a line to their `skipped`.

    Raises:
        InputError: an image cannot be read, or with "skip" none can.
    """

    def error_of(path: Any) -> InputError | None:
        try:
            # The whole square: a cut image may still hold what evaluation crops.
            load_image(path, 32, resize="square")
        except InputError as error:
            return error
        return None

    readable, skipped = [], list(images.skipped)
    for index, error in enumerate(_map_images(error_of, images, progress)):
        if not error:
            readable.append(index)
        elif on_error == "raise":
            raise error
        else:
            skipped.append(str(error))
    if not readable:
        last = "".join(skipped[-1:])
        raise InputError(f"none of the {len(images)} images can be read; {last}")
    kept = images.take(np.array(readable))
    return dataclasses.replace(kept, skipped=tuple(skipped))


def calibration_images(images: Images, count: int, *, seed: int = 0) -> Images:
    """Draw images for quantization: balanced over classes, no image twice.

    At most `count` of training images, never validation or test. Of files with the
    same bytes, one is drawn at most.

    Raises:
        InputError: `count` is below 1, or there are no images.
    """
    if count < 1 or not len(images):
        raise InputError(
            f"calibration needs at least one image; got {count} of {len(images)}"
        )
    # The n-th image of every class comes before the (n+1)-th of any.
    turn_of = collections.defaultdict(itertools.count)
    turns = []
    for index in np.random.default_rng(seed).permutation(len(images)):
        label = int(images.labels[index])
        turns.append((next(turn_of[label]), label, index))
    drawn: dict[str, int] = {}
    for *_, index in sorted(turns):
        drawn.setdefault(file_digest(images.paths[index]), index)
        if len(drawn) == count:
            break
    return images.take(np.array(list(drawn.values())))


def _map_images(
    function: Callable, images: Images, progress: str | None, **ahead: int | None
) -> Iterable[Any]:
    """Return `function(path)` of every image, in order, with a progress bar."""
    stream = parallel.map_in_order(function, images.paths, **ahead)
    bar = {"unit": "image", "leave": False, "delay": 0.5, "disable": progress is None}
    # The bar is advanced where a result is taken, not where an image is sent off.
    return tqdm(stream, progress, len(images), **bar)
