"""Images are shown rightly and wrongly, and what they do is what calibration sees."""

import broken
import numpy as np
import pytest

from edgetpu_lib import calibrate, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import observations
from edgetpu_lib.images import pixels


@pytest.fixture(scope="module")
def network(float_tflite):
    return observations.open_network(float_tflite.read_bytes())


@pytest.fixture(scope="module")
def seen(network, images):
    return observations.observe_images(network, images, progress=None)


WAYS = {
    observations.RIGHT: broken.rightly,
    observations.BGR: lambda images: [p[..., ::-1] for p in broken.rightly(images)],
    observations.SQUARE: broken.whole_square,
    observations.UNIT: lambda images: broken.as_unit(broken.rightly(images)),
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
    found = seen[observations.RIGHT].ranges(network, 5)
    for index, each in expected.tensors.items():
        assert found.tensors[index].high == pytest.approx(each.high, rel=1e-6)


def test_scores_are_the_models_answers(network, seen, images, classifier):
    arrays = pixels.normalize(data.load_pixels(images, 32))
    logits = np.asarray(classifier.predict(arrays, verbose=0), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = seen[observations.RIGHT].scores
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_all_ways_see_every_photo(seen, images):
    assert len(seen) == 6
    assert all(len(each) == len(images) for each in seen.values())


def test_parts_are_joined(network, seen, images):
    parts = [
        observations.observe_images(network, images.take(rows), progress=None)
        for rows in (np.arange(12), np.arange(12, 30))
    ]
    joined = parts[0][observations.BGR].joined(parts[1][observations.BGR])
    np.testing.assert_array_equal(joined.highs, seen[observations.BGR].highs)


def test_noise_is_the_same_every_time(network):
    first, again = (observations.observe_noise(network, progress=None) for _ in "ab")
    assert all(observations.NOISE in kind for kind in first[0])
    assert "black" in first[1]
    for mine, theirs in zip(first, again, strict=True):
        for kind, each in mine.items():
            np.testing.assert_array_equal(each.highs, theirs[kind].highs)


def test_jpeg_cut_short_is_named(tmp_path, network, images):
    cut = tmp_path / "cut.jpg"
    whole = next(p for p in images.paths if p.suffix == ".jpg").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.jpg"):
        observations._squeeze(cut, 32)
