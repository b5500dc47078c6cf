"""Find images, split them without leaks, and load them as the reference does.

Takes a folder of class folders (or the embedded rendered flowers); gives splits,
batches and calibration images.
Next: `train`, `convert` and `evaluate` read what is loaded here.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.tfrecord import Record
from edgetpu_lib.images import pixels, rendered

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
RENDERED = "rendered_flowers"
SPLIT_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled image files; labels and class names always travel together.

    Attributes:
        paths: the files, or `records.Record`s, which read like files.
        labels: int64 [number of images], indices into `class_names`.
        class_names: one a class, sorted.
        data_dir: the folder they were listed from, as it was given.
        skipped: one line for every damaged record that was left out, on request.
    """

    paths: tuple[Path | Record, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    data_dir: str = ""
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def take(self, indices: np.ndarray) -> Images:
        """Return the images at `indices`, in that order."""
        paths = tuple(self.paths[i] for i in indices)
        return dataclasses.replace(self, paths=paths, labels=self.labels[indices])

    def sample(self, count: int, *, seed: int = 0) -> Images:
        """Return at most `count` images, drawn at random, in their old order."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(np.sort(order[:count]))


def open_data_set(
    data_dir: str | Path,
    *,
    cache_dir: str | Path = "artifacts",
    images_per_class: int = 200,
    seed: int = 0,
) -> Images:
    """Open a folder of class folders, or draw the embedded data set.

    Args:
        data_dir: a folder of class folders, or "rendered_flowers".
        cache_dir: where rendered flowers are kept between runs.
        images_per_class: of the rendered flowers.
        seed: of the rendered flowers.

    Raises:
        InputError: as `list_images`, or the cache cannot be written.
    """
    if str(data_dir) != RENDERED:
        return list_images(data_dir)
    folder = Path(cache_dir) / f"{RENDERED}-{images_per_class}-seed-{seed}"
    return list_images(
        rendered.rendered_flowers(folder, images_per_class=images_per_class, seed=seed)
    )


def list_images(data_dir: str | Path) -> Images:
    """List the images of a folder of class folders.

    Args:
        data_dir: `data_dir/<class name>/<image>`; other files are passed over.

    Returns:
        All images, sorted by class and file name.

    Raises:
        InputError: the folder is missing, has fewer than two class folders, or a
            class folder holds no image.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder; give a folder of class folders")
    folders = _class_folders(data_dir)
    if len(folders) < 2:
        found = f"only {folders[0].name!r}" if folders else "none"
        raise InputError(
            f"{data_dir} must hold at least two class folders, one a class, with"
            f" images in them; found {found}"
        )
    groups = [_images_in(folder) for folder in folders]
    for folder, group in zip(folders, groups, strict=True):
        if not group:
            raise InputError(f"{folder} holds no image; add some or remove the folder")
    counts = [len(group) for group in groups]
    return Images(
        paths=tuple(itertools.chain.from_iterable(groups)),
        labels=np.repeat(np.arange(len(folders)), counts),
        class_names=tuple(folder.name for folder in folders),
        data_dir=str(data_dir),
    )


def list_unlabelled(data_dir: str | Path) -> Images:
    """List images for calibration, whose labels do not matter.

    Args:
        data_dir: a folder of class folders, or of images at any depth.

    Returns:
        As `list_images`; one class of the folder's name if it has no class folders.

    Raises:
        InputError: the folder is missing or holds no image.
    """
    data_dir = Path(data_dir)
    if len(_class_folders(data_dir)) > 1:
        return list_images(data_dir)
    paths = _images_in(data_dir)
    if not paths:
        raise InputError(f"{data_dir} holds no image; give a folder of images")
    labels = np.zeros(len(paths), np.int64)
    return Images(tuple(paths), labels, (data_dir.name,), str(data_dir))


def _class_folders(data_dir: Path) -> list[Path]:
    return sorted(
        path
        for path in data_dir.glob("*")
        if path.is_dir() and not path.name.startswith(".")
    )


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def split_images(images: Images, *, seed: int = 0) -> dict[str, Images]:
    """Split into train (70 %), validation (10 %) and test (20 %), class by class.

    Files with the same bytes always fall on the same side, so that no test image was
    ever trained on. The same images and seed give the same split on any machine.

    Args:
        images: from `list_images`.
        seed: of the shuffle.

    Returns:
        "train", "validation" and "test".

    Raises:
        InputError: a class has fewer than three different images.
    """
    digests = [_digest(path) for path in _progress(images.paths, "comparing images")]
    classes_by_digest = {
        d: label for d, label in zip(digests, images.labels, strict=True)
    }
    rng = np.random.default_rng(seed)
    side_of = {}
    for label, name in enumerate(images.class_names):
        unique = sorted(d for d, known in classes_by_digest.items() if known == label)
        if len(unique) < 3:
            raise InputError(
                f"class {name!r} has {len(unique)} different images; a split into"
                " train, validation and test needs at least 3"
            )
        held_out = [
            max(1, round(SPLIT_SHARES[side] * len(unique)))
            for side in ("test", "validation")
        ]
        order = rng.permutation(len(unique))
        for position, index in enumerate(order):
            side = int(np.searchsorted(np.cumsum(held_out), position, side="right"))
            side_of[unique[index]] = ("test", "validation", "train")[side]
    sides = np.array([side_of[d] for d in digests])
    return {side: images.take(np.flatnonzero(sides == side)) for side in SPLIT_SHARES}


def load_image(
    path: str | Path,
    image_size: int,
    *,
    method: str = "bicubic",
    whole_square: bool = False,
) -> np.ndarray:
    """Load an image exactly as the reference's evaluation does.

    Args:
        path: JPEG (decoded by TensorFlow, bit for bit as the reference), or any other
            format Pillow knows.
        image_size: height and width of the result.
        method: the resize: "bicubic" (evaluation), or "bilinear" (what the reference
            trains these models with).
        whole_square: keep the largest centred square, not 87.5 % of it.

    Returns:
        float32 [image_size, image_size, 3], RGB, 0..255 with bicubic overshoot.

    Raises:
        InputError: the image cannot be used; the message says why.
    """
    encoded, image = pixels.open_image(path)
    width, height = image.size
    top, left, side = pixels.center_crop_box(height, width, image_size)
    if whole_square:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
    if image.format == "JPEG":
        crop = _decode_jpeg_crop(encoded, (top, left, side), path)
    else:
        crop = pixels.to_rgb(image, path)[top : top + side, left : left + side]
    return _resize(crop, image_size, method)


def _resize(crop: np.ndarray, image_size: int, method: str) -> np.ndarray:
    """Do what `pixels.resize` does, to the bit, two or three times as fast."""
    import tensorflow as tf

    if method not in ("bicubic", "bilinear"):
        return pixels.resize(crop, image_size, method)
    resize = {
        "bicubic": tf.raw_ops.ResizeBicubic,
        "bilinear": tf.raw_ops.ResizeBilinear,
    }[method]
    size = [image_size, image_size]
    return resize(images=crop[None], size=size, half_pixel_centers=False)[0].numpy()


def _decode_jpeg_crop(
    encoded: bytes, box: tuple[int, int, int], path: str | Path
) -> np.ndarray:
    """Decode a square of a JPEG with TensorFlow: uint8 [side, side, 3].

    Pillow's decoder uses another DCT and differs by up to 15 levels.
    """
    import tensorflow as tf

    top, left, side = box
    try:
        window = [top, left, side, side]
        return tf.io.decode_and_crop_jpeg(encoded, window, channels=3).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"{path} is a damaged or cut JPEG; replace or remove it"
        ) from error


def iterate_pixels(
    images: Images,
    image_size: int,
    *,
    progress: str | None = None,
    workers: int | None = None,
    ahead: int | None = None,
    **load: object,
) -> Iterator[np.ndarray]:
    """Yield each image's pixels in order, decoded ahead by several threads.

    Args:
        images: what to load.
        image_size: height and width.
        progress: title of a progress bar; `None` shows none.
        workers: threads; `None` takes one a core.
        ahead: images decoded before they are asked for; `None` takes a few a core.
        **load: options of `load_image`.

    Yields:
        float32 [image_size, image_size, 3], 0..255 with bicubic overshoot.

    Raises:
        InputError: an image cannot be used; the message names it.
    """
    load_one = functools.partial(load_image, image_size=image_size, **load)
    # The bar is advanced where a result is taken, not where an image is sent off.
    stream = parallel.map_in_order(load_one, images.paths, workers=workers, ahead=ahead)
    yield from _progress(stream, progress, len(images))


def iterate_batches(
    images: Images,
    image_size: int,
    *,
    batch_size: int = 32,
    progress: str | None = None,
    workers: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield images in batches: float32 [≤ batch_size, size, size, 3], 0..255.

    While one batch is worked on, the next is decoded.
    """
    stream = iterate_pixels(
        images, image_size, progress=progress, workers=workers, ahead=batch_size
    )
    while batch := list(itertools.islice(stream, batch_size)):
        yield np.stack(batch)


def load_pixels(
    images: Images, image_size: int, *, progress: str | None = None, **load: object
) -> np.ndarray:
    """Load all images into one array: uint8 [number, size, size, 3], 0..255.

    Args:
        images: what to load.
        image_size: height and width.
        progress: title of a progress bar; `None` shows none.
        **load: options of `load_image`.

    Raises:
        InputError: an image cannot be used; the message names it.
    """
    images_u8 = np.empty((len(images), image_size, image_size, 3), np.uint8)
    stream = iterate_pixels(images, image_size, progress=progress, **load)
    for index, image in enumerate(stream):
        images_u8[index] = pixels.to_uint8(image)
    return images_u8


def calibration_images(images: Images, count: int, *, seed: int = 0) -> Images:
    """Draw images for quantization: balanced over classes, no image twice.

    Of files with the same bytes, one is drawn at most.

    Args:
        images: training images; never validation or test.
        count: how many at most.
        seed: of the draw.

    Raises:
        InputError: `count` is below 1, or there are no images.
    """
    if count < 1 or not len(images):
        raise InputError(
            f"calibration needs at least one image; got {count} of {len(images)}"
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(images))
    # The n-th image of every class comes before the (n+1)-th of any.
    seen: collections.Counter = collections.Counter()
    turns = []
    for index in shuffled:
        label = int(images.labels[index])
        turns.append((seen[label], label, index))
        seen[label] += 1
    drawn, digests = [], set()
    for *_, index in sorted(turns):
        digest = _digest(images.paths[index])
        if digest not in digests:
            digests.add(digest)
            drawn.append(index)
        if len(drawn) == count:
            break
    return images.take(np.array(drawn))


def digest_of(images: Images) -> str:
    """Return the SHA-256 of the images' bytes, in their order, in hex."""
    digests = [_digest(path) for path in images.paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def list_digest(images: Images) -> str:
    """Return the SHA-256 of the images' names, labels and order, in hex.

    No image is read, so that a million of them take a second.
    """
    digest = hashlib.sha256(json.dumps(images.class_names).encode())
    for path, label in zip(images.paths, images.labels, strict=True):
        digest.update(f"{path.name}\0{label}\n".encode())
    return digest.hexdigest()


def _digest(path: Path | Record) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _progress(items, title: str | None, total: int | None = None):
    """Wrap `items` in a progress bar with time left, shown after half a second."""
    return tqdm(
        items,
        title,
        total,
        unit="image",
        leave=False,
        delay=0.5,
        disable=title is None,
    )
