"""Measure any model with the same numbers on the same images.

Takes a classifier and images; gives the best answers to each image, and what `metrics`
makes of them.
Next: `deploy` puts the measured file to work.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.evaluation import journal as answer_journal
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.evaluation.classifiers import Classifier, measure_latency
from edgetpu_lib.tflite import interpreter

# An interruption costs at most the answers of so long.
JOURNAL_SECONDS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """All that was found out about a model on a set of images.

    Attributes:
        metrics: accuracies with their intervals.
        label_shift: 0, or by how much the labels seem to be shifted (−1, 1).
        classes: how well each class is recognised.
        mistakes: positions of wrong answers, the most confident first.
        latency: of one inference without decoding, one thread.
        photos_per_s: with decoding, all cores.
        predictions: to every image.
        labels: int [images], indices of the model's outputs.
        names: one for each of the model's outputs.
    """

    metrics: metrics.Metrics
    label_shift: int
    classes: tuple[metrics.ClassRow, ...]
    mistakes: np.ndarray
    latency: interpreter.Latency
    photos_per_s: float
    predictions: metrics.Predictions
    labels: np.ndarray
    names: tuple[str, ...]


def predict(
    classifier: Classifier,
    images: data.Images,
    *,
    workers: int | None = None,
    journal_dir: str | Path | None = None,
    progress: str | None = "evaluating",
) -> metrics.Predictions:
    """Answer images, in constant memory and with all cores.

    The answers do not depend on the number of workers.

    Args:
        classifier: from `classifiers.open_classifier`.
        images: what to answer.
        workers: threads; `None` takes one a core.
        journal_dir: keeps the answers of an interrupted call, so that the next one
            with the same model goes on from there; `None` keeps nothing.
        progress: title of the progress bar; `None` shows none.

    Raises:
        InputError: an image cannot be used, or the model fails on it; it is named.
    """
    rows = answer_journal.empty_rows(images)
    journal = Path(journal_dir) / classifier.digest if journal_dir else None
    known = np.zeros(len(rows), bool)
    if journal:
        known = answer_journal.restore(journal, rows)
    missing = np.flatnonzero(~known)
    stream = _predictions(classifier, images.take(missing), workers)
    done = kept = 0
    kept_at = time.monotonic()
    with tqdm(
        desc=progress,
        total=len(images),
        initial=int(known.sum()),
        unit="image",
        leave=False,
        delay=0.5,
        disable=progress is None,
    ) as bar:
        try:
            for predictions in stream:
                places = missing[done : done + len(predictions)]
                count = predictions.indices.shape[1]
                rows["indices"][places, :count] = predictions.indices
                rows["probabilities"][places, :count] = predictions.probabilities
                done += len(predictions)
                bar.update(len(predictions))
                if journal and time.monotonic() - kept_at > JOURNAL_SECONDS:
                    answer_journal.append(journal, rows[missing[kept:done]])
                    kept, kept_at = done, time.monotonic()
        except BaseException:
            if journal:
                answer_journal.append(journal, rows[missing[kept:done]])
            raise
    if journal:
        journal.unlink(missing_ok=True)
    count = min(metrics.KEPT_PREDICTIONS, classifier.classes)
    return metrics.Predictions(
        rows["indices"][:, :count], rows["probabilities"][:, :count], classifier.classes
    )


def _predictions(
    classifier: Classifier, images: data.Images, workers: int | None
) -> Iterator[metrics.Predictions]:
    """Yield the answers to one or more images at a time, in order."""

    def load_and_predict(path: Any) -> metrics.Predictions:
        image = data.load_image(path, classifier.image_size)
        return _predict_batch(classifier, image[None], [path])

    if classifier.batch_size == 1:
        yield from parallel.map_in_order(
            load_and_predict, images.paths, workers=workers
        )
        return
    paths = iter(images.paths)
    for arrays in data.iterate_batches(
        images, classifier.image_size, batch_size=classifier.batch_size, workers=workers
    ):
        yield _predict_batch(
            classifier, arrays, list(itertools.islice(paths, len(arrays)))
        )


def _predict_batch(
    classifier: Classifier, images: np.ndarray, paths: list[Any]
) -> metrics.Predictions:
    """Answer images; whatever the model raises names the image.

    Raises:
        InputError: the model failed.
    """
    try:
        return metrics.best_predictions(classifier.predict(images))
    except Exception as error:  # Runtimes raise many kinds.
        more = f" or the {len(paths) - 1} after it" if len(paths) > 1 else ""
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{classifier.name} fails on {paths[0]}{more} ({reason}); look at that"
            " image, or make the model again"
        ) from error


def evaluate(
    classifier: Classifier,
    images: data.Images,
    *,
    label_offset: int = 0,
    **prediction: Any,
) -> Evaluation:
    """Answer images and compare with the truth.

    Args:
        classifier: from `classifiers.open_classifier`.
        images: with labels.
        label_offset: added to every label: 1 where output 0 is the background.
        **prediction: options of `predict`.

    Raises:
        InputError: as `predict`, or labels do not fit the model.
    """
    labels = images.labels + label_offset
    if len(labels) and labels.max() >= classifier.classes:
        raise InputError(
            f"label {labels.max()} does not fit {classifier.classes} outputs; check the"
            " labels, --num_classes and --include_background_label"
        )
    start = time.perf_counter()
    predictions = predict(classifier, images, **prediction)
    seconds = time.perf_counter() - start
    names = output_names(images, classifier.classes, label_offset)
    return Evaluation(
        metrics=metrics.measure(predictions, labels),
        label_shift=metrics.label_shift(predictions, labels),
        classes=tuple(metrics.per_class(predictions, labels, names)),
        mistakes=metrics.confident_mistakes(predictions, labels),
        latency=measure_latency(classifier),
        photos_per_s=len(images) / seconds,
        predictions=predictions,
        labels=labels,
        names=names,
    )


def output_names(
    images: data.Images, classes: int, label_offset: int
) -> tuple[str, ...]:
    """Return a name for each of a model's outputs; a number where there is none."""
    names = ("background",) * label_offset + images.class_names
    return names + tuple(str(index) for index in range(len(names), classes))
