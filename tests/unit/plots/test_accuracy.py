"""Figures of accuracy show shares, intervals, and the images that went wrong."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from edgetpu_lib import evaluate
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.plots import accuracy as plots_accuracy
from edgetpu_lib.tflite import interpreter

pytestmark = pytest.mark.usefixtures("tidy_figures")

LABELS = np.repeat([0, 1, 2], 10)
NAMES = ("blue", "green", "red, crimson")


def evaluation(wrong):
    """Return an evaluation of 30 images, those at `wrong` taken for class 0."""
    scores = np.eye(3)[LABELS] * 0.7 + 0.1
    scores[wrong] = [0.6, 0.3, 0.1]
    predictions = metrics.best_predictions(scores)
    return evaluate.Evaluation(
        metrics=metrics.measure(predictions, LABELS),
        label_shift=0,
        classes=tuple(metrics.per_class(predictions, LABELS, NAMES)),
        mistakes=metrics.confident_mistakes(predictions, LABELS),
        latency=interpreter.Latency(1.0, 2.0, 3.0),
        images_per_s=100.0,
        predictions=predictions,
        labels=LABELS,
        names=NAMES,
    )


FIRST, SECOND = evaluation([12, 25]), evaluation([12, 13, 14])


def words(figure):
    """Return all texts of a drawn figure."""
    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


FIGURES = {
    "accuracies": lambda: plots_accuracy.plot_accuracies(
        {"float": FIRST.metrics, "int8": SECOND.metrics}
    ),
    "classes": lambda: plots_accuracy.plot_classes(
        {"float": FIRST.classes, "int8": SECOND.classes}
    ),
    "confusion": lambda: plots_accuracy.plot_confusion(
        metrics.confusion(FIRST.predictions, LABELS), NAMES
    ),
    "probabilities": lambda: plots_accuracy.plot_probabilities(
        FIRST.predictions, SECOND.predictions
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_title_and_labels(name):
    ax = FIGURES[name]()
    assert ax.get_title(loc="left") and ax.get_xlabel()


def test_accuracies_have_their_intervals():
    ax = FIGURES["accuracies"]()
    assert {"93.3", "90.0", "float", "int8"} <= words(ax.figure)
    (ends,) = ax.containers[0].lines[2]
    low, high = ends.get_segments()[0][:, 0]
    assert low == pytest.approx(100 * FIRST.metrics.top1_low)
    assert high == pytest.approx(100 * FIRST.metrics.top1_high)


def test_classes_start_with_the_worst():
    ax = FIGURES["classes"]()
    ticks = [label.get_text() for label in ax.get_yticklabels()]
    assert ticks == ["green (10)", "red (10)", "blue (10)"]
    first, second = (bars for bars in ax.containers if hasattr(bars, "patches"))
    assert [bar.get_width() for bar in first] == pytest.approx([90, 90, 100])
    assert [bar.get_width() for bar in second] == pytest.approx([70, 100, 100])


def test_confusion_shows_shares_of_each_row():
    assert {"90", "10", "100", "blue", "green"} <= words(FIGURES["confusion"]().figure)


def test_confusion_of_many_classes_has_a_scale_instead_of_numbers():
    ax = plots_accuracy.plot_confusion(np.eye(40, dtype=int), list(map(str, range(40))))
    assert not ax.texts
    assert len(ax.figure.axes) == 2


def test_probabilities_count_equal_answers():
    texts = words(FIGURES["probabilities"]().figure)
    assert "same prediction: 27 images" in texts
    assert "another prediction: 3 images" in texts


def test_galleries_name_truth_and_answers(images):
    axes = plots_accuracy.plot_mistakes(FIRST, images)
    titles = words(np.ravel(axes)[0].figure)
    assert "green, seen as\nblue, 60 %" in titles
    assert "red, seen as\nblue, 60 %" in titles
    axes = plots_accuracy.plot_disagreements(FIRST, SECOND, images, count=2)
    titles = words(np.ravel(axes)[0].figure)
    assert "green\nfloat: green 80 %\nint8: blue 60 %" in titles
    assert len(np.ravel(axes)) == 2


def test_no_mistake_no_gallery(images):
    perfect = evaluation([])
    assert plots_accuracy.plot_mistakes(perfect, images) is None
    assert plots_accuracy.plot_disagreements(perfect, perfect, images) is None


def test_figures_are_saved(images, tmp_path):
    found = plots_accuracy.save_figures(
        tmp_path, {"float": FIRST, "int8": SECOND}, images
    )
    assert {path.stem for path in found} == {
        *("accuracy", "classes", "confusion"),
        *("mistakes", "probabilities", "disagreements"),
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found)
    assert not plt.get_fignums()
