"""Labelled images, wherever they are stored: files, labels and class names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.plain_files import read_plain_file
from edgetpu_lib.datasets.tfrecord import Record


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled image files; labels and class names always travel together.

    Attributes:
        paths: the files, or `tfrecord.Record`s, which are read like files.
        labels: int64 [number of images], indices into `class_names`.
        class_names: one per class; of class folders sorted.
        data_dir: the folder they were listed from, as it was given.
        skipped: one line for every damaged image that was left out on request.
        split: "train", "validation", "test", or "all" if they were not split.
        notes: one line for everything in the folder that was not taken as it lies.
    """

    paths: tuple[Path | Record, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    data_dir: str = ""
    skipped: tuple[str, ...] = ()
    split: str = "all"
    notes: tuple[str, ...] = ()

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

    def in_order_of(self, class_names: Sequence[str]) -> Images:
        """Return the images with labels that count classes in another order.

        Names are compared without regard to case, and to "_" and "-" for a space.
        Images whose classes are not these, or not all of these, stay as they are.
        """
        old, new = (
            [re.sub("[_-]", " ", name).casefold() for name in names]
            for names in (self.class_names, class_names)
        )
        if sorted(old) != sorted(new) or len(set(new)) < len(new):
            return self
        order = np.array([new.index(name) for name in old], np.int64)
        return dataclasses.replace(
            self, labels=order[self.labels], class_names=tuple(class_names)
        )


def file_digest(path: Path | Record) -> str:
    """Return the SHA-256 of an encoded image, in hex.

    Of a file that cannot be read it is that of its name: splitting images must not stop
    at one that is left out later.
    """
    try:
        content = read_plain_file(path) if isinstance(path, Path) else path.read_bytes()
    except InputError:
        content = f"unreadable {path.name}".encode()
    return hashlib.sha256(content).hexdigest()


def digest_of(images: Images) -> str:
    """Return the SHA-256 of the images' bytes, in their order, in hex."""
    digests = [file_digest(path) for path in images.paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def list_digest(images: Images) -> str:
    """Return the SHA-256 of the images' names, labels and order, in hex.

    It reads no image, so that a million of them take a second.
    """
    digest = hashlib.sha256(json.dumps(images.class_names).encode())
    for path, label in zip(images.paths, images.labels, strict=True):
        digest.update(f"{path.name}\0{label}\n".encode())
    return digest.hexdigest()
