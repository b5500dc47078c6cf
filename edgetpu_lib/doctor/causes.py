"""Name causes of lost accuracy from measured differences, with remedies."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgetpu_lib.doctor.model_pair import FilePair
from edgetpu_lib.doctor.preprocessing_variants import DIVIDED, FAULTS, RIGHT
from edgetpu_lib.doctor.ranges import Observations
from edgetpu_lib.doctor.weight_errors import PaddingDifference, WeightError
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.evaluation.metrics import Predictions
from edgetpu_lib.hardware import check

# Share of a network's channels; rounding alone moves none. Another epsilon moves
# channels of small variance one way, another training moves them both ways.
_CHANNELS_MOVED = 0.02
# In units of the rounding error: the same weights have 0.9 to 1.0, the weights of
# another epoch 3 and more.
_NOISE_OF_OTHER_WEIGHTS = 1.5
_BIASES_CHANGED = 0.2
# Smaller gains are not named: models trained on varied crops gain a little from a
# wider view.
_LEAST_GAIN = 0.05
# Probability that a gain is chance, shared by all preprocessings that are tried.
_P_VALUE = 0.001
# Without a named cause, a model of lower agreement is not healthy.
_POOR_AGREEMENT = 0.8
# What fails only on the Edge TPU has no loss here; it is sorted as a loss of 2 %.
_DEVICE_WEIGHT = 0.02

REMEDIES = {
    "batch-norm-epsilon": "build both with the same epsilon (the reference's is 0.001)"
    " and export again",
    "calibration-noise": "calibrate with training images: export --data_dir=PHOTOS",
    "calibration-outlier": "look at the calibration images one by one and leave out"
    " what the camera will never see; check that all are 0..255",
    "calibration-single": "calibrate with a hundred training images or more of all"
    " classes: export --num_steps=500",
    "labels-shifted": "give --include_background_label if output 0 is the background,"
    " leave it out if it is not",
    "other-weights": "export the int8 model from this very model; raw and averaged"
    " weights of a checkpoint differ (--enable_ema)",
    "padding": "make both files from one model; PyTorch pads both sides alike,"
    " TensorFlow's SAME puts more at the end",
    "per-channel-classifier": "convert with one scale for the classifier, as export"
    " does (_experimental_disable_per_channel_quantization_for_dense_layers = True)",
    "precision": "look at the layers with the lowest signal-to-noise ratio and compute"
    " those in floats; or try to train on in 8 bits, fine-tune --quantize"
    " --model=MODEL.keras, whose gain is not proved",
    "preprocessing-bgr": "exchange red and blue: OpenCV reads BGR, these models take"
    " RGB",
    "preprocessing-crop": "stretch the whole image to a square, as in training,"
    " instead of cropping its centre",
    "preprocessing-div255": "normalise as in training, (pixel − 127) / 128, not pixel /"
    " 255",
    "preprocessing-no-crop": "crop the centre 87.5 % before resizing, as in training",
    "ranges": "calibrate with images like those the model will see",
}


@dataclasses.dataclass(frozen=True)
class Cause:
    """One reason for lost accuracy.

    Attributes:
        code: stable name, for programs.
        explains: share of the images that would be predicted differently without it,
            0..1; 0 where that cannot be measured here.
        evidence: sentence with the measured numbers.
        remedy: what the user can do.
    """

    code: str
    explains: float
    evidence: str
    remedy: str


def cause(code: str, explains: float, evidence: str) -> Cause:
    """Return a cause with its remedy."""
    return Cause(code, explains, evidence, REMEDIES[code])


def in_order(causes: Sequence[Cause]) -> tuple[Cause, ...]:
    """Sort by explained loss; issues of the device only rank as small losses."""

    def weight(found: Cause) -> float:
        on_device = found.code == "per-channel-classifier"
        return _DEVICE_WEIGHT if on_device else found.explains

    return tuple(sorted(causes, key=weight, reverse=True))


def of_weights(
    weights: Sequence[WeightError],
    paddings: Sequence[PaddingDifference],
    agreement: float,
) -> list[Cause]:
    """Return causes in the stored networks: other weights, another padding.

    Args:
        weights: errors of all layers.
        paddings: the paddings that differ.
        agreement: of the float model with the dequantized int8 model, 0..1.
    """
    found = _of_other_weights(weights)
    if paddings:
        first = paddings[0]
        words = (
            f"{len(paddings)} layers pad differently, {first.name} first: (top,"
            f" bottom, left, right) = {first.float_padding} in the float model,"
            f" {first.int8_padding} in the int8 model"
        )
        found.insert(0, ("padding", words))
    without = f"; without any rounding the two agree on {agreement:.1%}"
    return [cause(code, 1 - agreement, words + without) for code, words in found]


def _of_other_weights(weights: Sequence[WeightError]) -> list[tuple[str, str]]:
    """Return code and evidence if weights differ by more than rounding."""
    channels = np.array([each.channels for each in weights])
    if not channels.sum():
        return []

    def share(name: str) -> float:
        values = np.array([getattr(each, name) for each in weights])
        return float(values @ channels / channels.sum())

    larger, smaller = share("larger"), share("smaller")
    noise = float(np.median([each.noise for each in weights]))
    if noise > _NOISE_OF_OTHER_WEIGHTS or min(larger, smaller) > _CHANNELS_MOVED:
        words = (
            f"the integer weights are {noise:.1f} times as far from the float ones as"
            f" rounding puts them; {larger:.0%} of the channels are larger,"
            f" {smaller:.0%} smaller"
        )
        return [("other-weights", words)]
    if max(larger, smaller) > _CHANNELS_MOVED:
        low = min(each.factor_low for each in weights)
        high = max(each.factor_high for each in weights)
        words = (
            f"in {max(larger, smaller):.0%} of the channels all weights are"
            f" {'larger' if larger > smaller else 'smaller'} by one factor, {low:.3f}"
            f" to {high:.3f}, in {min(larger, smaller):.0%} the other way, as another"
            " epsilon does when batch normalisation is folded in"
        )
        return [("batch-norm-epsilon", words)]
    changed = share("bias_changed")
    if changed > _BIASES_CHANGED:
        words = (
            f"{changed:.0%} of the biases differ though the weights are the same, as"
            " after batch normalisation with other statistics"
        )
        return [("other-weights", words)]
    return []


def of_labels(predictions: Predictions, labels: np.ndarray) -> tuple[list[Cause], int]:
    """Return a cause if labels are shifted, and what to add to them: 0, −1 or 1.

    Args:
        predictions: of the float model.
        labels: indices of its outputs, int [images].
    """
    shift = metrics.label_shift(predictions, labels)
    if not shift:
        return [], 0
    now, then = (float((predictions.best == labels + by).mean()) for by in (0, shift))
    evidence = (
        f"the float model is right on {now:.1%} of the images, and would be on"
        f" {then:.1%} if every label were one {'larger' if shift > 0 else 'smaller'}"
    )
    return [cause("labels-shifted", then - now, evidence)], shift


def of_preprocessing(
    images: dict[str, Observations], labels: np.ndarray
) -> list[Cause]:
    """Return a cause if the float model was trained with another preprocessing.

    Args:
        images: variant → observations of the same images by the float model.
        labels: indices of its outputs, int [images].
    """
    right = metrics.best_predictions(images[RIGHT].scores).best == labels
    likely = []
    for variant, (code, words) in FAULTS.items():
        if variant == DIVIDED or variant not in images:
            continue
        better = metrics.best_predictions(images[variant].scores).best == labels
        gain = float(better.mean() - right.mean())
        p_value = metrics.paired_p_value(better, right)
        if gain >= _LEAST_GAIN and p_value < _P_VALUE / 4:
            evidence = (
                f"the float model itself is right on {right.mean():.1%} of"
                f" {len(labels)} images, and on {better.mean():.1%} of the same {words}"
                f" (exact McNemar test, p = {p_value:.1g}): it was trained so"
            )
            likely.append((gain, code, evidence))
    if not likely:
        return []
    gain, code, evidence = max(likely)
    return [cause(code, gain, evidence)]


def on_device(report: check.Report) -> list[Cause]:
    """Return a cause if the int8 model works here and may fail elsewhere."""
    return [
        cause("per-channel-classifier", 0.0, f"not here: {found.reason}")
        for found in report.findings
        if found.code == "per-channel-fully-connected"
    ][:1]


def unnamed(
    pair: FilePair, predictions: Predictions | None, agreement_of_weights: float
) -> list[Cause]:
    """Return a cause where many predictions are lost and no other cause was found.

    Args:
        pair: float model and int8 model on the same images.
        predictions: of the float model quantized again; `None` if that failed.
        agreement_of_weights: of the dequantized int8 model, 0..1.
    """
    if predictions is not None:
        same, again = (
            pair.float_predictions.best == each.best
            for each in (pair.int8_predictions, predictions)
        )
        gain = float(again.mean() - same.mean())
        if gain >= _LEAST_GAIN and metrics.paired_p_value(again, same) < _P_VALUE:
            clipped = max(pair.layers, key=lambda layer: layer.clipped)
            evidence = (
                "quantized again with images, predictions would agree on"
                f" {again.mean():.1%} instead of {same.mean():.1%}; {clipped.name}"
                f" clips {clipped.clipped:.1%} of its values"
            )
            return [cause("ranges", gain, evidence)]
    if pair.agreement >= _POOR_AGREEMENT:
        return []
    worst = min(pair.layers[1:], key=lambda layer: layer.snr_db)
    evidence = (
        f"predictions agree on {pair.agreement:.1%}, with the integer weights computed"
        f" in floats on {agreement_of_weights:.1%}; {worst.name} has"
        f" {worst.snr_db:.0f} dB, and other ranges would not help"
    )
    return [cause("precision", 1 - pair.agreement, evidence)]
