"""The same answers whatever the workers, and after any interruption."""

import numpy as np
import pytest

from edgetpu_lib import data, evaluate
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import opening
from edgetpu_lib.evaluation import classifiers, metrics


@pytest.fixture(scope="module")
def opened(float_tflite):
    return classifiers.open_classifier(float_tflite, workers=3)


def test_the_answers_do_not_depend_on_the_workers(opened, int8_tflite, photos):
    for classifier in (opened, classifiers.open_classifier(int8_tflite)):
        alone = evaluate.predict(classifier, photos, workers=1, progress=None)
        many = evaluate.predict(classifier, photos, workers=5, progress=None)
        assert (alone.indices == many.indices).all()
        assert (alone.probabilities == many.probabilities).all()


def test_answers_belong_to_their_photos(opened, classifier, photos):
    order = np.random.default_rng(0).permutation(len(photos))
    for each in (opened, classifiers.open_classifier(classifier)):
        straight = evaluate.predict(each, photos, progress=None)
        shuffled = evaluate.predict(each, photos.take(order), progress=None)
        assert (shuffled.indices == straight.indices[order]).all()
        assert straight.classes == 3


def test_answers_equal_a_plain_loop(opened, photos):
    found = evaluate.predict(opened, photos, progress=None)
    for place, path in enumerate(photos.paths):
        scores = opened.answer(data.load_picture(path, 32)[None])[0]
        assert found.best[place] == scores.argmax()
        assert found.probabilities[place, 0] == scores.max()


def test_everything_is_measured(opened, photos):
    found = evaluate.evaluate(opened, photos, progress=None)
    assert found.metrics.top1 == 1
    assert found.label_shift == 0
    assert found.names == photos.class_names
    assert [row.images for row in found.classes] == [10, 10, 10]
    assert len(found.mistakes) == 0
    assert found.photos_per_s > 0
    assert found.latency.p50_ms > 0


def test_the_background_moves_labels_and_names(opened, photos):
    two = photos.take(np.flatnonzero(photos.labels > 0))
    named = data.Photos(two.paths, two.labels - 1, photos.class_names[1:])
    found = evaluate.evaluate(opened, named, background=1, progress=None)
    assert found.metrics.top1 == 1
    assert found.names == ("background", *photos.class_names[1:])
    without = evaluate.evaluate(opened, named, progress=None)
    assert without.metrics.top1 == 0
    assert without.label_shift == 1


def test_labels_beyond_the_outputs_are_refused_before_the_work(opened, photos):
    far = data.Photos(photos.paths, photos.labels + 1, photos.class_names)
    with pytest.raises(InputError, match="include_background_label"):
        evaluate.evaluate(opened, far, progress=None)


def test_damaged_photo_is_named(opened, classifier, draw_folders, tmp_path):
    photos = data.list_photos(draw_folders(tmp_path / "colours", 2))
    photos.paths[4].write_bytes(b"")
    for each in (opened, classifiers.open_classifier(classifier)):
        with pytest.raises(InputError, match=str(photos.paths[4])):
            evaluate.predict(each, photos, progress=None)


def failing_at(classifier, count):
    """Return a classifier that fails after so many answers, and how many it gave."""
    given = []

    def answer(images):
        if len(given) >= count:
            raise RuntimeError("out of order\nsecond line")
        given.append(len(images))
        return classifier.answer(images)

    fields = {**vars(classifier), "answer": answer}
    return classifiers.Classifier(**fields), given


def test_a_crash_of_the_model_names_the_photo(opened, photos):
    broken, _ = failing_at(opened, 7)
    with pytest.raises(InputError) as caught:
        evaluate.predict(broken, photos, workers=1, progress=None)
    assert str(photos.paths[7]) in str(caught.value)
    assert "out of order second line" in str(caught.value)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(opened, photos, tmp_path):
    broken, _ = failing_at(opened, 12)
    with pytest.raises(InputError):
        evaluate.predict(broken, photos, workers=1, journal_dir=tmp_path, progress=None)
    assert len(list(tmp_path.iterdir())) == 1
    rest, given = failing_at(opened, 1000)
    found = evaluate.predict(rest, photos, journal_dir=tmp_path, progress=None)
    assert len(given) == len(photos) - 12
    whole = evaluate.predict(opened, photos, progress=None)
    assert (found.indices == whole.indices).all()
    assert (found.probabilities == whole.probabilities).all()
    assert not list(tmp_path.iterdir())


def test_what_is_kept_is_kept_between_errors_too(opened, photos, tmp_path, monkeypatch):
    """A killed process cannot tidy up; what was written before is there."""
    monkeypatch.setattr(evaluate, "JOURNAL_SECONDS", 0)
    seen = []

    def answer(images):
        (journal,) = list(tmp_path.iterdir()) or [None]
        seen.append(journal.stat().st_size if journal else 0)
        return opened.answer(images)

    watched = classifiers.Classifier(**{**vars(opened), "answer": answer})
    evaluate.predict(watched, photos, workers=1, journal_dir=tmp_path, progress=None)
    assert seen[-1] > 0


def test_another_model_starts_afresh(opened, int8_tflite, photos, tmp_path):
    broken, _ = failing_at(opened, 5)
    with pytest.raises(InputError):
        evaluate.predict(broken, photos, journal_dir=tmp_path, progress=None)
    other, given = failing_at(classifiers.open_classifier(int8_tflite), 1000)
    evaluate.predict(other, photos, journal_dir=tmp_path, progress=None)
    assert len(given) == len(photos)


@pytest.mark.parametrize(
    ("name", "top1", "top5"),
    [
        ("mobilenet_v2_1.0_224_quant", 0.87, 0.99),
        ("tf2_mobilenet_v2_1.0_224_ptq", 0.91, 1.0),
    ],
)
def test_published_models_reach_their_numbers(shared, name, top1, top5):
    folder = shared("data/photos")
    photos = opening.open_ground_truth(f"{folder}/*.JPEG", folder / "ground_truth.txt")
    model = classifiers.open_classifier(shared(f"models/{name}.tflite"))
    answers = evaluate.predict(model, photos, progress=None)
    found = metrics.measure(answers, photos.labels + 1)
    assert (found.images, found.classes) == (100, 1001)
    assert (found.top1, found.top5) == (top1, top5)
    assert metrics.label_shift(answers, photos.labels) == 1
