"""The exercise that answers back: checks of what a student made.

Takes a student's objects (images, models, functions, bytes); gives feedback with
points. A check never raises, and never tells the solution.
Next: `grading` runs the same checks on handed-in notebooks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.teaching.exercise import images as exercise_photos
from edgetpu_lib.teaching.exercise import models
from edgetpu_lib.teaching.exercise.feedback import Feedback, Total, judge, series

# What each task is worth, in the order of the notebook.
TASKS = {
    "classes": 1,
    "split": 4,
    "training": 2,
    "preprocessing": 2,
    "labels": 2,
    "calibration": 2,
    "file": 2,
    "budget": 5,
}
# Of the budget's points: accuracy, size, latency.
BUDGET_POINTS = (3, 1, 1)

# The last feedback on each task. A check that was moved, doubled or typed anew still
# counts, once; the cells of a notebook share nothing else that no student can delete.
_latest: dict[str, Feedback] = {}


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a model may cost and has to reach.

    Attributes:
        top1: least accuracy, a fraction 0..1.
        size_bytes: of the file, at most.
        latency_ms: estimated on the Edge TPU, milliseconds, at most.
    """

    top1: float
    size_bytes: int
    latency_ms: float


def choose_classes(images: Any, class_names: Sequence[str]) -> Any:
    """Return the images of some classes, labelled 0, 1, … in the order of the names.

    Args:
        images: `data.Images`.
        class_names: two or more of its classes; they are sorted first.

    Raises:
        InputError: a name is unknown, or there are fewer than two.
    """
    chosen = sorted(set(class_names or ()))
    unknown = [name for name in chosen if name not in images.class_names]
    if unknown or len(chosen) < 2:
        raise InputError(
            f"cannot choose {series(chosen)}; name two or more of"
            f" {series(images.class_names)}"
        )
    numbers = [images.class_names.index(name) for name in chosen]
    part = images.take(np.flatnonzero(np.isin(images.labels, numbers)))
    labels = np.searchsorted(numbers, part.labels)
    return dataclasses.replace(part, labels=labels, class_names=tuple(chosen))


def check_classes(class_names: Any, images: Any) -> Feedback:
    """Check the choice of classes.

    Args:
        class_names: what the student chose.
        images: `data.Images` to choose from.
    """
    known = images.class_names if images is not None else ()
    return _told(
        "classes",
        f"a list of {exercise_photos.FEWEST_CLASSES} or more names of {series(known)}",
        class_names,
        lambda: exercise_photos.class_names(class_names, known),
    )


def check_split(splits: Any, images: Any) -> Feedback:
    """Check that a split loses nothing and leaks nothing.

    Args:
        splits: what the student made: {"train", "validation", "test"} → `data.Images`.
        images: `data.Images` that were to be split.
    """
    return _told(
        "split",
        "every image on one side only, copies too; every class on every side",
        splits,
        lambda: exercise_photos.split(splits, images),
    )


def check_training(model: Any, judge_images: Any) -> Feedback:
    """Check that a model beats guessing on images that it cannot have seen.

    Args:
        model: the student's Keras model, which gives logits.
        judge_images: `data.Images` that are not the student's.
    """
    return _told(
        "training",
        "better than guessing beyond doubt, on images that nobody trained on",
        model,
        lambda: models.training(model, judge_images),
    )


def check_preprocessing(preprocess: Any) -> Feedback:
    """Check what a function makes of bytes.

    Args:
        preprocess: the student's function, uint8 [images, height, width, 3] to the
            network's input, float, of the same shape.
    """
    return _told(
        "preprocessing",
        "0 → -0.992, 127 → 0.000, 255 → 1.000",
        preprocess,
        lambda: models.preprocessing(preprocess),
    )


def check_labels(labels: Any, splits: Any) -> Feedback:
    """Check the labels of the test images.

    Args:
        labels: the student's, int [test images], indices of the model's outputs.
        splits: the student's split.
    """
    return _told(
        "labels",
        "for every test image the number of the model's output for its class",
        labels,
        lambda: exercise_photos.labels(labels, splits),
    )


def check_calibration(calibration: Any, splits: Any) -> Feedback:
    """Check which images set the integer ranges.

    Args:
        calibration: `data.Images` that the student drew.
        splits: the student's split.
    """
    return _told(
        "calibration",
        "images of every class, and none that measures the result",
        calibration,
        lambda: exercise_photos.calibration(calibration, splits),
    )


def check_file(int8_tflite: Any, judge_images: Any) -> Feedback:
    """Check that the Edge TPU would take a file.

    Args:
        int8_tflite: the student's, bytes.
        judge_images: `data.Images` of the classes that it should tell apart.
    """
    return _told(
        "file",
        "bytes of a TFLite file that runs on the Edge TPU as a whole, fed raw pixels",
        int8_tflite,
        lambda: models.file(int8_tflite, len(judge_images.class_names)),
    )


def check_budget(int8_tflite: Any, judge_images: Any, budget: Budget) -> Feedback:
    """Check a file against a budget; its three parts earn points one by one.

    Args:
        int8_tflite: the student's, bytes.
        judge_images: `data.Images` that are not the student's.
        budget: what to reach.
    """
    expected = (
        f"top-1 of {budget.top1:.0%} or more, {budget.size_bytes:,} bytes and"
        f" {budget.latency_ms:g} ms or less"
        if budget is not None
        else "a file within the budget"
    )
    return _told(
        "budget",
        expected,
        int8_tflite,
        lambda: models.budget(int8_tflite, judge_images, budget, BUDGET_POINTS),
    )


def total(feedback: Sequence[Feedback] | None = None) -> Total:
    """Add up the last feedback on every task.

    Args:
        feedback: of any tasks, in any order, of which the last one counts; `None`
            takes what the checks told in this session.
    """
    told = _latest if feedback is None else {each.task: each for each in feedback}
    missing = "not checked yet"
    return Total(
        tuple(
            told.get(task) or Feedback(task, 0, points, "", missing, missing)
            for task, points in TASKS.items()
        )
    )


def _told(task: str, expected: str, given: Any, check: Callable[[], str]) -> Feedback:
    found = judge(task, TASKS[task], expected, given, check)
    _latest[task] = found
    return found
