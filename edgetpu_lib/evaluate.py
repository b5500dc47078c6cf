"""Measure any model with the same metrics on the same images.

Takes a classifier and labelled images; gives the predictions, and what `metrics`
computes from them.
Next: `deploy` runs the evaluated file.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.evaluation.classifiers import Classifier, measure_latency
from edgetpu_lib.evaluation.journal import PartialPredictions
from edgetpu_lib.evaluation.report import Evaluation


def predict(
    classifier: Classifier,
    images: data.Images,
    *,
    workers: int | None = None,
    journal_dir: str | Path | None = None,
    keep_journal: bool = False,
    progress: str | None = "evaluating",
) -> metrics.Predictions:
    """Predict images, in constant memory and with all cores.

    The predictions do not depend on the number of workers.

    Args:
        classifier: from `classifiers.open_classifier`.
        images: to predict.
        workers: threads; `None` takes one a core.
        journal_dir: where an interrupted call saves its predictions, so that the next
            call with the same model resumes; `None` saves nothing.
        keep_journal: leave the predictions of a complete call there too, until the
            caller has saved its results and calls `journal.delete_journals`.
        progress: title of the progress bar; `None` shows none.

    Raises:
        InputError: an image cannot be used, or the model fails on it; it is named.
    """
    partial = PartialPredictions(classifier, images, journal_dir, keep=keep_journal)
    stream = _predictions(classifier, images.take(partial.missing), workers)
    look = {"unit": "image", "leave": False, "delay": 0.5, "disable": progress is None}
    known = len(images) - len(partial.missing)
    bar = tqdm(desc=progress, total=len(images), initial=known, **look)
    with bar, partial:
        for batch in stream:
            partial.add(batch)
            bar.update(len(batch))
    return partial.predictions


def _predictions(
    classifier: Classifier, images: data.Images, workers: int | None
) -> Iterator[metrics.Predictions]:
    """Yield the predictions for one or more images at a time, in order."""

    def load_and_predict(path: Any) -> metrics.Predictions:
        image = data.load_image(path, classifier.image_size, resize=classifier.resize)
        return _predict_batch(classifier, image[None], [path])

    if classifier.batch_size == 1:
        options = {"workers": workers}
        yield from parallel.map_in_order(load_and_predict, images.paths, **options)
        return
    paths = iter(images.paths)
    options = {"batch_size": classifier.batch_size, "workers": workers}
    options["resize"] = classifier.resize
    for arrays in data.iterate_batches(images, classifier.image_size, **options):
        batch_paths = list(itertools.islice(paths, len(arrays)))
        yield _predict_batch(classifier, arrays, batch_paths)


def _predict_batch(
    classifier: Classifier, images: np.ndarray, paths: list[Any]
) -> metrics.Predictions:
    """Predict images; an error of the model becomes one that names the image."""
    try:
        return metrics.best_predictions(classifier.predict(images))
    except InputError as error:
        raise InputError(f"{error} (image {paths[0]})") from error
    except Exception as error:  # Each runtime raises its own kinds.
        more = f" or the {len(paths) - 1} after it" if len(paths) > 1 else ""
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{classifier.name} fails on {paths[0]}{more} ({reason}); look at that"
            " image, or convert the model again"
        ) from error


def evaluate(
    classifier: Classifier,
    images: data.Images,
    *,
    label_offset: int = 0,
    **prediction: Any,
) -> Evaluation:
    """Predict images and compare the predictions with the labels.

    `label_offset` is added to every label: 1 where output 0 is the background class.
    Other options are those of `predict`.

    Raises:
        InputError: as `predict`, or a label does not fit the model.
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
    names = ("background",) * label_offset + images.class_names
    names += tuple(str(index) for index in range(len(names), classifier.classes))
    return Evaluation(
        metrics=metrics.measure(predictions, labels),
        label_shift=metrics.label_shift(predictions, labels),
        classes=tuple(metrics.per_class(predictions, labels, names)),
        mistakes=metrics.confident_mistakes(predictions, labels),
        latency=measure_latency(classifier),
        images_per_s=len(images) / seconds,
        predictions=predictions,
        labels=labels,
        names=names,
    )


def verify_classes(
    images: data.Images,
    outputs: int,
    *,
    label_offset: int = 0,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse images whose classes are not those of a model.

    `class_names` is from the model's metadata; `None` compares with the number of
    outputs alone.

    Raises:
        InputError: names or number of the classes differ.
    """
    names = images.class_names
    if class_names and tuple(class_names) != names:
        raise InputError(
            f"the model's classes ({', '.join(class_names[:5])}) are not the folder's"
            f" ({', '.join(names[:5])}); give a folder of the same classes"
        )
    expected = len(names) + label_offset
    if expected != outputs:
        raise InputError(
            f"the images have {len(names)} classes but the model has {outputs}; give"
            " images of the classes it was trained for"
            + (", or add --include_background_label" if expected + 1 == outputs else "")
        )
