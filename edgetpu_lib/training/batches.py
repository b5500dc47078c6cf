"""Augmented batches for `train`, read ahead by threads.

Takes images and a recipe; gives batches from any step on. Seed and step alone decide
what they hold, so that a resumed training gets those of an uninterrupted one.
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
from edgetpu_lib.training.recipe import Recipe

BATCHES_AHEAD = 2


@dataclasses.dataclass(eq=False)
class TrainingBatches:
    """The batches of one training.

    Attributes:
        images: to train on.
        recipe: batch size and augmentation.
        image_size: height and width, pixels.
        label_offset: added to every label: so many logits come before the classes.
        seed: of order and augmentation.
        parts: number of independent orders, which share every batch equally; of several
            processes each reads its own.
        on_error: "raise", or "skip" for images that cannot be read.
        skipped: the error of every image that was left out so far, by its name.
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
        """Divide the images; nothing is read yet.

        Raises:
            InputError: the numbers do not go together.
        """
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
        self._vary = augment.BatchAugmentation(
            randaugment=self.recipe.randaugment, mixup=self.recipe.mixup
        )

    def from_step(
        self, first: int, last: int
    ) -> contextlib.closing[Iterator[tuple[np.ndarray, np.ndarray]]]:
        """Open the batches of steps `first` … `last` − 1.

        Each is float32 [batch, size, size, 3], normalised, and float32 [batch,
        classes], one-hot. Of several processes each gets its share.
        """
        return contextlib.closing(self._stream(first, last))

    def describe(self, step: int) -> str:
        """Return the first images of a step's batch, for an error."""
        return first_names(
            self.images.paths[self._index(part, position)]
            for part, positions in self._positions(step)
            for position in positions
        )

    def _stream(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        places = (
            (part, position)
            for step in range(first, last)
            for part, positions in self._positions(step)
            for position in positions
        )
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
        """Take a batch from the images that were read, and vary it."""
        shares = []
        classes = len(self.images.class_names) + self.label_offset
        for part, positions in self._positions(step):
            share = itertools.islice(read, len(positions))
            images, labels = zip(*share, strict=True)
            targets = one_hot(np.array(labels) + self.label_offset, classes)
            shares.append(self._vary(np.stack(images), targets, (step, part)))
        arrays, targets = map(np.concatenate, zip(*shares, strict=True))
        return pixels.normalize(arrays), targets

    def _positions(self, step: int) -> Iterator[tuple[int, range]]:
        """Yield each part that this process reads, and the positions in its order."""
        share = self.recipe.batch_size // len(self._parts)
        for part in _own_parts(len(self._parts)):
            yield part, range(step * share, (step + 1) * share)

    def _read(self, place: tuple[int, int]) -> tuple[np.ndarray, int]:
        """Read and vary the image at a position, or the next that can be read."""
        part, position = place
        for further in range(len(self._parts[part])):
            index = self._index(part, position, further)
            epoch = position // len(self._parts[part])
            try:
                image = augment.random_crop(
                    self.images.paths[index],
                    self.image_size,
                    (self.seed * 1_000_003 + epoch, index),
                    min_area=self.recipe.min_crop_area,
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
    """Return float32 [number, classes]: one at each label, zero elsewhere."""
    return np.eye(classes, dtype=np.float32)[labels]


def first_names(names: Iterable[Any]) -> str:
    """Return the first three names, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _divide(images: data.Images, parts: int) -> list[np.ndarray]:
    """Return the images' indices in parts: whole shards where there are enough."""
    shards = [getattr(path, "shard", None) for path in images.paths]
    names = sorted({str(shard) for shard in shards})
    if None not in shards and len(names) >= parts:
        turn = {name: number % parts for number, name in enumerate(names)}
        part_of = np.array([turn[str(shard)] for shard in shards])
    else:
        part_of = np.arange(len(images)) % parts
    return [np.flatnonzero(part_of == part) for part in range(parts)]


def _own_parts(parts: int) -> range:
    """Return the parts that this process reads, in the order of the global batch."""
    index, count = devices.process()
    return range(index * parts // count, (index + 1) * parts // count)
