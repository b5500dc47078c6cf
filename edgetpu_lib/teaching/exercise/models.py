"""The rules behind the exercise's checks of models, functions and files.

Takes what a student made; gives a line that says what was found, or raises `Wrong`.
Used by `exercise`; judged by parts, not by class, as in `exercise_photos`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgetpu_lib.teaching.exercise.feedback import Wrong, in_words, series


def training(model: Any, judges: Any) -> str:
    """Judge whether a model knows more than chance, on images it never saw."""
    if not hasattr(model, "output_shape"):
        raise Wrong(in_words(model), "make it with `build.build_model`")
    classes = len(judges.class_names)
    if model.output_shape[-1] != classes:
        raise Wrong(
            f"{model.output_shape[-1]} outputs for {classes} classes",
            "say how many classes there are when you build the model",
        )
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise Wrong("weights that are NaN or infinite", "train with a smaller rate")
    found = _measure(model, judges)
    words = (
        f"{found.top1:.0%} of {found.images} images right, 95 % interval"
        f" {found.top1_low:.0%} to {found.top1_high:.0%}"
    )
    if found.top1_low <= 1 / classes:
        raise Wrong(
            words,
            "an interval that holds the guesser's share proves nothing: start from"
            " pretrained weights, train for more epochs",
        )
    return words


def _measure(model: Any, images: Any) -> Any:
    from edgetpu_lib import evaluate
    from edgetpu_lib.evaluation import classifiers, metrics

    opened = classifiers.open_classifier(model)
    predictions = evaluate.predict(opened, images, progress=None)
    return metrics.measure(predictions, images.labels)


def preprocessing(preprocess: Any) -> str:
    """Judge a function that turns bytes into a network's input."""
    from edgetpu_lib.images import pixels

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


def file(int8_tflite: Any, classes: int) -> str:
    """Judge a file for the Edge TPU."""
    from edgetpu_lib.hardware import check
    from edgetpu_lib.tflite import interpreter

    _require_bytes(int8_tflite)
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
    outputs = _outputs_of(int8_tflite)
    if outputs != classes:
        raise Wrong(f"{outputs} outputs for {classes} classes", "quantize your model")
    return f"{report.edge_tpu_operators} operators on the Edge TPU, none on the CPU"


def _require_bytes(given: Any) -> None:
    if not isinstance(given, bytes | bytearray):
        raise Wrong(in_words(given), "keep the bytes that the conversion returns")


def _outputs_of(int8_tflite: bytes) -> int:
    from edgetpu_lib.tflite import interpreter

    opened = interpreter.open_interpreter(bytes(int8_tflite))
    return int(np.prod(interpreter.output_contract(opened).shape))


def budget(int8_tflite: Any, judges: Any, limits: Any, worth: Sequence[float]) -> str:
    """Judge accuracy, size and estimated latency, each for its own points."""
    from edgetpu_lib.costs import estimate

    file(int8_tflite, len(judges.class_names))
    content = bytes(int8_tflite)
    top1 = _measure(content, judges).top1
    latency_ms = estimate.estimate_tflite(content).latency_ms
    words = f"top-1 {top1:.0%}, {len(content):,} bytes, {latency_ms:.2f} ms estimated"
    rows: list[tuple[bool, str]] = [
        (top1 >= limits.top1, "for accuracy: more epochs, another batch size"),
        (len(content) <= limits.size_bytes, "for bytes: a narrower network"),
        (latency_ms <= limits.latency_ms, "for time: smaller images"),
    ]
    kept = [kept for kept, _ in rows]
    if not all(kept):
        points = sum(w for w, good in zip(worth, kept, strict=True) if good)
        hint = "; ".join(hint for good, hint in rows if not good)
        raise Wrong(words, hint, points)
    return words
