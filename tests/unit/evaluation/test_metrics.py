"""Numbers against brute-force loops; intervals against simulated truth."""

import numpy as np
import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.evaluation import metrics


@pytest.fixture(scope="module")
def seven():
    """Return answers of 200 images to seven classes, and labels; half are right."""
    rng = np.random.default_rng(5)
    scores = rng.random((200, 7)).round(1)  # With ties.
    labels = rng.integers(0, 7, 200)
    right = rng.random(200) < 0.4
    scores[right, labels[right]] = 1
    return scores, labels


def test_all_numbers_equal_a_plain_loop(seven):
    scores, labels = seven
    top1 = top5 = 0
    matrix = [[0] * 7 for _ in range(7)]
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        ranked = sorted(range(7), key=lambda index: (-row[index], index))
        top1 += ranked[0] == label
        top5 += label in ranked[:5]
        matrix[label][ranked[0]] += 1
    predictions = metrics.best_predictions(scores)
    found = metrics.measure(predictions, labels)
    assert (found.images, found.classes) == (200, 7)
    assert found.top1 == top1 / 200
    assert found.top5 == top5 / 200
    assert metrics.confusion(predictions, labels).tolist() == matrix
    rows = metrics.per_class(predictions, labels, "abcdefg")
    for index, row in enumerate(rows):
        assert (row.name, row.images) == ("abcdefg"[index], sum(matrix[index]))
        assert row.top1 == matrix[index][index] / sum(matrix[index])
        assert row.low < row.top1 < row.high


def test_ties_go_to_the_lower_index():
    predictions = metrics.best_predictions(np.full((2, 6), 0.5))
    found = metrics.measure(predictions, np.array([0, 5]))
    assert (found.top1, found.top5) == (0.5, 0.5)


def test_five_classes_are_always_in_the_top_five():
    scores = np.random.default_rng(0).random((20, 5))
    labels = np.random.default_rng(1).integers(0, 5, 20)
    assert metrics.measure(metrics.best_predictions(scores), labels).top5 == 1


@pytest.mark.parametrize(
    ("predictions", "labels", "named"),
    [(3, [0, 1], "3"), (0, [], "0"), (2, [0, 4], "4"), (2, [-1, 0], "-1")],
)
def test_labels_that_do_not_fit_are_refused(predictions, labels, named):
    given = metrics.best_predictions(np.zeros((predictions, 4)))
    with pytest.raises(InputError, match=named):
        metrics.measure(given, np.array(labels, np.int64))


def test_logits_become_probabilities_and_probabilities_stay():
    logits = np.array([[2.0, -1.0, 0.5]])
    predictions = metrics.best_predictions(logits)
    powers = np.exp(logits[0])
    assert predictions.indices.tolist() == [[0, 2, 1]]
    expected = (powers / powers.sum())[[0, 2, 1]]
    np.testing.assert_allclose(predictions.probabilities[0], expected, rtol=1e-6)
    # Quantized probabilities do not sum to one.
    rounded = metrics.best_predictions(np.array([[0.5, 0.25, 0.0]]))
    assert rounded.probabilities.tolist() == [[0.5, 0.25, 0.0]]


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    # By the formula of Wilson, computed by hand with z = 1.959964.
    [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval_by_hand(right, images, low, high):
    found = metrics.wilson_interval(right, images)
    np.testing.assert_allclose(found, (low, high), atol=1e-4)


@pytest.mark.parametrize("truth", [0.5, 0.77, 0.95])
def test_the_interval_covers_the_truth_at_its_nominal_rate(truth):
    rng = np.random.default_rng(0)
    covered = 0
    for right in rng.binomial(200, truth, 1000):
        low, high = metrics.wilson_interval(int(right), 200)
        covered += low <= truth <= high
    # 95 %, and four standard errors of a thousand draws.
    assert abs(covered / 1000 - 0.95) < 0.03


def test_agreement_is_the_share_of_equal_answers():
    mine = metrics.best_predictions(np.eye(4))
    others = metrics.best_predictions(np.eye(4)[[0, 1, 2, 0]] * 0.3)
    assert metrics.agreement(mine, others) == 0.75
    assert metrics.agreement(mine, mine) == 1


@pytest.mark.parametrize("shape", [(4, 5), (3, 4)])
def test_agreement_of_unlike_answers_is_refused(shape):
    mine, others = np.eye(4), np.zeros(shape)
    with pytest.raises(InputError, match=str(max(shape))):
        metrics.agreement(
            metrics.best_predictions(mine), metrics.best_predictions(others)
        )


def test_comparison_counts_what_one_model_alone_has_right():
    labels = np.zeros(20, np.int64)
    mine = metrics.best_predictions(np.eye(3)[[0] * 17 + [1] * 3])
    others = metrics.best_predictions(np.eye(3)[[0] * 8 + [2] * 9 + [0, 1, 2]])
    found = metrics.compare(mine, others, labels)
    assert (found.only_first, found.only_second) == (9, 1)
    assert found.agreement == 9 / 20
    # Two-sided: 2 · (1 + 10) / 2¹⁰.
    assert found.p_value == pytest.approx(22 / 1024)


def test_equally_good_models_differ_by_chance_only():
    rng = np.random.default_rng(1)
    values = [
        metrics.paired_p_value(rng.random(300) < 0.8, rng.random(300) < 0.8)
        for _ in range(400)
    ]
    assert np.mean(np.array(values) < 0.05) < 0.07
    assert metrics.paired_p_value(np.ones(5, bool), np.ones(5, bool)) == 1


@pytest.mark.parametrize("shift", [-1, 1])
def test_shifted_labels_are_noticed(shift):
    rng = np.random.default_rng(2)
    truth = rng.integers(1, 9, 60)
    given = np.where(rng.random(60) < 0.7, truth, rng.integers(0, 10, 60))
    predictions = metrics.best_predictions(np.eye(10)[given])
    assert metrics.label_shift(predictions, truth) == 0
    assert metrics.label_shift(predictions, truth - shift) == shift


def test_a_model_that_guesses_has_no_shifted_labels():
    rng = np.random.default_rng(3)
    for _ in range(50):
        predictions = metrics.best_predictions(rng.random((100, 10)))
        assert metrics.label_shift(predictions, rng.integers(0, 10, 100)) == 0


def test_the_most_confident_mistakes_come_first():
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    found = metrics.confident_mistakes(
        metrics.best_predictions(scores), np.array([1, 1, 1, 1]), 2
    )
    assert found.tolist() == [0, 3]


def test_a_class_without_photos_has_no_share():
    predictions = metrics.best_predictions(np.eye(3)[[0, 0]])
    rows = metrics.per_class(predictions, np.array([0, 0]), "abc")
    assert [row.images for row in rows] == [2, 0, 0]
    assert rows[1].top1 is None
