"""The same numbers for every model, and the published ones for published models."""

import numpy as np
import pytest

from edgetpu_lib import data, evaluate, interpreter
from edgetpu_lib.artifacts import InputError
from edgetpu_lib.evaluate import Metrics


def test_top1_and_top5_are_counted():
    scores = np.array(
        [
            [0.9, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01],  # best
            [0.5, 0.4, 0.05, 0.02, 0.02, 0.01, 0.0],  # second
            [0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04],  # fifth
            [0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04],  # sixth
        ]
    )
    metrics = evaluate.measure(scores, np.array([0, 1, 4, 5]))
    assert metrics == Metrics(images=4, top1=0.25, top5=0.75, classes=7)


def test_ties_go_to_the_lower_index():
    scores = np.full((2, 6), 0.5)
    metrics = evaluate.measure(scores, np.array([0, 5]))
    assert (metrics.top1, metrics.top5) == (0.5, 0.5)


def test_five_classes_are_always_in_the_top_five():
    scores = np.random.default_rng(0).random((20, 5))
    labels = np.random.default_rng(1).integers(0, 5, 20)
    assert evaluate.measure(scores, labels).top5 == 1


@pytest.mark.parametrize(
    ("answers", "labels", "named"),
    [(3, [0, 1], "3"), (0, [], "0"), (2, [0, 4], "4"), (2, [-1, 0], "-1")],
)
def test_labels_that_do_not_fit_are_refused(answers, labels, named):
    with pytest.raises(InputError, match=named):
        evaluate.measure(np.zeros((answers, 4)), np.array(labels, np.int64))


def test_agreement_is_the_share_of_equal_answers():
    scores = np.eye(4)
    others = np.eye(4)[[0, 1, 2, 0]] * 0.3
    assert evaluate.agreement(scores, others) == 0.75
    assert evaluate.agreement(scores, scores) == 1


def test_agreement_of_unlike_models_is_refused():
    with pytest.raises(InputError, match="5"):
        evaluate.agreement(np.zeros((2, 4)), np.zeros((2, 5)))


def test_confusion_counts_truth_by_row():
    scores = np.eye(3)[[0, 1, 1, 2, 0]]
    labels = np.array([0, 0, 1, 2, 2])
    matrix = evaluate.confusion(scores, labels)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_keras_model_is_measured(classifier, photos):
    scores = evaluate.predict_keras(classifier, photos, progress=None)
    assert scores.shape == (30, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert evaluate.measure(scores, photos.labels) == Metrics(30, 1.0, 1.0, 3)


def test_scores_belong_to_their_photos(classifier, photos):
    order = np.random.default_rng(0).permutation(len(photos))
    straight = evaluate.predict_keras(classifier, photos, progress=None)
    shuffled = evaluate.predict_keras(classifier, photos.take(order), progress=None)
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-5)


def test_file_and_bytes_answer_alike(float_tflite, photos):
    few = photos.take(np.arange(0, 30, 7))
    from_path = evaluate.predict_tflite(float_tflite, few, progress=None)
    from_bytes = evaluate.predict_tflite(float_tflite.read_bytes(), few, progress=None)
    assert from_path.shape == (5, 3)
    assert np.array_equal(from_path, from_bytes)


def test_damaged_photo_is_named(float_tflite, classifier, draw_folders, tmp_path):
    photos = data.list_photos(draw_folders(tmp_path / "colours", 2))
    photos.paths[4].write_bytes(b"")
    for predict, model in (
        (evaluate.predict_tflite, float_tflite),
        (evaluate.predict_keras, classifier),
    ):
        with pytest.raises(InputError, match=str(photos.paths[4])):
            predict(model, photos, progress=None)


@pytest.fixture(scope="module")
def imagenet(shared):
    """Return 100 photos with labels that count the background as class 0."""
    folder = shared("data/photos")
    truth = [int(line) for line in (folder / "ground_truth.txt").read_text().split()]
    found = data.list_pictures(folder)
    return data.Photos(found.paths, np.array(truth) + 1, found.class_names)


@pytest.mark.parametrize(
    ("name", "top1", "top5"),
    [
        ("mobilenet_v2_1.0_224_quant", 0.87, 0.99),
        ("tf2_mobilenet_v2_1.0_224_ptq", 0.91, 1.0),
    ],
)
def test_published_models_reach_their_numbers(imagenet, shared, name, top1, top5):
    model = shared(f"models/{name}.tflite")
    scores = evaluate.predict_tflite(model, imagenet, progress=None)
    metrics = evaluate.measure(scores, imagenet.labels)
    assert metrics == Metrics(images=100, top1=top1, top5=top5, classes=1001)


def test_integer_file_is_fed_rounded_and_clipped_pixels(
    int8_tflite, photos, monkeypatch
):
    fed = []
    run = interpreter.run

    def watch(opened, picture):
        fed.append(picture)
        return run(opened, picture)

    monkeypatch.setattr(interpreter, "run", watch)
    few = photos.take(np.arange(2))
    evaluate.predict_tflite(int8_tflite, few, progress=None)
    for picture, path in zip(fed, few.paths, strict=True):
        exact = data.load_picture(path, 32)
        assert np.abs(picture - exact.clip(0, 255)).max() <= 0.5
