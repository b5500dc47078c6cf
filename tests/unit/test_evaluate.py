"""The same answers whatever the workers, and after any interruption."""

import numpy as np
import pytest

from edgetpu_lib import data, evaluate
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import files
from edgetpu_lib.evaluation import classifiers, journal, metrics


@pytest.fixture(scope="module")
def opened(float_tflite):
    return classifiers.open_classifier(float_tflite, workers=3)


def test_the_answers_do_not_depend_on_the_workers(opened, int8_tflite, images):
    for classifier in (opened, classifiers.open_classifier(int8_tflite)):
        alone = evaluate.predict(classifier, images, workers=1, progress=None)
        many = evaluate.predict(classifier, images, workers=5, progress=None)
        assert (alone.indices == many.indices).all()
        assert (alone.probabilities == many.probabilities).all()


def test_answers_belong_to_their_photos(opened, classifier, images):
    order = np.random.default_rng(0).permutation(len(images))
    for each in (opened, classifiers.open_classifier(classifier)):
        straight = evaluate.predict(each, images, progress=None)
        shuffled = evaluate.predict(each, images.take(order), progress=None)
        assert (shuffled.indices == straight.indices[order]).all()
        assert straight.classes == 3


def test_answers_equal_a_plain_loop(opened, images):
    found = evaluate.predict(opened, images, progress=None)
    for place, path in enumerate(images.paths):
        scores = opened.predict(data.load_image(path, 32)[None])[0]
        assert found.best[place] == scores.argmax()
        assert found.probabilities[place, 0] == scores.max()


def test_everything_is_measured(opened, images):
    found = evaluate.evaluate(opened, images, progress=None)
    assert found.metrics.top1 == 1
    assert found.label_shift == 0
    assert found.names == images.class_names
    assert [row.images for row in found.classes] == [10, 10, 10]
    assert len(found.mistakes) == 0
    assert found.images_per_s > 0
    assert found.latency.p50_ms > 0


def test_the_background_moves_labels_and_names(opened, images):
    two = images.take(np.flatnonzero(images.labels > 0))
    named = data.Images(two.paths, two.labels - 1, images.class_names[1:])
    found = evaluate.evaluate(opened, named, label_offset=1, progress=None)
    assert found.metrics.top1 == 1
    assert found.names == ("background", *images.class_names[1:])
    without = evaluate.evaluate(opened, named, progress=None)
    assert without.metrics.top1 == 0
    assert without.label_shift == 1


def test_labels_beyond_the_outputs_are_refused_before_the_work(opened, images):
    far = data.Images(images.paths, images.labels + 1, images.class_names)
    with pytest.raises(InputError, match="include_background_label"):
        evaluate.evaluate(opened, far, progress=None)


def test_damaged_photo_is_named(opened, classifier, draw_folders, tmp_path):
    images = data.list_images(draw_folders(tmp_path / "colours", 2))
    images.paths[4].write_bytes(b"")
    for each in (opened, classifiers.open_classifier(classifier)):
        with pytest.raises(InputError, match=str(images.paths[4])):
            evaluate.predict(each, images, progress=None)


def failing_at(classifier, count):
    """Return a classifier that fails after so many answers, and how many it gave."""
    given = []

    def predict(images):
        if len(given) >= count:
            raise RuntimeError("out of order\nsecond line")
        given.append(len(images))
        return classifier.predict(images)

    fields = {**vars(classifier), "predict": predict}
    return classifiers.Classifier(**fields), given


def test_a_crash_of_the_model_names_the_photo(opened, images):
    broken, _ = failing_at(opened, 7)
    with pytest.raises(InputError) as caught:
        evaluate.predict(broken, images, workers=1, progress=None)
    assert str(images.paths[7]) in str(caught.value)
    assert "out of order second line" in str(caught.value)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(opened, images, tmp_path):
    broken, _ = failing_at(opened, 12)
    with pytest.raises(InputError):
        evaluate.predict(broken, images, workers=1, journal_dir=tmp_path, progress=None)
    assert len(list(tmp_path.iterdir())) == 1
    rest, given = failing_at(opened, 1000)
    found = evaluate.predict(rest, images, journal_dir=tmp_path, progress=None)
    assert len(given) == len(images) - 12
    whole = evaluate.predict(opened, images, progress=None)
    assert (found.indices == whole.indices).all()
    assert (found.probabilities == whole.probabilities).all()
    assert not list(tmp_path.iterdir())


def test_what_is_kept_is_kept_between_errors_too(opened, images, tmp_path, monkeypatch):
    """A killed process cannot tidy up; what was written before is there."""
    monkeypatch.setattr(journal, "SAVE_EVERY_S", 0)
    seen = []

    def predict(arrays):
        (file,) = list(tmp_path.iterdir()) or [None]
        seen.append(file.stat().st_size if file else 0)
        return opened.predict(arrays)

    watched = classifiers.Classifier(**{**vars(opened), "predict": predict})
    evaluate.predict(watched, images, workers=1, journal_dir=tmp_path, progress=None)
    assert seen[-1] > 0


def test_another_model_starts_afresh(opened, int8_tflite, images, tmp_path):
    broken, _ = failing_at(opened, 5)
    with pytest.raises(InputError):
        evaluate.predict(broken, images, journal_dir=tmp_path, progress=None)
    other, given = failing_at(classifiers.open_classifier(int8_tflite), 1000)
    evaluate.predict(other, images, journal_dir=tmp_path, progress=None)
    assert len(given) == len(images)


@pytest.mark.parametrize(
    ("name", "top1", "top5"),
    [
        ("mobilenet_v2_1.0_224_quant", 0.87, 0.99),
        ("tf2_mobilenet_v2_1.0_224_ptq", 0.91, 1.0),
    ],
)
def test_published_models_reach_their_numbers(shared, name, top1, top5):
    folder = shared("data/photos")
    images = files.open_ground_truth(f"{folder}/*.JPEG", folder / "ground_truth.txt")
    model = classifiers.open_classifier(shared(f"models/{name}.tflite"))
    predictions = evaluate.predict(model, images, progress=None)
    found = metrics.measure(predictions, images.labels + 1)
    assert (found.images, found.classes) == (100, 1001)
    assert (found.top1, found.top5) == (top1, top5)
    assert metrics.label_shift(predictions, images.labels) == 1
