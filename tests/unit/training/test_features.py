"""Features are computed once, and anew when anything they depend on has changed."""

import numpy as np
import pytest

from edgetpu_lib import build, data
from edgetpu_lib.images import pixels
from edgetpu_lib.training import features


@pytest.fixture
def counted(monkeypatch):
    """Return a list that grows with every batch computed."""
    batches = []
    predict = features._predict

    def count(*arguments):
        batches.append(1)
        return predict(*arguments)

    monkeypatch.setattr(features, "_predict", count)
    return batches


def test_rows_are_the_pooled_features(classifier, images):
    rows = features.pooled_features(classifier, images)
    arrays = pixels.normalize(
        np.stack([data.load_image(path, 32) for path in images.paths])
    )
    pooled = build.feature_model(classifier, "pooled_features").predict_on_batch(arrays)
    np.testing.assert_allclose(rows, np.reshape(pooled, (30, -1)), atol=1e-5)
    assert rows.dtype == np.float32


def test_second_call_reads_what_the_first_kept(classifier, images, tmp_path, counted):
    first = features.pooled_features(classifier, images, cache_dir=tmp_path)
    second = features.pooled_features(classifier, images, cache_dir=tmp_path)
    assert len(counted) == 1
    np.testing.assert_array_equal(first, second)


def test_changes_are_noticed(new_model, images, tmp_path, counted):
    def look(model, images):
        features.pooled_features(model, images, cache_dir=tmp_path)

    model = new_model()
    look(model, images)
    model.get_layer("stem_bn").gamma.assign(np.full(8, 2.0))
    look(model, images)
    look(new_model(image_size=40), images)
    look(model, images.take(np.arange(29, -1, -1)))
    assert len(counted) == 4


def test_other_classifier_needs_no_new_features(new_model, images, tmp_path, counted):
    model = new_model()
    features.pooled_features(model, images, cache_dir=tmp_path)
    build.zero_classifier(model)
    features.pooled_features(model, images, cache_dir=tmp_path)
    assert len(counted) == 1


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_damaged_cache_is_made_again(classifier, images, tmp_path, counted, content):
    first = features.pooled_features(classifier, images, cache_dir=tmp_path)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(content)
    again = features.pooled_features(classifier, images, cache_dir=tmp_path)
    np.testing.assert_array_equal(first, again)
    assert len(counted) == 2
