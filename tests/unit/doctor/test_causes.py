"""Causes are named only on evidence, and in the order of what they explain."""

import numpy as np
import pytest

from edgetpu_lib.doctor import causes
from edgetpu_lib.doctor import preprocessing_variants as variants
from edgetpu_lib.doctor.ranges import Observations
from edgetpu_lib.doctor.weight_errors import PaddingDifference, WeightError
from edgetpu_lib.evaluation import metrics


def weights(**changes):
    same = {
        "name": "stem_relu",
        "kind": "CONV_2D",
        "channels": 100,
        "scales": 100,
        "factor_low": 0.999,
        "factor_high": 1.001,
        "larger": 0.0,
        "smaller": 0.0,
        "noise": 0.99,
        "bias_changed": 0.0,
        "dominance": 2.0,
    }
    return WeightError(**{**same, **changes})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"larger": 0.003, "smaller": 0.002}, None),
        ({"larger": 0.4}, "batch-norm-epsilon"),
        ({"smaller": 0.4}, "batch-norm-epsilon"),
        ({"larger": 0.4, "smaller": 0.4}, "other-weights"),
        ({"noise": 8.0}, "other-weights"),
        ({"noise": 8.0, "larger": 0.4}, "other-weights"),
        ({"bias_changed": 0.9}, "other-weights"),
    ],
)
def test_stored_weights_tell_what_was_quantized(changes, code):
    found = causes.of_weights([weights(**changes)], [], 0.7)
    assert [each.code for each in found] == ([code] if code else [])
    assert all(each.explains == pytest.approx(0.3) for each in found)


def test_padding_is_named_with_both_paddings():
    difference = PaddingDifference("stem_relu", (0, 1, 0, 1), (1, 1, 1, 1))
    (found,) = causes.of_weights([weights()], [difference], 0.5)
    assert found.code == "padding"
    assert "(0, 1, 0, 1)" in found.evidence and "(1, 1, 1, 1)" in found.evidence


def test_a_network_without_weights_has_no_cause():
    assert causes.of_weights([], [], 1.0) == []


def test_what_explains_most_comes_first_and_the_device_after_the_grave():
    def cause(code, explains):
        return causes.cause(code, explains, "")

    ordered = causes.in_order(
        [
            cause("per-channel-classifier", 0.0),
            cause("preprocessing-bgr", 0.0),
            cause("labels-shifted", 0.6),
            cause("calibration-noise", 0.3),
        ]
    )
    assert [each.code for each in ordered] == [
        "labels-shifted",
        "calibration-noise",
        "per-channel-classifier",
        "preprocessing-bgr",
    ]


def test_every_remedy_is_a_line():
    assert all(text and "\n" not in text for text in causes.REMEDIES.values())


def answering(labels, classes=4):
    return np.eye(classes)[labels] * 0.9


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_shift_of_labels_is_found(shift):
    labels = np.random.default_rng(0).integers(1, 3, 40)
    predictions = metrics.best_predictions(answering(labels + shift))
    found, by = causes.of_labels(predictions, labels)
    assert by == shift
    assert [each.code for each in found] == (["labels-shifted"] if shift else [])


def seen(right, better, labels):
    """Return a model that is right on so many images, and on more the other way."""

    def scores(count):
        wrong = (labels + 1) % 4
        given = np.where(np.arange(len(labels)) < count, labels, wrong)
        return Observations(np.zeros(0), np.zeros(0), answering(given))

    ways = dict.fromkeys(
        (variants.SQUARE, variants.WHOLE, variants.UNIT), scores(right)
    )
    return {
        variants.RIGHT: scores(right),
        variants.BGR: scores(better),
        **ways,
    }


@pytest.mark.parametrize(
    ("right", "better", "named"),
    [(40, 80, True), (60, 63, False), (60, 66, False), (80, 40, False)],
)
def test_preprocessing_must_be_clearly_better(right, better, named):
    labels = np.random.default_rng(0).integers(0, 4, 100)
    found = causes.of_preprocessing(seen(right, better, labels), labels)
    assert [each.code for each in found] == (["preprocessing-bgr"] if named else [])
