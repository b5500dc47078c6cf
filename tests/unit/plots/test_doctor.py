"""The doctor's figures show what was measured, with titles and units."""

import dataclasses

import matplotlib
import matplotlib.pyplot as plt
import pytest
from PIL import Image

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor.diagnose import Diagnosis, SweepPoint
from edgetpu_lib.doctor.layer_errors import LayerError
from edgetpu_lib.plots import doctor as plots_doctor

pytestmark = pytest.mark.usefixtures("tidy_figures")

LAYERS = tuple(
    LayerError(
        name=f"block_{index}_depthwise_relu",
        kind="CONV_2D",
        tensor=f"t{index}",
        snr_db=40.0 - index,
        cosine=0.99,
        float_low=-1.0 * index,
        float_high=2.0 * index + 1,
        int8_low=-0.5 * index,
        int8_high=3.0 * index + 1,
        clipped=0.0001 * index,
    )
    for index in range(30)
)
SWEEP = (SweepPoint(1, 0.5), SweepPoint(10, 0.9), SweepPoint(100, 1.0))
DIAGNOSIS = Diagnosis(
    healthy=True,
    causes=(),
    images=10,
    agreement=0.8,
    agreement_of_weights=1.0,
    float_top1=None,
    int8_top1=None,
    layers=LAYERS,
    weights=(),
    sweep=SWEEP,
    notes=(),
)


def words(ax):
    ax.figure.canvas.draw()
    return {text.get_text() for text in ax.figure.findobj(matplotlib.text.Text)}


def test_worst_layers_are_on_top():
    left, right = plots_doctor.plot_layers(LAYERS)
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names[0] == "block_29_depthwise_relu"
    assert len(names) == 15
    assert left.yaxis_inverted()
    assert "dB" in left.get_xlabel() and "%" in right.get_xlabel()
    assert "The 15 worst of 30 tensors" in words(left)
    assert left.patches[0].get_width() == pytest.approx(11)
    assert right.patches[0].get_width() == pytest.approx(0.29)


def test_fewer_layers_than_asked_for_are_drawn():
    left, _ = plots_doctor.plot_layers(LAYERS[:3])
    assert len(left.get_yticklabels()) == 3


def test_ranges_are_drawn_over_each_other():
    ax = plots_doctor.plot_needed_ranges(LAYERS)
    wide, narrow = ax.containers
    assert wide[3].get_height() == pytest.approx(3.0 * 3 + 1 + 1.5)
    assert narrow[3].get_y() == pytest.approx(-3)
    assert {"the int8 model has", "these images need"} <= words(ax)


def test_sweep_has_a_point_for_every_number():
    ax = plots_doctor.plot_sweep(SWEEP, 0.8)
    line, level = ax.lines
    assert list(line.get_xdata()) == [1, 10, 100]
    assert list(line.get_ydata()) == [50, 90, 100]
    assert set(level.get_ydata()) == {80}
    assert ax.get_xlabel() and "%" in ax.get_ylabel()


def test_figures_are_written_whole(tmp_path):
    written = plots_doctor.save_figures(tmp_path / "new", DIAGNOSIS)
    assert [path.name for path in written] == ["layers.png", "ranges.png", "sweep.png"]
    for path in written:
        with Image.open(path) as image:
            assert image.width > 500
    assert not plt.get_fignums()


def test_without_a_sweep_there_is_no_such_figure(tmp_path):
    without = dataclasses.replace(DIAGNOSIS, sweep=())
    assert len(plots_doctor.save_figures(tmp_path, without)) == 2


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        plots_doctor.save_figures(tmp_path / "taken", DIAGNOSIS)
