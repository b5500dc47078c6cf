"""Shuffled, cropped and mirrored batches for `fine_tune`, read as they are needed."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.images import pixels
from edgetpu_lib.training.batches import first_names, one_hot

# Of decoded images, kept in memory: 1,300 of 256 pixels, all of the tutorial's.
CACHE_BYTES = 256 << 20
# Of one size, batches are compiled once and spread evenly over devices.
EVALUATION_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled inputs that several threads read one at a time.

    Attributes:
        read: takes an index; gives uint8 [side, side, 3], 0..255, or float32 features.
        labels: int64 [number].
        classes: number of classes.
        names: of the examples, for error messages.
    """

    read: Callable[[int], np.ndarray]
    labels: np.ndarray
    classes: int
    names: tuple[Any, ...] | range

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)


def from_array(inputs: np.ndarray, labels: np.ndarray, classes: int) -> Examples:
    """Return the rows of an array: uint8 images or float32 features."""
    return Examples(inputs.__getitem__, labels, classes, range(len(inputs)))


def from_images(
    images: data.Images, image_size: int, *, progress: str, **load: Any
) -> Examples:
    """Return images that are decoded when they are read.

    The last used ones stay in memory, up to `CACHE_BYTES`. All are read once now, with
    a progress bar, so that a damaged image fails before the training. `load` are
    options of `data.load_image`.

    Raises:
        InputError: an image cannot be decoded.
    """

    @functools.lru_cache(max(1, CACHE_BYTES // (3 * image_size**2)))
    def read(index: int) -> np.ndarray:
        image = data.load_image(images.paths[index], image_size, **load)
        return pixels.to_uint8(image)

    all_read = parallel.map_in_order(read, range(len(images)))
    bar = {"total": len(images), "unit": "image", "leave": False, "delay": 0.5}
    collections.deque(tqdm(all_read, progress, **bar), maxlen=0)
    return Examples(read, images.labels, len(images.class_names), images.paths)


def in_order(examples: Examples) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all examples for `loop.evaluate`: float32 inputs and int64 labels."""

    def read(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _as_input(map(examples.read, chunk)), examples.labels[chunk]

    starts = range(EVALUATION_BATCH, len(examples), EVALUATION_BATCH)
    chunks = np.split(np.arange(len(examples)), starts)
    yield from parallel.map_in_order(read, chunks, ahead=1)


@dataclasses.dataclass(frozen=True, eq=False)
class ShuffledBatches:
    """Examples in a new order each epoch; images are cropped and mirrored at random.

    Attributes:
        batch_size: examples per batch; all, if there are fewer.
        seed: of order, crops and mirroring.
        crop_size: height and width of random crops, pixels; `None` takes examples as
            they are.
    """

    examples: Examples
    batch_size: int
    seed: int
    crop_size: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches; the examples left over are not used."""
        return max(1, len(self.examples) // self.batch_size)

    def from_step(
        self, first: int, last: int
    ) -> contextlib.closing[Iterator[tuple[np.ndarray, np.ndarray]]]:
        """Open the batches of steps `first` … `last` − 1.

        Each is float32 [batch, …], normalised where they are images, and float32
        [batch, classes], one-hot.
        """
        plan = itertools.islice(self._plan(), first, last)
        # A whole batch per task: passing single images takes longer than cropping.
        return contextlib.closing(
            parallel.map_in_order(self._batch, plan, ahead=parallel.cores())
        )

    def describe(self, step: int) -> str:
        """Return the first examples of a step's batch, for an error message."""
        chosen, *_ = next(itertools.islice(self._plan(), step, None))
        return first_names(self.examples.names[index] for index in chosen)

    def _plan(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield for every step: indices, crop corners, and which images to mirror."""
        order_rng = np.random.default_rng(self.seed)
        crop_rng = np.random.default_rng([self.seed, 1])
        size = min(self.batch_size, len(self.examples))
        margin = self.crop_size and len(self.examples.read(0)) - self.crop_size
        while True:
            order = order_rng.permutation(len(self.examples))
            for start in range(0, len(order) - size + 1, size):
                corners = crop_rng.integers(0, (margin or 0) + 1, (size, 2))
                mirrored = crop_rng.random(size) < 0.5
                yield order[start : start + size], corners, mirrored

    def _batch(
        self, drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen, corners, mirrored = drawn
        inputs = map(self.examples.read, chosen)
        if size := self.crop_size:
            inputs = [
                image[top : top + size, left : left + size][:, :: -1 if mirror else 1]
                for image, (top, left), mirror in zip(
                    inputs, corners, mirrored, strict=True
                )
            ]
        targets = one_hot(self.examples.labels[chosen], self.examples.classes)
        return _as_input(inputs), targets


def _as_input(examples: Iterable[np.ndarray]) -> np.ndarray:
    """Stack examples to a float32 batch; images are normalised, features are not."""
    batch = np.stack(list(examples))
    return pixels.normalize(batch) if batch.dtype == np.uint8 else batch
