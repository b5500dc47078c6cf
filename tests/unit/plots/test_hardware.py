"""Figures of the hardware show all rows, and names that can be read."""

import itertools
import json
from pathlib import Path

import pytest
from matplotlib.text import Annotation, Text

from edgetpu_lib.plots import hardware as plots_hardware

pytestmark = pytest.mark.usefixtures("tidy_figures")

ROOT = Path(__file__).resolve().parents[3]
ROWS = json.loads((ROOT / "data/latency_published.json").read_text("utf-8"))


def words(figure):
    """Return all texts of a drawn figure."""
    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text)}


def test_published_rows_are_drawn_with_names_apart():
    ax = plots_hardware.plot_published(ROWS)
    labels = [text for text in ax.texts if isinstance(text, Annotation)]
    boxes = [Text.get_window_extent(label) for label in labels]
    assert len(boxes) >= 8
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(ax.bbox.x0 <= b.x0 and b.x1 <= ax.bbox.x1 for b in boxes)
    drawn = sum(len(points.get_offsets()) for points in ax.collections[1:])
    counted = [r for r in ROWS if r["use"] != "none" and r["predicted_ms"]]
    assert drawn == len(counted)
