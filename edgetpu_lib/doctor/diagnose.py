"""Find out why answers were lost in 8 bits.

Takes a float model, its integer file and images; gives named causes, the likeliest
first, and the measurements behind them.
Next: mend the first cause and export again; `deploy` puts a healthy file to work.

Answers are lost in the weights or in the ranges of activations. The integer file's own
weights, computed in floats, tell which: where they disagree with the float model,
another network was quantized; where they agree, it is the ranges, and `range_suspects`
reads from them what the calibration saw. Labels and the model's own preprocessing,
which spoil the float model as well, are judged by its answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import convert, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import (
    causes,
    dequantize,
    layer_errors,
    observations,
    range_evidence,
    range_suspects,
    weight_errors,
)
from edgetpu_lib.doctor.causes import Cause
from edgetpu_lib.doctor.model_pair import FilePair, open_pair
from edgetpu_lib.doctor.observations import Network, Observations
from edgetpu_lib.doctor.range_suspects import Suspicion
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.evaluation.metrics import Predictions
from edgetpu_lib.hardware import check

# Images are looked at in parts, until some are found among the calibration images.
_PART = 100
_PARTS = 4
_SWEEP = (1, 3, 10, 30, 100, 300)
# Without a named cause: fewer equal answers than this are not healthy, ...
_POOR_AGREEMENT = 0.8
# ... nor is a gain from other ranges of so much, beyond chance.
_LEAST_GAIN = 0.05
_P_VALUE = 0.001


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """How well so many calibration images do.

    Attributes:
        images: that set the ranges.
        agreement: share of the images at hand with the float model's answer, 0..1.
    """

    images: int
    agreement: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is wrong with an integer file, and how that shows.

    Attributes:
        healthy: nothing was found.
        causes: what was found, the likeliest first.
        images: how many were answered.
        agreement: share of them with the same answer from both files, 0..1.
        agreement_of_weights: the same for the integer file's weights computed in
            floats: what is lost here is not lost by rounding activations.
        float_top1: of the float model, 0..1; `None` without labels.
        int8_top1: of the integer file.
        layers: every tensor's error, in the order of the network.
        weights: every layer's weights.
        sweep: agreement by number of calibration images.
        notes: what could not be judged, and why.
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
    progress: bool = True,
) -> Diagnosis:
    """Find out why an integer file answers worse than its float model.

    Args:
        float_model: a Keras model, the path of a `.keras` file, or the path or bytes of
            a float `.tflite` file.
        int8: path or bytes of the integer `.tflite` file made of it.
        images: to compare answers on. Labels are judged if there are as many classes as
            outputs, or one more or less.
        calibration: images like those that the file was calibrated on, or among which
            they were; a few hundred are looked at. `None` takes `images`.
        label_offset: added to every label: 1 where output 0 is the background.
        progress: show what is being done, and the time left.

    Raises:
        InputError: a model or image cannot be used, or the files hold different
            networks.

    See: notebooks/05_evaluate.ipynb.
    """
    pair = open_pair(float_model, int8, images, progress=progress)
    calibration = calibration or images
    weights = weight_errors.compare_weights(pair.float_tflite, pair.int8_tflite)
    paddings = weight_errors.compare_padding(pair.float_tflite, pair.int8_tflite)
    twin = dequantize.to_float(pair.int8_tflite)
    agreement_of_weights = pair.agreement_with(pair.predict(twin))
    stored = causes.of_weights(weights, paddings, agreement_of_weights)
    # Ranges fit the network that was quantized, which may be another.
    network = observations.open_network(twin if stored else pair.float_tflite)
    suspicions, seen = _suspect(pair, network, calibration, progress)
    sweep, predictions, notes = _sweep(
        pair, network, seen[observations.RIGHT], progress
    )
    labels, note = _labels(images, label_offset, pair.float_predictions.classes)
    found = [*stored, *_confirmed(pair, suspicions, predictions)]
    if labels is not None:
        found += _of_labels_and_pixels(
            pair, labels, {} if stored else seen, calibration.labels + label_offset
        )
    found += causes.on_device(check.check_tflite(pair.int8_tflite))
    found = found or _unnamed(pair, predictions, agreement_of_weights)
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


def _suspect(
    pair: FilePair, network: Network, calibration: data.Images, progress: bool
) -> tuple[list[Suspicion], dict[str, Observations]]:
    """Show images to the network, in parts, until they explain the file's ranges."""
    file = range_evidence.file_ranges(network, pair.int8_tflite)
    title = "observing noise" if progress else None
    noise = observations.observe_noise(network, progress=title)
    names = [str(path) for path in calibration.paths]
    count = min(len(calibration), _PARTS * _PART)
    seen: dict[str, Observations] = {}
    for start in range(0, count, _PART):
        part = calibration.take(np.arange(start, min(start + _PART, count)))
        title = f"observing images {start + 1}…{start + len(part)} of {count}"
        more = observations.observe_images(
            network, part, progress=title if progress else None
        )
        seen = {way: seen[way].joined(m) if seen else m for way, m in more.items()}
        evidence = range_evidence.Evidence(
            file, seen, *noise, names, pair.calibrated_on
        )
        suspicions, proven = range_suspects.find_suspicions(evidence)
        if proven:
            break
    return suspicions, seen


def _sweep(
    pair: FilePair, network: Network, right: Observations, progress: bool
) -> tuple[tuple[SweepPoint, ...], Predictions | None, list[str]]:
    """Quantize again with one image, with more, and with all that were seen.

    Returns:
        Agreement by number of images; the answers with all; and notes.
    """
    counts = [*(n for n in _SWEEP if n < len(right)), len(right)]
    points, predictions = [], None
    for count in tqdm(counts, "quantizing again", leave=False, disable=not progress):
        try:
            content = convert.quantize(network.content, right.ranges(network, count))
        except InputError as error:
            return (), None, [f"nothing was quantized again: {error}"]
        predictions = pair.predict(content)
        points.append(SweepPoint(count, pair.agreement_with(predictions)))
    return tuple(points), predictions, []


def _confirmed(
    pair: FilePair, suspicions: Sequence[Suspicion], predictions: Predictions | None
) -> Iterator[Cause]:
    """Yield causes with what the file would gain from a proper calibration."""
    for suspicion in (*_of_input(pair.layers[0], suspicions), *suspicions):
        gain, words = 0.0, ""
        if predictions is not None:
            after = pair.agreement_with(predictions)
            gain = max(0.0, after - pair.agreement)
            words = (
                f"; quantized again with images, answers would agree on {after:.1%}"
                f" instead of {pair.agreement:.1%}"
            )
        yield causes.cause(suspicion.code, gain, suspicion.evidence + words)


def _of_input(
    fed: layer_errors.LayerError, known: Sequence[Suspicion]
) -> Iterator[Suspicion]:
    """Suspect pixels divided by 255: the integer file's input says 0..1."""
    code = "preprocessing-div255"
    # Noise of 0..1 is the graver fault, and gives such an input as well.
    known_codes = {each.code for each in known}
    unit = abs(fed.int8_low) < 0.01 and abs(fed.int8_high - 1) < 0.01
    if unit and fed.float_low < -0.1 and not known_codes & {code, "calibration-noise"}:
        yield Suspicion(
            code,
            f"the integer file's input says {fed.int8_low:.2f} to {fed.int8_high:.2f},"
            f" the float model's goes from {fed.float_low:.2f} to {fed.float_high:.2f}:"
            " it was calibrated on pixels divided by 255",
        )


def _labels(
    images: data.Images, label_offset: int, classes: int
) -> tuple[np.ndarray | None, str | None]:
    """Return labels as indices of the model's outputs, or why they are not judged."""
    named = len(images.class_names)
    if named < 2:
        return None, "labels are not judged: the images have none"
    if abs(named + label_offset - classes) > 1:
        return None, (
            f"labels are not judged: the images have {named} classes, the model"
            f" {classes} outputs"
        )
    return images.labels + label_offset, None


def _of_labels_and_pixels(
    pair: FilePair,
    labels: np.ndarray,
    seen: dict[str, Observations],
    labels_seen: np.ndarray,
) -> list[Cause]:
    """Judge what spoils the float model as well: labels, and its own preprocessing."""
    found, shift = causes.of_labels(pair.float_predictions, labels)
    if seen:
        known = labels_seen[: len(seen[observations.RIGHT])] + shift
        found += causes.of_preprocessing(seen, known)
    return found


def _top1(predictions: Predictions, labels: np.ndarray | None) -> float | None:
    return None if labels is None else float((predictions.best == labels).mean())


def _unnamed(
    pair: FilePair, predictions: Predictions | None, agreement_of_weights: float
) -> list[Cause]:
    """Say at least where answers are lost, if many are."""
    if predictions is not None:
        same, again = (
            pair.float_predictions.best == each.best
            for each in (pair.int8_predictions, predictions)
        )
        gain = float(again.mean() - same.mean())
        if gain >= _LEAST_GAIN and metrics.paired_p_value(again, same) < _P_VALUE:
            clipped = max(pair.layers, key=lambda layer: layer.clipped)
            evidence = (
                "quantized again with images, answers would agree on"
                f" {again.mean():.1%} instead of {same.mean():.1%}; {clipped.name}"
                f" clips {clipped.clipped:.1%} of its values"
            )
            return [causes.cause("ranges", gain, evidence)]
    if pair.agreement >= _POOR_AGREEMENT:
        return []
    worst = min(pair.layers[1:], key=lambda layer: layer.snr_db)
    evidence = (
        f"answers agree on {pair.agreement:.1%}, with the integer weights computed in"
        f" floats on {agreement_of_weights:.1%}; {worst.name} has"
        f" {worst.snr_db:.0f} dB, and other ranges would not help"
    )
    return [causes.cause("precision", 1 - pair.agreement, evidence)]
