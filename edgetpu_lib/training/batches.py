"""Augmented batches for `train`, read ahead by threads.

Seed and step alone decide what a batch holds, so that a training can resume.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.training import augment, devices
from edgetpu_lib.training.settings import Recipe

BATCHES_AHEAD = 2


@dataclasses.dataclass(eq=False)
class TrainingBatches:
    """The batches of one training.

    Attributes:
        image_size: height and width, pixels.
        label_offset: added to every label.
        seed: of order and augmentation.
        parts: number of independent orders, which share every batch equally and are
            divided among the processes.
        on_error: "raise", or "skip" for images that cannot be read.
        skipped: errors of the images left out so far, by path.
    """

    images: data.Images
    recipe: Recipe
    image_size: int
    label_offset: int = 0
    seed: int = 0
    parts: int = 1
    on_error: str = "raise"
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate the fields and divide the images into parts."""
        batch_size, parts = self.recipe.batch_size, self.parts
        if self.on_error not in ("raise", "skip"):
            raise InputError(
                f"on_error={self.on_error!r} is unknown; use raise or skip"
            )
        processes = devices.process()[1]
        if parts % processes:
            raise InputError(
                f"parts={parts} must be a multiple of the {processes} processes"
            )
        if batch_size % parts or batch_size > len(self.images):
            raise InputError(
                f"batch_size={batch_size} must be a multiple of the {parts} parts and"
                f" at most the {len(self.images)} images"
            )
        self._parts = _divide(self.images, parts)
        self._vary = augment.BatchAugmentation(self.recipe)

    def from_step(
        self, first: int, last: int
    ) -> contextlib.closing[Iterator[tuple[np.ndarray, np.ndarray]]]:
        """Open this process's share of the batches of steps `first` … `last` − 1.

        Each is float32 [batch, size, size, 3], normalised, and float32 [batch,
        classes], one-hot.
        """
        return contextlib.closing(self._stream(first, last))

    def describe(self, step: int) -> str:
        """Return the first images of a step's batch, for an error message."""
        return first_names(
            self.images.paths[self._index(*place)] for place in self._places(step)
        )

    def _stream(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        places = (place for step in range(first, last) for place in self._places(step))
        own_batch = self.recipe.batch_size // devices.process()[1]
        read = parallel.map_in_order(
            self._read, places, ahead=BATCHES_AHEAD * own_batch
        )
        with contextlib.closing(read):
            for step in range(first, last):
                yield self._gather(step, read)

    def _gather(
        self, step: int, read: Iterator[tuple[np.ndarray, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take a batch of the images that were read, and augment it part by part."""
        shares = []
        classes = len(self.images.class_names) + self.label_offset
        for part in self._own_parts:
            images, labels = zip(*itertools.islice(read, self._share), strict=True)
            targets = one_hot(np.array(labels) + self.label_offset, classes)
            shares.append(self._vary(np.stack(images), targets, (step, part)))
        arrays, targets = map(np.concatenate, zip(*shares, strict=True))
        return pixels.normalize(arrays), targets

    @property
    def _share(self) -> int:
        """Number of images of a batch that each part gives."""
        return self.recipe.batch_size // self.parts

    @property
    def _own_parts(self) -> range:
        """The parts that this process reads, in the order of the global batch."""
        index, count = devices.process()
        return range(index * self.parts // count, (index + 1) * self.parts // count)

    def _places(self, step: int) -> Iterator[tuple[int, int]]:
        """Yield (part, position in its order) of the images of a step's batch."""
        positions = range(step * self._share, (step + 1) * self._share)
        return itertools.product(self._own_parts, positions)

    def _read(self, place: tuple[int, int]) -> tuple[np.ndarray, int]:
        """Return crop and label of the image at a place, or the next readable one."""
        part, position = place
        for further in range(len(self._parts[part])):
            index = self._index(part, position, further)
            epoch = position // len(self._parts[part])
            try:
                image = augment.random_crop(
                    self.images.paths[index],
                    self.image_size,
                    (self.seed * 1_000_003 + epoch, index),
                    resize=self.recipe.resize,
                    min_area=self.recipe.min_crop_area,
                    resize_method=self.recipe.resize_method,
                )
            except InputError as error:
                if self.on_error == "raise":
                    raise
                self.skipped[str(self.images.paths[index])] = str(error)
                continue
            return image, int(self.images.labels[index])
        first_error = next(iter(self.skipped.values()))
        raise InputError(f"no image can be read; the first error: {first_error}")

    def _index(self, part: int, position: int, further: int = 0) -> int:
        epoch, rank = divmod(position, len(self._parts[part]))
        order = self._order(part, epoch)
        return int(order[(rank + further) % len(order)])

    @functools.lru_cache(maxsize=32)  # noqa: B019 — one object a training
    def _order(self, part: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch, part])
        return rng.permutation(self._parts[part])


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return one-hot targets, float32 [number, classes]."""
    return np.eye(classes, dtype=np.float32)[labels]


def first_names(names: Iterable[Any]) -> str:
    """Return the first three names, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _divide(images: data.Images, parts: int) -> list[np.ndarray]:
    """Divide the images' indices into parts: by whole shards if there are enough."""
    shards = [getattr(path, "shard", None) for path in images.paths]
    names = sorted({str(shard) for shard in shards})
    if None not in shards and len(names) >= parts:
        turn = {name: number % parts for number, name in enumerate(names)}
        part_of = np.array([turn[str(shard)] for shard in shards])
    else:
        part_of = np.arange(len(images)) % parts
    return [np.flatnonzero(part_of == part) for part in range(parts)]
