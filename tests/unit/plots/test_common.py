"""Every figure draws what it was given, with a title and labelled axes."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from edgetpu_lib import calibrate, specs
from edgetpu_lib.costs import layers
from edgetpu_lib.deploy import Prediction
from edgetpu_lib.fine_tune import Epoch
from edgetpu_lib.plots import architecture, quantization
from edgetpu_lib.plots import common as plots

pytestmark = pytest.mark.usefixtures("tidy_figures")


@pytest.fixture(scope="module")
def rows():
    return layers.layer_table(specs.model_spec("efficientnet-edgetpu-S"))


EPOCHS = [
    Epoch("classifier", 1, 1.4, 0.4, 1.2, 0.5, 2.0),
    Epoch("classifier", 2, 1.1, 0.6, 1.0, 0.7, 2.0),
    Epoch("last stages", 1, 0.9, 0.8, 0.8, 0.75, 9.0),
]
PREDICTIONS = [
    Prediction(3, "tulip", 0.7),
    Prediction(0, "daisy", 0.2),
    Prediction(1, "rose", 0.1),
]

TENSORS = {
    7: calibrate.TensorRange("a", -2.0, 3.1, np.array([-2.0]), np.array([3.1])),
    9: calibrate.TensorRange("b", 0.0, 40.0, np.array([0.0]), np.array([40.0])),
}
RANGES = calibrate.Ranges(TENSORS, 12)


def words(ax):
    """Return all texts of a drawn figure."""
    ax.figure.canvas.draw()
    return {text.get_text() for text in ax.figure.findobj(matplotlib.text.Text)}


MODULES = (plots, architecture, quantization)


def figures(rows):
    """Return each figure's name and a function that draws it."""
    return {
        "plot_network": lambda **o: architecture.plot_network(rows, **o),
        "plot_costs": lambda: architecture.plot_costs(rows),
        "plot_curves": lambda **o: plots.plot_curves(EPOCHS, **o),
        "plot_ranges": lambda: quantization.plot_ranges({"12 images": RANGES}),
        "plot_value_histogram": lambda: quantization.plot_value_histogram(
            np.linspace(-2, 3, 50), TENSORS[7]
        ),
        "plot_predictions": lambda **o: plots.plot_predictions(PREDICTIONS, **o),
        "plot_quantized_pixels": lambda: quantization.plot_quantized_pixels(
            np.linspace(-1, 1, 6).reshape(2, 3), np.arange(6).reshape(2, 3)
        ),
        "plot_bars": lambda: plots.plot_bars(
            {"float": 12.34, "int8": 5.6}, xlabel="milliseconds", title="Time"
        ),
    }


# Tested by themselves: here, and in test_architecture.py.
OTHERS = {
    *("plot_images", "plot_receptive_fields", "plot_fields_on_image"),
    *("plot_activations", "plot_memory"),
}


def test_every_public_figure_is_tested(rows):
    public = {
        name
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("plot_") and function.__module__ == module.__name__
    }
    assert public == {*figures(rows), *OTHERS}


NAMES = sorted(figures([]))


@pytest.mark.parametrize("name", NAMES)
def test_figure_has_a_title_and_labels(rows, name):
    ax = figures(rows)[name]()
    ax.figure.canvas.draw()
    titles = {ax.get_title(loc) for loc in ("left", "center", "right")}
    assert titles != {""}
    assert ax.get_xlabel() or ax.get_ylabel() or not ax.axison
    assert ax.has_data() or ax.patches


@pytest.mark.parametrize("name", ["plot_network", "plot_curves", "plot_predictions"])
def test_figure_draws_where_it_is_told(rows, name):
    _, ax = plt.subplots()
    before = plt.get_fignums()
    assert figures(rows)[name](ax=ax) is ax
    assert plt.get_fignums() == before


def test_photos_fill_a_grid():
    images = [np.full((8, 6, 3), shade, np.uint8) for shade in range(0, 210, 30)]
    titles = [f"image {index}" for index in range(7)]
    axes = plots.plot_images(images, titles, columns=3)
    assert axes.shape == (3, 3)
    assert set(titles) <= words(axes[0, 0])
    assert [len(axis.images) for axis in axes.flat] == [1] * 7 + [0] * 2
    assert np.array_equal(axes[1, 0].images[0].get_array(), images[3])


def test_titles_are_black():
    axes = plots.plot_images([np.zeros((4, 4, 3), np.uint8)], ["one"])
    assert axes.shape == (1, 5)
    assert axes[0, 0].title.get_color() == "black"


def test_network_has_a_box_for_every_layer(rows):
    ax = architecture.plot_network(rows)
    assert len(ax.patches) == len(rows)
    assert any("112" in text for text in words(ax))


def test_costs_add_up_to_all(rows):
    ax = architecture.plot_costs(rows)
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(200)
    assert {"stem", "stage 1", "stage 6", "head"} <= words(ax)


def test_curves_show_percent_and_where_layers_were_unfrozen():
    ax = plots.plot_curves(EPOCHS)
    training, validation, unfrozen = ax.get_lines()
    assert list(training.get_ydata()) == pytest.approx([40, 60, 80])
    assert list(validation.get_ydata()) == pytest.approx([50, 70, 75])
    assert set(unfrozen.get_xdata()) == {2.5}


def test_predictions_have_the_best_on_top():
    ax = plots.plot_predictions(PREDICTIONS)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([70, 20, 10])
    assert ax.yaxis_inverted()


def test_predictions_of_one_name_are_all_drawn():
    twins = [Prediction(0, "crane", 0.6), Prediction(1, "crane", 0.4)]
    ax = plots.plot_predictions(twins)
    tops = {bar.get_y() for bar in ax.patches}
    assert len(tops) == 2


def test_ranges_reach_from_the_smallest_to_the_largest_value():
    ax = quantization.plot_ranges({"12 images": RANGES})
    reaches = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches]
    assert reaches == [(-2.0, pytest.approx(3.1)), (0.0, 40.0)]
    assert "12 images" in words(ax)


def test_value_histogram_has_a_bar_a_step_and_tells_what_lies_outside():
    values = np.array([-2.0, 0.0, 0.0, 3.1, 9.0])
    ax = quantization.plot_value_histogram(values, TENSORS[7])
    bars = ax.patches
    assert len(bars) == 256
    assert sum(bar.get_height() for bar in bars) == 4
    assert bars[0].get_height() == bars[-1].get_height() == 1
    assert any(text.startswith("20 %") for text in words(ax))


def test_bars_carry_their_numbers():
    ax = plots.plot_bars({"a": 1234.56, "b": 2}, xlabel="ms", title="T")
    assert {"1,234.6", "2.0", "a", "b"} <= words(ax)


def test_style_is_readable_on_a_page():
    assert plt.rcParams["figure.dpi"] == 96
    assert not plt.rcParams["axes.spines.top"]
