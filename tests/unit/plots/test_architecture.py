"""Figures of what a network sees and keeps show what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from edgetpu_lib import specs
from edgetpu_lib.costs import layers
from edgetpu_lib.plots import architecture as plots_architecture

pytestmark = pytest.mark.usefixtures("tidy_figures")

S, M, L = specs.SPECS.values()
PHOTO = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def words(ax):
    """Return all texts of a drawn figure."""
    ax.figure.canvas.draw()
    return {text.get_text() for text in ax.figure.findobj(Text)}


@pytest.mark.parametrize("spec", [S, L], ids=lambda spec: spec.name)
def test_fields_have_a_step_a_layer_and_the_picture(spec):
    rows = layers.layer_table(spec)
    ax = plots_architecture.plot_receptive_fields(rows, spec.image_size)
    steps, image = ax.lines
    fields = layers.receptive_fields(rows)
    assert list(steps.get_ydata()) == list(fields.values())
    assert set(image.get_ydata()) == {spec.image_size}
    assert ax.get_ylim()[1] > max(fields.values())
    assert f"the image, {spec.image_size} px" in words(ax)


def test_stages_are_numbered_over_their_layers():
    rows = layers.layer_table(S)
    ax = plots_architecture.plot_receptive_fields(rows, 224)
    places = {
        t.get_text(): t.get_position()[0] for t in ax.texts if len(t.get_text()) == 1
    }
    assert list(places) == list("123456")
    for stage, middle in places.items():
        mine = [n for n, row in enumerate(rows, start=1) if row.stage == int(stage)]
        assert middle == pytest.approx(np.mean(mine))


def test_squares_on_the_photo_are_as_wide_as_the_fields_and_central():
    stages = layers.stage_table(S)
    ax = plots_architecture.plot_fields_on_image(stages, PHOTO)
    inside = [s for s in stages if s.receptive_field < 224]
    # Each has a dark edge around it.
    squares = ax.patches[1::2]
    assert [sq.get_width() for sq in squares] == [s.receptive_field for s in inside]
    for square in squares:
        assert square.get_width() == square.get_height()
        assert square.get_x() + square.get_width() / 2 == 112
    assert {f"{s.name}: {s.receptive_field} px" for s in inside} <= words(ax)
    beyond = {s.name for s in stages} - {s.name for s in inside}
    assert not [text for text in words(ax) if text.split(":")[0] in beyond]


def test_activations_show_the_channels_that_vary_most():
    rng = np.random.default_rng(0)
    spread = np.array([0.1, 3.0, 0.5, 2.0])
    maps = {
        "first": rng.normal(size=(8, 8, 4)) * spread,
        "second": rng.normal(size=(4, 4, 4)) * spread[::-1],
    }
    axes = plots_architecture.plot_activations(PHOTO, maps)
    assert axes.shape == (2, 2)
    for column, order, values in zip(
        axes.T, ((1, 3), (2, 0)), maps.values(), strict=True
    ):
        for axis, channel in zip(column, order, strict=True):
            (array,) = axis.images
            assert np.array_equal(array.get_array(), values[..., channel])
            low, high = array.get_clim()
            assert low == -high, "white is zero"
    image = axes[0, 0].figure.axes[0]
    assert np.array_equal(image.images[0].get_array(), PHOTO)
    assert {"image", "first", "second"} <= words(image)


def test_activations_leave_empty_what_a_narrow_map_does_not_have():
    axes = plots_architecture.plot_activations(PHOTO, {"narrow": np.ones((2, 2, 1))})
    assert [len(axis.images) for axis in axes[:, 0]] == [1, 0]


def memory(*live_bytes):
    return [
        layers.OperatorMemory(index, "ADD" if index else "CONV_2D", live)
        for index, live in enumerate(live_bytes)
    ]


def test_memory_is_drawn_for_every_operator_with_its_peak_and_the_limit():
    mib = 1 << 20
    profiles = {"a": memory(4 * mib, 2 * mib, mib), "b": memory(mib, 3 * mib // 2)}
    ax = plots_architecture.plot_memory(profiles, 3 * mib)
    first, second = (p for p in ax.patches if p.__class__.__name__ == "StepPatch")
    assert list(first.get_data().values) == [4, 2, 1]
    assert list(second.get_data().values) == [1, 1.5]
    assert set(ax.lines[0].get_ydata()) == {3}
    found = words(ax)
    assert {"4.00 MiB, CONV_2D", "1.50 MiB, ADD", "the chip's 3 MiB"} <= found
    assert ax.get_xlim() == (0, 3)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]


def test_figures_are_drawn_where_they_are_told():
    rows, stages = layers.layer_table(S), layers.stage_table(S)
    for draw, given in (
        (plots_architecture.plot_receptive_fields, (rows, 224)),
        (plots_architecture.plot_fields_on_image, (stages, PHOTO)),
    ):
        _, ax = plt.subplots()
        before = plt.get_fignums()
        assert draw(*given, ax=ax) is ax
        assert plt.get_fignums() == before
        assert ax.get_title(loc="left")
