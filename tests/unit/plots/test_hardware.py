"""Figures of the hardware show all rows, and names that can be read."""

import itertools
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Annotation, Text

from edgetpu_lib.base.artifacts import data_file
from edgetpu_lib.costs import estimate
from edgetpu_lib.hardware.operator_costs import OperatorCost
from edgetpu_lib.plots import hardware as plots_hardware

pytestmark = pytest.mark.usefixtures("tidy_figures")

ROOT = Path(__file__).resolve().parents[3]
ROWS = json.loads((ROOT / "data/latency_published.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def small():
    return estimate.estimate_tflite(data_file("quickstart_quant.tflite"))


@pytest.fixture(scope="module")
def large():
    """Return an estimate with parameters that are sent, and an operator on the CPU."""
    costs = [
        OperatorCost(0, "CONV_2D", (1, 9, 9, 64), 81, 9, 64, 64, 5184, 5184),
        OperatorCost(1, "DEPTHWISE_CONV_2D", (1, 9, 9, 64), 81, 9, 1, 64, 5184, 5184),
        OperatorCost(2, "FULLY_CONNECTED", (1, 2000), 1, 1, 5184, 2000, 5184, 2000),
        OperatorCost(3, "ARG_MAX", (1,), 0, 0, 0, 0, 2000, 8),
    ]
    return estimate.estimate_operators(costs, {3}, input_bytes=5184, output_bytes=2000)


def words(figure):
    """Return all texts of a drawn figure."""
    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text)}


def test_published_rows_are_drawn_with_names_apart():
    ax = plots_hardware.plot_published(ROWS)
    names = [row["network"] for row in ROWS]
    assert set(names) <= words(ax.figure)
    labels = [text for text in ax.texts if isinstance(text, Annotation)]
    boxes = [Text.get_window_extent(label) for label in labels]
    assert len(boxes) == len(ROWS)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(ax.bbox.x0 <= b.x0 and b.x1 <= ax.bbox.x1 for b in boxes)
    drawn = sum(len(points.get_offsets()) for points in ax.collections[1:])
    assert drawn == len(ROWS)


def test_bars_hold_the_whole_latency(small, large):
    for found in (small, large):
        ax = plots_hardware.plot_operator_times(found)
        total = sum(bar.get_width() for bar in ax.patches)
        assert total == pytest.approx(found.latency_ms)
        assert f"{found.latency_ms:.1f} ms" in ax.get_title(loc="left")
    legend = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"sending parameters", "on the CPU"} <= legend


def test_bars_are_named_by_the_size_of_the_output(small):
    ax = plots_hardware.plot_operator_times(small)
    named = [label.get_text() for label in ax.get_yticklabels()]
    assert named[:3] == ["call and transfer", "96 × 96", "48 × 48"]
    assert named[-1] == "1 × 1"


def test_figure_is_drawn_where_it_is_told(small):
    _, ax = plt.subplots()
    assert plots_hardware.plot_operator_times(small, ax=ax) is ax
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()
