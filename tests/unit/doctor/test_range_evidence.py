"""The ranges in a file are read as calibration set them."""

import numpy as np
import pytest

from edgetpu_lib.doctor import dequantize, layer_errors, observations, range_evidence
from edgetpu_lib.tflite.file import Tensor


@pytest.fixture(scope="module")
def network(float_tflite):
    return observations.open_network(float_tflite.read_bytes())


@pytest.fixture(scope="module")
def file(network, int8_tflite):
    return range_evidence.file_ranges(network, int8_tflite.read_bytes())


@pytest.fixture(scope="module")
def right(network, images):
    seen = observations.observe_images(network, images, progress=None)
    return seen[observations.RIGHT]


def test_ranges_are_those_of_the_calibration_photos(file, right):
    """But for the zero point, which is rounded to a step."""
    step = (file.high - file.low) / 255
    highs = right.highs.max(axis=0)[file.columns]
    lows = np.minimum(right.lows.min(axis=0), 0)[file.columns]
    assert (np.abs(file.high - highs) <= step * 0.51).all()
    assert (np.abs(file.low - lows) <= step * 0.51).all()
    np.testing.assert_allclose(file.high - file.low, highs - lows, rtol=1e-5)


def test_what_nobody_measured_is_left_out(network, file):
    names = list(network.names.values())
    chosen = [names[column] for column in file.columns]
    assert len(chosen) > 15
    # Pools and the softmax take their range from elsewhere; what is added gets a wider
    # one from TensorFlow's calibrator.
    assert not any("pooled" in name or "Identity" in name for name in chosen)
    assert not any("block_5_project" in name for name in chosen)
    assert any("block_5_add" in name for name in chosen)


def test_features_are_logarithms_of_both_ends(file):
    features = file.features(file.low, file.high)
    assert len(features) == len(file.columns) + (~file.one_sided).sum()
    np.testing.assert_allclose(features[: len(file.columns)], np.log(file.high))
    twice = file.features(2 * file.low, 2 * file.high)
    np.testing.assert_allclose(twice - features, np.log(2))


def test_one_sided_tensors_are_those_behind_a_relu(network, file):
    names = np.array(list(network.names.values()))[file.columns]
    assert all(
        ("relu" in name) == one for name, one in zip(names, file.one_sided, strict=True)
    )


def test_ranges_fit_the_files_own_weights_as_well(int8_tflite, file):
    content = int8_tflite.read_bytes()
    twin = observations.open_network(dequantize.to_float(content))
    np.testing.assert_array_equal(
        range_evidence.file_ranges(twin, content).high, file.high
    )


def test_representable_values_are_those_of_scale_and_zero_point():
    tensor = Tensor("t", "int8", (1,), (1,), (0.5,), (-28,), None)
    assert layer_errors.representable(tensor) == (-50.0, 77.5)
    tensor = Tensor("t", "uint8", (1,), (1,), (0.0078125,), (127,), None)
    assert layer_errors.representable(tensor) == (-0.9921875, 1.0)
