"""Images give the ranges that calibration sees; a file has those it was given."""

import broken
import numpy as np
import pytest

from edgetpu_lib import calibrate, data
from edgetpu_lib.doctor import dequantize, layer_errors, ranges
from edgetpu_lib.doctor import preprocessing_variants as variants
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite.file import Tensor


def observe(network, images):
    return ranges.observe(network, variants.prepare_variants(images, 32))


@pytest.fixture(scope="module")
def network(float_tflite):
    return ranges.open_network(float_tflite.read_bytes())


@pytest.fixture(scope="module")
def seen(network, images):
    return observe(network, images)


@pytest.fixture(scope="module")
def file(network, int8_tflite):
    return ranges.file_ranges(network, int8_tflite.read_bytes())


@pytest.fixture(scope="module")
def right(seen):
    return seen[variants.RIGHT]


WAYS = {
    variants.RIGHT: broken.rightly,
    variants.BGR: lambda images: [p[..., ::-1] for p in broken.rightly(images)],
    variants.SQUARE: broken.whole_square,
    variants.UNIT: lambda images: broken.as_unit(broken.rightly(images)),
}


@pytest.mark.parametrize("way", WAYS)
def test_ranges_are_those_of_calibration(network, seen, images, way):
    arrays = WAYS[way](images)
    expected = calibrate.measure_ranges(network.content, arrays)
    found = seen[way].ranges(network, len(images))
    assert found.images == len(images)
    assert set(found.tensors) == set(expected.tensors)
    for index, each in expected.tensors.items():
        mine = found.tensors[index]
        assert mine.name == each.name
        assert (mine.low, mine.high) == pytest.approx((each.low, each.high), rel=1e-6)


def test_some_photos_set_some_ranges(network, seen, images):
    arrays = broken.rightly(images)[:5]
    expected = calibrate.measure_ranges(network.content, arrays)
    found = seen[variants.RIGHT].ranges(network, 5)
    for index, each in expected.tensors.items():
        assert found.tensors[index].high == pytest.approx(each.high, rel=1e-6)


def test_scores_are_the_models_answers(network, seen, images, classifier):
    arrays = pixels.normalize(data.load_pixels(images, 32))
    logits = np.asarray(classifier.predict(arrays, verbose=0), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = seen[variants.RIGHT].scores
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_parts_are_joined(network, seen, images):
    parts = [
        observe(network, images.take(rows))
        for rows in (np.arange(12), np.arange(12, 30))
    ]
    joined = parts[0][variants.BGR].joined(parts[1][variants.BGR])
    np.testing.assert_array_equal(joined.highs, seen[variants.BGR].highs)


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
    features = file.features
    assert len(features) == len(file.columns) + (~file.one_sided).sum()
    np.testing.assert_allclose(features[: len(file.columns)], np.log(file.high))
    twice = ranges.FileRanges(file.columns, 2 * file.low, 2 * file.high).features
    np.testing.assert_allclose(twice - features, np.log(2))


def test_one_sided_tensors_are_those_behind_a_relu(network, file):
    names = np.array(list(network.names.values()))[file.columns]
    assert all(
        ("relu" in name) == one for name, one in zip(names, file.one_sided, strict=True)
    )


def test_ranges_fit_the_files_own_weights_as_well(int8_tflite, file):
    content = int8_tflite.read_bytes()
    twin = ranges.open_network(dequantize.to_float(content))
    np.testing.assert_array_equal(ranges.file_ranges(twin, content).high, file.high)


def test_representable_values_are_those_of_scale_and_zero_point():
    tensor = Tensor("t", "int8", (1,), (1,), (0.5,), (-28,), None)
    assert layer_errors.representable(tensor) == (-50.0, 77.5)
    tensor = Tensor("t", "uint8", (1,), (1,), (0.0078125,), (127,), None)
    assert layer_errors.representable(tensor) == (-0.9921875, 1.0)
