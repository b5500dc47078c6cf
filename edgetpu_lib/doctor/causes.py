"""Name why an integer file answers worse, from what was measured.

Takes differences of weights, paddings and answers; gives causes with evidence and
remedy.
Next: `diagnose` puts the likeliest first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgetpu_lib.doctor import observations
from edgetpu_lib.doctor.weight_errors import PaddingDifference, WeightError
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.evaluation.metrics import Predictions
from edgetpu_lib.hardware import check

# Of the channels of a network; rounding alone moves none. Another epsilon moves
# channels of small variance one way, another training moves them both ways.
_CHANNELS_MOVED = 0.02
# Of rounding's own error: the same weights have 0.9 to 1.0, the weights of another
# epoch 3 and more.
_NOISE_OF_OTHER_WEIGHTS = 1.5
_BIASES_CHANGED = 0.2
# That another preprocessing is better by chance: one in four thousand, of four tried.
_P_VALUE = 0.00025
# And better by so much: models trained on varied crops like a wider view a little.
_LEAST_GAIN = 0.05
# An operator that answers wrongly on the device only weighs as much as a small loss
# here: it is first unless something graver is found.
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
    "other-weights": "export the integer file from this very model; raw and averaged"
    " weights of a checkpoint differ (--enable_ema)",
    "padding": "make both files from one model; PyTorch pads both sides alike,"
    " TensorFlow's SAME puts more at the end",
    "per-channel-classifier": "convert with one scale for the classifier, as export"
    " does (_experimental_disable_per_channel_quantization_for_dense_layers = True)",
    "precision": "look at the layers with the lowest signal-to-noise ratio; train with"
    " quantization in mind, or compute those layers in floats",
    "preprocessing-bgr": "exchange red and blue: OpenCV reads BGR, these models take"
    " RGB",
    "preprocessing-div255": "normalise as in training, (pixel − 127) / 128, not pixel /"
    " 255",
    "preprocessing-no-crop": "crop the centre 87.5 % before resizing, as in training",
    "ranges": "calibrate with images like those the model will see",
}


@dataclasses.dataclass(frozen=True)
class Cause:
    """One reason why answers are lost.

    Attributes:
        code: stable name, for programs.
        explains: share of the images whose answers it explains, 0..1, as far as that
            could be measured here.
        evidence: what was found, with its numbers.
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
    """Put what explains most first; what shows on the device only after the grave."""

    def weight(found: Cause) -> float:
        on_device = found.code == "per-channel-classifier"
        return _DEVICE_WEIGHT if on_device else found.explains

    return tuple(sorted(causes, key=weight, reverse=True))


def of_weights(
    weights: Sequence[WeightError],
    paddings: Sequence[PaddingDifference],
    agreement: float,
) -> list[Cause]:
    """Name what differs between the stored networks.

    Args:
        weights: of all layers.
        paddings: that differ.
        agreement: of the float model with the integer file's own weights computed in
            floats, 0..1.
    """
    found = []
    lost = 1 - agreement
    without = f"; without any rounding the two agree on {agreement:.1%}"
    if paddings:
        first = paddings[0]
        found.append(
            cause(
                "padding",
                lost,
                f"{len(paddings)} layers pad differently, {first.name} first: (top,"
                f" bottom, left, right) = {first.float_padding} in the float model,"
                f" {first.int8_padding} in the integer file{without}",
            )
        )
    code, words = _moved(weights)
    if code:
        found.append(cause(code, lost, words + without))
    return found


def _moved(weights: Sequence[WeightError]) -> tuple[str | None, str]:
    """Say whether stored weights are more than a rounding of the float ones."""
    channels = np.array([each.channels for each in weights])
    if not channels.sum():
        return None, ""

    def share(name: str) -> float:
        values = np.array([getattr(each, name) for each in weights])
        return float(values @ channels / channels.sum())

    larger, smaller = share("larger"), share("smaller")
    noise = float(np.median([each.noise for each in weights]))
    if noise > _NOISE_OF_OTHER_WEIGHTS or min(larger, smaller) > _CHANNELS_MOVED:
        return "other-weights", (
            f"the integer weights are {noise:.1f} times as far from the float ones as"
            f" rounding puts them; {larger:.0%} of the channels are larger,"
            f" {smaller:.0%} smaller"
        )
    if max(larger, smaller) > _CHANNELS_MOVED:
        low = min(each.factor_low for each in weights)
        high = max(each.factor_high for each in weights)
        word = "larger" if larger > smaller else "smaller"
        return "batch-norm-epsilon", (
            f"in {max(larger, smaller):.0%} of the channels all weights are {word} by"
            f" one factor, {low:.3f} to {high:.3f}, in {min(larger, smaller):.0%} the"
            " other way, as another epsilon does when batch normalisation is folded in"
        )
    changed = share("bias_changed")
    if changed > _BIASES_CHANGED:
        return "other-weights", (
            f"{changed:.0%} of the biases differ though the weights are the same, as"
            " after batch normalisation with other statistics"
        )
    return None, ""


def of_labels(predictions: Predictions, labels: np.ndarray) -> tuple[list[Cause], int]:
    """Find out whether labels are shifted by one.

    Args:
        predictions: of the float model.
        labels: int [images], taken as indices of its outputs.

    Returns:
        The cause, if any, and what to add to every label: 0, −1 or 1.
    """
    shift = metrics.label_shift(predictions, labels)
    if not shift:
        return [], 0
    top1 = [float((predictions.best == labels + each).mean()) for each in (0, shift)]
    words = "larger" if shift > 0 else "smaller"
    evidence = (
        f"the float model is right on {top1[0]:.1%} of the images, and would be on"
        f" {top1[1]:.1%} if every label were one {words}"
    )
    return [cause("labels-shifted", top1[1] - top1[0], evidence)], shift


_WAYS = {
    observations.BGR: ("preprocessing-bgr", "with red and blue exchanged"),
    observations.SQUARE: ("preprocessing-no-crop", "without the centre crop"),
    observations.WHOLE: ("preprocessing-no-crop", "squeezed whole to a square"),
    observations.UNIT: ("preprocessing-div255", "divided by 255"),
}


def of_preprocessing(
    images: dict[str, observations.Observations], labels: np.ndarray
) -> list[Cause]:
    """Find out whether the float model was trained on pixels prepared another way.

    Args:
        images: way of preparing → what the float model does with the same images.
        labels: int [images], indices of its outputs.
    """
    right = metrics.best_predictions(images[observations.RIGHT].scores).best == labels
    likely = []
    for way, (code, words) in _WAYS.items():
        better = metrics.best_predictions(images[way].scores).best == labels
        gain = float(better.mean() - right.mean())
        p_value = metrics.paired_p_value(better, right)
        if gain >= _LEAST_GAIN and p_value < _P_VALUE:
            evidence = (
                f"the float model itself is right on {right.mean():.1%} of"
                f" {len(labels)} images, and on {better.mean():.1%} of the same {words}"
                f" (exact McNemar test, p = {p_value:.1g}): it was trained so"
            )
            likely.append((gain, code, evidence))
    return (
        [cause(code, gain, evidence) for gain, code, evidence in [max(likely)]]
        if (likely)
        else []
    )


def on_device(report: check.Report) -> list[Cause]:
    """Name what answers rightly here and wrongly on the Edge TPU.

    Args:
        report: of the integer file.
    """
    return [
        cause("per-channel-classifier", 0.0, f"on the Edge TPU: {found.reason}")
        for found in report.findings
        if found.code == "per-channel-fully-connected"
    ][:1]
