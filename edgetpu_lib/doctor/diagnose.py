"""Diagnose why an int8 model predicts worse than its float model.

Accuracy is lost in the weights or in the ranges of activations. The dequantized int8
model tells which: if it disagrees with the float model, another network was quantized
(`weight_errors`); if it agrees, the ranges are wrong (`calibration_faults`). Wrong
labels and preprocessing in training affect the float model's own predictions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import convert, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import (
    calibration_faults,
    causes,
    dequantize,
    layer_errors,
    weight_errors,
)
from edgetpu_lib.doctor import preprocessing_variants as variants
from edgetpu_lib.doctor import ranges as doctor_ranges
from edgetpu_lib.doctor.calibration_faults import CalibrationFault, Evidence
from edgetpu_lib.doctor.causes import Cause
from edgetpu_lib.doctor.model_pair import FilePair, open_pair
from edgetpu_lib.doctor.preprocessing_variants import RIGHT
from edgetpu_lib.doctor.ranges import FloatNetwork, Observations
from edgetpu_lib.evaluation.metrics import Predictions
from edgetpu_lib.hardware import check
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite.contract import PixelScale

# Images are observed in parts, until some are found among the calibration images.
_PART = 100
_MOST_IMAGES = 400
_SWEEP = (1, 3, 10, 30, 100, 300)


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """Agreement with the float model, 0..1, after calibration with some images."""

    images: int
    agreement: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is wrong with an int8 model, and the measurements.

    Attributes:
        healthy: no cause was found.
        causes: the likeliest first.
        images: number of images predicted.
        agreement: share of images with the same prediction from both models, 0..1.
        agreement_of_weights: the same for the dequantized int8 model; rounding of
            activations has no part in this loss.
        float_top1: accuracy of the float model, 0..1; `None` without labels.
        int8_top1: accuracy of the int8 model, 0..1; `None` without labels.
        layers: errors of every tensor, in the order of the network.
        weights: errors of every layer's weights.
        sweep: agreement by number of calibration images.
        notes: what could not be tested, and why.
    """

    healthy: bool
    causes: tuple[Cause, ...]
    images: int
    agreement: float
    agreement_of_weights: float
    float_top1: float | None
    int8_top1: float | None
    layers: tuple[layer_errors.LayerError, ...]
    weights: tuple[weight_errors.WeightError, ...]
    sweep: tuple[SweepPoint, ...]
    notes: tuple[str, ...]


def diagnose(
    float_model: keras.Model | str | Path | bytes,
    int8: str | Path | bytes,
    images: data.Images,
    *,
    calibration: data.Images | None = None,
    label_offset: int = 0,
    pixel_scale: PixelScale | None = None,
    resize: Resize | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Diagnose why an int8 model predicts worse than its float model.

    Args:
        float_model: a Keras model or its file, or path or bytes of a float `.tflite`.
        int8: path or bytes of the int8 `.tflite` file made of it.
        images: to compare predictions on, and labels if the number of classes fits.
        calibration: images like those that the file was calibrated on, or among which
            they were; up to 400 are used. `None` takes `images`.
        label_offset: added to every label: 1 where output 0 is the background.
        pixel_scale: what is subtracted from pixels and what they are divided by;
            `None` takes what the models tell, or in memory this library's.
        resize: of images to a square; `None` takes what the metadata tell.
        progress: show progress bars.

    Raises:
        InputError: a model or image cannot be used, or the networks differ.

    See: notebooks/05_evaluate.ipynb.
    """
    told = {"pixel_scale": pixel_scale, "resize": resize, "progress": progress}
    pair = open_pair(float_model, int8, images, **told)
    calibration = calibration or images
    weights, padding = weight_errors.compare_stored(pair.float_tflite, pair.int8_tflite)
    twin = dequantize.to_float(pair.int8_tflite)
    agreement_of_weights = pair.agreement_with(pair.predict(twin))
    stored = causes.of_weights(weights, padding, agreement_of_weights)
    # The ranges belong to the network that was quantized, which may be another.
    network = doctor_ranges.open_network(twin if stored else pair.float_tflite)
    faults, seen = _calibration_faults(pair, network, calibration, progress)
    sweep, predictions, notes = _sweep(pair, network, seen[RIGHT], progress)
    labels, note = _labels(images, label_offset, pair.float_predictions.classes)
    found = [*stored, *_of_calibration(pair, faults, predictions)]
    known = calibration.labels[: len(seen[RIGHT])] + label_offset
    found += _of_labels(pair, labels, None if stored else seen, known)
    found += causes.on_device(check.check_tflite(pair.int8_tflite))
    found = found or causes.unnamed(pair, predictions, agreement_of_weights)
    return Diagnosis(
        healthy=not found,
        causes=causes.in_order(found),
        images=len(images),
        agreement=pair.agreement,
        agreement_of_weights=agreement_of_weights,
        float_top1=_top1(pair.float_predictions, labels),
        int8_top1=_top1(pair.int8_predictions, labels),
        layers=pair.layers,
        weights=weights,
        sweep=sweep,
        notes=tuple(filter(None, (note, *notes))),
    )


def _of_labels(
    pair: FilePair,
    labels: np.ndarray | None,
    seen: dict[str, Observations] | None,
    known: np.ndarray,
) -> Iterator[Cause]:
    """Yield causes that labels show: shifted ones, and the wrong preprocessing.

    `known` are the labels of the images that were observed, `seen`.
    """
    if labels is None:
        return
    shifted, shift = causes.of_labels(pair.float_predictions, labels)
    yield from shifted
    if seen:
        yield from causes.of_preprocessing(seen, known + shift)


def _calibration_faults(
    pair: FilePair, network: FloatNetwork, calibration: data.Images, progress: bool
) -> tuple[list[CalibrationFault], dict[str, Observations]]:
    """Observe images in parts until some are found among the calibration images."""

    def observe(prepared: Iterable, title: str) -> dict[str, Observations]:
        shown = title if progress else None
        return doctor_ranges.observe(network, prepared, progress=shown)

    size, names = network.image_size, [str(path) for path in calibration.paths]
    file = doctor_ranges.file_ranges(network, pair.int8_tflite)
    told = {"pixel_scale": pair.pixel_scale, "resize": pair.resize}
    noise = variants.synthetic_images(size, pixel_scale=pair.pixel_scale)
    synthetic = observe(noise, "observing noise")
    count = min(len(calibration), _MOST_IMAGES)
    seen: dict[str, Observations] = {}
    for start in range(0, count, _PART):
        part = calibration.take(np.arange(start, min(start + _PART, count)))
        title = f"observing images {start + 1}…{start + len(part)} of {count}"
        more = observe(variants.prepare_variants(part, size, **told), title)
        seen = {name: seen[name].joined(m) if seen else m for name, m in more.items()}
        evidence = Evidence(file, seen, synthetic, names, pair.calibrated_on)
        faults, proven = calibration_faults.find_faults(evidence)
        if proven:
            break
    return faults, seen


def _sweep(
    pair: FilePair, network: FloatNetwork, right: Observations, progress: bool
) -> tuple[tuple[SweepPoint, ...], Predictions | None, list[str]]:
    """Quantize again with one image, with more, and with all that were observed.

    Returns:
        Agreement by number of images, the predictions with all, and notes.
    """
    mean, stddev = pair.pixel_scale
    if np.ndim(mean) or np.ndim(stddev):
        note = "nothing was quantized again: each channel has a mean of its own"
        return (), None, [note]
    counts = [*(n for n in _SWEEP if n < len(right)), len(right)]
    points, predictions = [], None
    for count in tqdm(counts, "quantizing again", leave=False, disable=not progress):
        try:
            ranges = right.ranges(network, count)
            content = convert.quantize(
                network.content, ranges, mean=mean, stddev=stddev
            )
        except InputError as error:
            return (), None, [f"nothing was quantized again: {error}"]
        predictions = pair.predict(content)
        points.append(SweepPoint(count, pair.agreement_with(predictions)))
    return tuple(points), predictions, []


def _of_calibration(
    pair: FilePair,
    faults: Sequence[CalibrationFault],
    predictions: Predictions | None,
) -> Iterator[Cause]:
    """Yield causes in the calibration with what a proper one would gain."""
    gain, words = 0.0, ""
    if predictions is not None:
        after = pair.agreement_with(predictions)
        gain = max(0.0, after - pair.agreement)
        words = (
            f"; quantized again with images, predictions would agree on {after:.1%}"
            f" instead of {pair.agreement:.1%}"
        )
    for fault in (*_of_input(pair.layers[0], faults), *faults):
        yield causes.cause(fault.code, gain, fault.evidence + words)


def _of_input(
    fed: layer_errors.LayerError, known: Sequence[CalibrationFault]
) -> Iterator[CalibrationFault]:
    """Find pixels divided by 255 by an input of the int8 model that ranges 0..1."""
    code = "preprocessing-div255"
    # Noise of 0..1 has such an input as well, and is worse.
    if {fault.code for fault in known} & {code, "calibration-noise"}:
        return
    is_unit = abs(fed.int8_low) < 0.01 and abs(fed.int8_high - 1) < 0.01
    if is_unit and fed.float_low < -0.1:
        yield CalibrationFault(
            code,
            f"the int8 model's input ranges from {fed.int8_low:.2f} to"
            f" {fed.int8_high:.2f}, the float model's from {fed.float_low:.2f} to"
            f" {fed.float_high:.2f}: it was calibrated on pixels divided by 255",
        )


def _labels(
    images: data.Images, label_offset: int, classes: int
) -> tuple[np.ndarray | None, str | None]:
    """Return labels as indices of the model's outputs, or why they do not fit."""
    named = len(images.class_names)
    if named < 2:
        return None, "labels are not judged: the images have none"
    if abs(named + label_offset - classes) > 1:
        return None, (
            f"labels are not judged: the images have {named} classes, the model"
            f" {classes} outputs"
        )
    return images.labels + label_offset, None


def _top1(predictions: Predictions, labels: np.ndarray | None) -> float | None:
    return None if labels is None else float((predictions.best == labels).mean())
