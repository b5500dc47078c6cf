"""Checks of models, functions and files; by attributes, as in `image_checks`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from edgetpu_lib import evaluate
from edgetpu_lib.costs import estimate
from edgetpu_lib.evaluation import classifiers, metrics
from edgetpu_lib.hardware import check
from edgetpu_lib.images import pixels
from edgetpu_lib.teaching.exercise.feedback import Wrong, check_of, in_words, series
from edgetpu_lib.tflite import interpreter

# Points for accuracy, size and latency.
BUDGET_POINTS = (3, 1, 1)


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits for an int8 model.

    Attributes:
        top1: least accuracy, 0..1.
        size_bytes: of the file, at most.
        latency_ms: estimated on the Edge TPU, at most.
    """

    top1: float
    size_bytes: int
    latency_ms: float


@check_of(
    "training", "better than guessing beyond doubt, on images that nobody trained on"
)
def check_training(model: Any, judge_images: Any) -> str:
    """Check that a model is better than guessing on images that it did not see.

    Args:
        model: the student's Keras model, which gives logits.
        judge_images: `data.Images` that are not the student's.
    """
    if not hasattr(model, "output_shape"):
        raise Wrong(in_words(model), "make it with `build.build_model`")
    classes = len(judge_images.class_names)
    if model.output_shape[-1] != classes:
        raise Wrong(
            f"{model.output_shape[-1]} outputs for {classes} classes",
            "say how many classes there are when you build the model",
        )
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise Wrong("weights that are NaN or infinite", "train with a smaller rate")
    found = _measure(model, judge_images)
    words = (
        f"{found.top1:.0%} of {found.images} images right, 95 % interval"
        f" {found.top1_low:.0%} to {found.top1_high:.0%}"
    )
    if found.top1_low <= 1 / classes:
        raise Wrong(
            words,
            "an interval that includes guessing proves nothing: start from"
            " pretrained weights, train for more epochs",
        )
    return words


def _measure(model: Any, images: Any) -> Any:
    opened = classifiers.open_classifier(model)
    predictions = evaluate.predict(opened, images, progress=None)
    return metrics.measure(predictions, images.labels)


@check_of("preprocessing", "0 → -0.992, 127 → 0.000, 255 → 1.000")
def check_preprocessing(preprocess: Any) -> str:
    """Check a preprocessing function.

    Args:
        preprocess: the student's, uint8 [images, height, width, 3] to the network's
            input, float, of the same shape.
    """
    if not callable(preprocess):
        raise Wrong(in_words(preprocess), "define a function of that name")
    images_u8 = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    images_u8[0, 0, :3] = [[0] * 3, [127] * 3, [255] * 3]
    made = preprocess(images_u8.copy())
    try:
        fed = np.asarray(made, np.float64)
    except (TypeError, ValueError):
        raise Wrong(in_words(made), "return an array of numbers") from None
    if fed.shape != images_u8.shape:
        raise Wrong(f"shape {fed.shape} of {images_u8.shape}", "keep the shape")
    words = series(
        f"{byte} → {fed[0, 0, i].mean():.3f}" for i, byte in enumerate((0, 127, 255))
    )
    if not np.allclose(fed, pixels.normalize(images_u8), atol=1e-3):
        raise Wrong(words, "which mean and which deviation was the network made for?")
    return words


@check_of(
    "file",
    "bytes of a TFLite file that runs on the Edge TPU as a whole, fed raw pixels",
)
def check_file(int8_tflite: Any, judge_images: Any) -> str:
    """Check that the Edge TPU can run a file.

    Args:
        int8_tflite: the student's, bytes.
        judge_images: `data.Images` of the classes that it should tell apart.
    """
    return _find_in_file(int8_tflite, len(judge_images.class_names))


def _find_in_file(int8_tflite: Any, classes: int) -> str:
    if not isinstance(int8_tflite, bytes | bytearray):
        raise Wrong(in_words(int8_tflite), "keep the bytes that the conversion returns")
    report = check.check_tflite(bytes(int8_tflite))
    if not report.ready:
        first = report.findings[0]
        raise Wrong(f"{first.code}: {first.reason}", first.remedy)
    if not interpreter.takes_raw_pixels(report.input):
        raise Wrong(
            f"an input of scale {report.input.scale:.5f}, zero point"
            f" {report.input.zero_point}",
            "quantize with the library, whose files take raw bytes",
        )
    outputs = classifiers.open_classifier(bytes(int8_tflite), workers=1).classes
    if outputs != classes:
        raise Wrong(f"{outputs} outputs for {classes} classes", "quantize your model")
    return f"{report.edge_tpu_operators} operators on the Edge TPU, none on the CPU"


def _expected_budget(_: Any, budget: Any) -> str:
    if budget is None:
        return "a file within the budget"
    return (
        f"top-1 of {budget.top1:.0%} or more, {budget.size_bytes:,} bytes and"
        f" {budget.latency_ms:g} ms or less"
    )


@check_of("budget", _expected_budget)
def check_budget(int8_tflite: Any, judge_images: Any, budget: Budget) -> str:
    """Check accuracy, size and estimated latency of a file, each for its own points.

    Args:
        int8_tflite: the student's, bytes.
        judge_images: `data.Images` that are not the student's.
        budget: the budget.
    """
    _find_in_file(int8_tflite, len(judge_images.class_names))
    content = bytes(int8_tflite)
    top1 = _measure(content, judge_images).top1
    latency_ms = estimate.estimate_tflite(content).latency_ms
    words = f"top-1 {top1:.0%}, {len(content):,} bytes, {latency_ms:.2f} ms estimated"
    rows: list[tuple[bool, str]] = [
        (top1 >= budget.top1, "for accuracy: more epochs, another batch size"),
        (len(content) <= budget.size_bytes, "for bytes: a narrower network"),
        (latency_ms <= budget.latency_ms, "for time: smaller images"),
    ]
    kept = [kept for kept, _ in rows]
    if not all(kept):
        points = sum(w for w, good in zip(BUDGET_POINTS, kept, strict=True) if good)
        hint = "; ".join(hint for good, hint in rows if not good)
        raise Wrong(words, hint, points)
    return words
