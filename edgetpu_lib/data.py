"""Find photos, split them without leaks, and load them as the reference does.

Takes a folder of class folders (or the embedded rendered flowers); gives splits,
batches and calibration pictures.
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

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
RENDERED = "rendered_flowers"
SPLIT_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


@dataclasses.dataclass(frozen=True)
class Photos:
    """Labelled photo files; labels and class names always travel together.

    Attributes:
        paths: the files, or `records.Record`s, which read like files.
        labels: int64 [number of photos], indices into `class_names`.
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
        """Return the number of photos."""
        return len(self.paths)

    def take(self, indices: np.ndarray) -> Photos:
        """Return the photos at `indices`, in that order."""
        paths = tuple(self.paths[i] for i in indices)
        return dataclasses.replace(self, paths=paths, labels=self.labels[indices])

    def sample(self, count: int, *, seed: int = 0) -> Photos:
        """Return at most `count` photos, drawn at random, in their old order."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(np.sort(order[:count]))


def open_data_set(
    data_dir: str | Path,
    *,
    cache_dir: str | Path = "artifacts",
    images_per_class: int = 200,
    seed: int = 0,
) -> Photos:
    """Open a folder of class folders, or draw the embedded data set.

    Args:
        data_dir: a folder of class folders, or "rendered_flowers".
        cache_dir: where rendered flowers are kept between runs.
        images_per_class: of the rendered flowers.
        seed: of the rendered flowers.

    Raises:
        InputError: as `list_photos`, or the cache cannot be written.
    """
    if str(data_dir) != RENDERED:
        return list_photos(data_dir)
    folder = Path(cache_dir) / f"{RENDERED}-{images_per_class}-seed-{seed}"
    return list_photos(
        rendered.rendered_flowers(folder, images_per_class=images_per_class, seed=seed)
    )


def list_photos(data_dir: str | Path) -> Photos:
    """List the photos of a folder of class folders.

    Args:
        data_dir: `data_dir/<class name>/<photo>`; other files are passed over.

    Returns:
        All photos, sorted by class and file name.

    Raises:
        InputError: the folder is missing, has fewer than two class folders, or a
            class folder holds no picture.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder; give a folder of class folders")
    folders = _class_folders(data_dir)
    if len(folders) < 2:
        found = f"only {folders[0].name!r}" if folders else "none"
        raise InputError(
            f"{data_dir} must hold at least two class folders, one a class, with"
            f" photos in them; found {found}"
        )
    groups = [_pictures_in(folder) for folder in folders]
    for folder, group in zip(folders, groups, strict=True):
        if not group:
            raise InputError(
                f"{folder} holds no picture; add some or remove the folder"
            )
    counts = [len(group) for group in groups]
    return Photos(
        paths=tuple(itertools.chain.from_iterable(groups)),
        labels=np.repeat(np.arange(len(folders)), counts),
        class_names=tuple(folder.name for folder in folders),
        data_dir=str(data_dir),
    )


def list_pictures(data_dir: str | Path) -> Photos:
    """List pictures for calibration, whose labels do not matter.

    Args:
        data_dir: a folder of class folders, or of pictures at any depth.

    Returns:
        As `list_photos`; one class of the folder's name if it has no class folders.

    Raises:
        InputError: the folder is missing or holds no picture.
    """
    data_dir = Path(data_dir)
    if len(_class_folders(data_dir)) > 1:
        return list_photos(data_dir)
    paths = _pictures_in(data_dir)
    if not paths:
        raise InputError(f"{data_dir} holds no picture; give a folder of photos")
    labels = np.zeros(len(paths), np.int64)
    return Photos(tuple(paths), labels, (data_dir.name,), str(data_dir))


def _class_folders(data_dir: Path) -> list[Path]:
    return sorted(
        path
        for path in data_dir.glob("*")
        if path.is_dir() and not path.name.startswith(".")
    )


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )


def split_photos(photos: Photos, *, seed: int = 0) -> dict[str, Photos]:
    """Split into train (70 %), validation (10 %) and test (20 %), class by class.

    Files with the same bytes always fall on the same side, so that no test photo was
    ever trained on. The same photos and seed give the same split on any machine.

    Args:
        photos: from `list_photos`.
        seed: of the shuffle.

    Returns:
        "train", "validation" and "test".

    Raises:
        InputError: a class has fewer than three different photos.
    """
    digests = [_digest(path) for path in _progress(photos.paths, "comparing photos")]
    classes_by_digest = {
        d: label for d, label in zip(digests, photos.labels, strict=True)
    }
    rng = np.random.default_rng(seed)
    side_of = {}
    for label, name in enumerate(photos.class_names):
        unique = sorted(d for d, known in classes_by_digest.items() if known == label)
        if len(unique) < 3:
            raise InputError(
                f"class {name!r} has {len(unique)} different photos; a split into"
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
    return {side: photos.take(np.flatnonzero(sides == side)) for side in SPLIT_SHARES}


def load_picture(
    path: str | Path,
    image_size: int,
    *,
    method: str = "bicubic",
    whole_square: bool = False,
) -> np.ndarray:
    """Load a picture exactly as the reference's evaluation does.

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
        InputError: the picture cannot be used; the message says why.
    """
    encoded, image = pixels.open_picture(path)
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
    photos: Photos,
    image_size: int,
    *,
    progress: str | None = None,
    workers: int | None = None,
    ahead: int | None = None,
    **load: object,
) -> Iterator[np.ndarray]:
    """Yield each photo's pixels in order, decoded ahead by several threads.

    Args:
        photos: what to load.
        image_size: height and width.
        progress: title of a progress bar; `None` shows none.
        workers: threads; `None` takes one a core.
        ahead: photos decoded before they are asked for; `None` takes a few a core.
        **load: options of `load_picture`.

    Yields:
        float32 [image_size, image_size, 3], 0..255 with bicubic overshoot.

    Raises:
        InputError: a picture cannot be used; the message names it.
    """
    load_one = functools.partial(load_picture, image_size=image_size, **load)
    # The bar is advanced where a result is taken, not where a photo is sent off.
    stream = parallel.map_in_order(load_one, photos.paths, workers=workers, ahead=ahead)
    yield from _progress(stream, progress, len(photos))


def iterate_batches(
    photos: Photos,
    image_size: int,
    *,
    batch_size: int = 32,
    progress: str | None = None,
    workers: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield photos in batches: float32 [≤ batch_size, size, size, 3], 0..255.

    While one batch is worked on, the next is decoded.
    """
    stream = iterate_pixels(
        photos, image_size, progress=progress, workers=workers, ahead=batch_size
    )
    while batch := list(itertools.islice(stream, batch_size)):
        yield np.stack(batch)


def load_pixels(
    photos: Photos, image_size: int, *, progress: str | None = None, **load: object
) -> np.ndarray:
    """Load all photos into one array: uint8 [number, size, size, 3], 0..255.

    Args:
        photos: what to load.
        image_size: height and width.
        progress: title of a progress bar; `None` shows none.
        **load: options of `load_picture`.

    Raises:
        InputError: a picture cannot be used; the message names it.
    """
    images_u8 = np.empty((len(photos), image_size, image_size, 3), np.uint8)
    stream = iterate_pixels(photos, image_size, progress=progress, **load)
    for index, picture in enumerate(stream):
        images_u8[index] = pixels.to_uint8(picture)
    return images_u8


def calibration_photos(photos: Photos, count: int, *, seed: int = 0) -> Photos:
    """Draw photos for quantization: balanced over classes, no picture twice.

    Of files with the same bytes, one is drawn at most.

    Args:
        photos: training photos; never validation or test.
        count: how many at most.
        seed: of the draw.

    Raises:
        InputError: `count` is below 1, or there are no photos.
    """
    if count < 1 or not len(photos):
        raise InputError(
            f"calibration needs at least one photo; got {count} of {len(photos)}"
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(photos))
    # The n-th photo of every class comes before the (n+1)-th of any.
    seen: collections.Counter = collections.Counter()
    turns = []
    for index in shuffled:
        label = int(photos.labels[index])
        turns.append((seen[label], label, index))
        seen[label] += 1
    drawn, digests = [], set()
    for *_, index in sorted(turns):
        digest = _digest(photos.paths[index])
        if digest not in digests:
            digests.add(digest)
            drawn.append(index)
        if len(drawn) == count:
            break
    return photos.take(np.array(drawn))


def digest_of(photos: Photos) -> str:
    """Return the SHA-256 of the photos' bytes, in their order, in hex."""
    digests = [_digest(path) for path in photos.paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def list_digest(photos: Photos) -> str:
    """Return the SHA-256 of the photos' names, labels and order, in hex.

    No photo is read, so that a million of them take a second.
    """
    digest = hashlib.sha256(json.dumps(photos.class_names).encode())
    for path, label in zip(photos.paths, photos.labels, strict=True):
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
        unit="photo",
        leave=False,
        delay=0.5,
        disable=title is None,
    )
