"""Save partial predictions, so that an interrupted evaluation can resume."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.journal import Journal
from edgetpu_lib.evaluation.classifiers import Classifier
from edgetpu_lib.evaluation.metrics import KEPT_PREDICTIONS, Predictions

# A killed process loses at most the predictions of this time.
SAVE_EVERY_S = 10


class PartialPredictions(contextlib.AbstractContextManager):
    """A model's predictions for images, completed batch by batch.

    As a context manager it saves what is not saved yet if the block fails or the
    journal is to be kept, and deletes the journal if the block succeeds otherwise.

    Attributes:
        predictions: for all images; zeros where they are missing.
        missing: int64, positions of the images that have none at the start.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: data.Images,
        folder: str | Path | None,
        *,
        keep: bool = False,
    ) -> None:
        """Restore the predictions that an interrupted evaluation saved.

        The journal in `folder` is named by the model's digest; `None` saves nothing.
        With `keep` it stays until `delete_journals`.

        Raises:
            InputError: the journal cannot be read.
        """
        shape = len(images), min(KEPT_PREDICTIONS, classifier.classes)
        self.predictions = Predictions(
            np.zeros(shape, np.int32), np.zeros(shape, np.float32), classifier.classes
        )
        self.missing = np.arange(len(images))
        self._done = self._saved = 0
        self._saved_at = time.monotonic()
        self._journal = None
        self._keep = keep
        if folder:
            self._keys = [_image_key(path) for path in images.paths]
            path = _journal_path(folder, classifier.digest)
            self._journal = Journal(path, {"model": classifier.digest})
            self._restore()

    def _restore(self) -> None:
        rows = {key: values for key, *values in self._journal.rows}
        self._journal.rows.clear()
        known = np.array([key in rows for key in self._keys], bool)
        self.missing = np.flatnonzero(~known)
        for place in np.flatnonzero(known):
            indices, probabilities = rows[self._keys[place]]
            self.predictions.indices[place] = indices
            self.predictions.probabilities[place] = probabilities

    def add(self, batch: Predictions) -> None:
        """Take the predictions for the next of the missing images."""
        places = self.missing[self._done : self._done + len(batch)]
        self.predictions.indices[places] = batch.indices
        self.predictions.probabilities[places] = batch.probabilities
        self._done += len(batch)
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        """Append the new rows; a folder or a disk that takes none is no failure."""
        if not self._journal or self._saved == self._done:
            return
        places = self.missing[self._saved : self._done]
        rows = zip(
            [self._keys[place] for place in places],
            self.predictions.indices[places].tolist(),
            self.predictions.probabilities[places].tolist(),
            strict=True,
        )
        with contextlib.suppress(InputError):
            self._journal.append(*rows)
            self._saved = self._done
        self._saved_at = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Save the predictions, or delete the journal that is not needed any more."""
        if kind or self._keep:
            self._save()
        elif self._journal:
            self._journal.delete()


def _journal_path(folder: str | Path, digest: str) -> Path:
    return Path(folder) / f"{digest}.jsonl"


def delete_journals(folder: str | Path, digests: Iterable[str]) -> None:
    """Delete the journals of models; call it once the results are written."""
    for digest in digests:
        with contextlib.suppress(OSError):
            _journal_path(folder, digest).unlink()


def _image_key(path: Any) -> str:
    """Return a key of the path, size and modification time of an image or record."""
    try:
        status = os.stat(getattr(path, "shard", path))
        facts = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        facts = "missing"
    return hashlib.sha256(f"{path}\0{facts}".encode()).hexdigest()[:16]
