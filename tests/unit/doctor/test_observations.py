"""Photos are shown rightly and wrongly, and what they do is what calibration sees."""

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
def seen(network, photos):
    return observations.observe_photos(network, photos, progress=None)


WAYS = {
    observations.RIGHT: broken.rightly,
    observations.BGR: lambda photos: [p[..., ::-1] for p in broken.rightly(photos)],
    observations.SQUARE: broken.whole_square,
    observations.UNIT: lambda photos: broken.as_unit(broken.rightly(photos)),
}


@pytest.mark.parametrize("way", WAYS)
def test_ranges_are_those_of_calibration(network, seen, photos, way):
    pictures = WAYS[way](photos)
    expected = calibrate.measure_ranges(network.content, pictures)
    found = seen[way].ranges(network, len(photos))
    assert found.pictures == len(photos)
    assert set(found.tensors) == set(expected.tensors)
    for index, each in expected.tensors.items():
        mine = found.tensors[index]
        assert mine.name == each.name
        assert (mine.low, mine.high) == pytest.approx((each.low, each.high), rel=1e-6)


def test_some_photos_set_some_ranges(network, seen, photos):
    pictures = broken.rightly(photos)[:5]
    expected = calibrate.measure_ranges(network.content, pictures)
    found = seen[observations.RIGHT].ranges(network, 5)
    for index, each in expected.tensors.items():
        assert found.tensors[index].high == pytest.approx(each.high, rel=1e-6)


def test_scores_are_the_models_answers(network, seen, photos, classifier):
    images = pixels.normalize(data.load_pixels(photos, 32))
    logits = np.asarray(classifier.predict(images, verbose=0), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = seen[observations.RIGHT].scores
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_all_ways_see_every_photo(seen, photos):
    assert len(seen) == 6
    assert all(len(each) == len(photos) for each in seen.values())


def test_parts_are_joined(network, seen, photos):
    parts = [
        observations.observe_photos(network, photos.take(rows), progress=None)
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


def test_jpeg_cut_short_is_named(tmp_path, network, photos):
    cut = tmp_path / "cut.jpg"
    whole = next(p for p in photos.paths if p.suffix == ".jpg").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.jpg"):
        observations._squeeze(cut, 32)
