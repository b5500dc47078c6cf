"""The figure of timings shows each part of each file."""

import pytest

from edgetpu_lib.plots import timing as plots
from edgetpu_lib.tflite.interpreter import Latency
from edgetpu_lib.tflite.timing import Timing

pytestmark = pytest.mark.usefixtures("tidy_figures")


def timing(name, preprocessing, runs_on="CPU"):
    inference = Latency(2.0, 3.0, 4.0)
    after = Latency(0.5, 0.5, 0.5) if preprocessing else None
    return Timing(name, runs_on, 2, 1000, 1.0, 9.0, preprocessing, inference, after)


def test_bars_are_as_long_as_an_image_takes():
    rows = [
        timing("a/one.tflite", Latency(1.0, 1.0, 1.0)),
        timing("two_edgetpu.tflite", None, "Edge TPU"),
    ]
    ax = plots.plot_timings(rows)
    ends = [bar.get_x() + bar.get_width() for bar in ax.containers[-1]]
    assert ends == [3.5, 2.0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["one.tflite\n2 threads", "two_edgetpu.tflite\nEdge TPU"]
