"""Figures of blocks show every block, every kind and every size."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.text import Annotation, Text

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import data_file
from edgetpu_lib.costs import blocks as block_costs
from edgetpu_lib.costs import networks
from edgetpu_lib.hardware import check
from edgetpu_lib.plots import blocks as plots_blocks
from edgetpu_lib.plots import hardware as plots_hardware
from edgetpu_lib.teaching.block_kinds import KindCost

pytestmark = pytest.mark.usefixtures("tidy_figures")

S, M, L = specs.SPECS.values()


def drawn_blocks(spec):
    found = networks.estimate_spec(spec)
    blocks = block_costs.block_times(spec, found)
    return blocks, plots_blocks.plot_blocks(blocks, found)


def points_of(ax):
    """Return (x, y, colour) of each point that is drawn."""
    return [
        (*place, matplotlib.colors.to_hex(points.get_facecolor()[0]).upper())
        for points in ax.collections
        for place in points.get_offsets()
        if np.isfinite(np.asarray(place, float)).all()
    ]


@pytest.mark.parametrize("spec", [S, M, L], ids=lambda spec: spec.name)
def test_every_block_is_on_the_roofline_in_the_colour_of_its_bound(spec):
    blocks, ax = drawn_blocks(spec)
    points = points_of(ax)
    for block in blocks:
        place = (
            block.macs / block.parameter_bytes,
            1e3 * block.macs / block.latency_ms,
        )
        near = [p for p in points if np.allclose(p[:2], place, rtol=1e-4)]
        assert len(near) == 1, block.name
        assert near[0][2] == plots_hardware.SHARES[block.bound][1]
    assert len(points) <= len(blocks)


@pytest.mark.parametrize("spec", [S, M, L], ids=lambda spec: spec.name)
def test_points_bear_the_names_of_all_blocks_apart(spec):
    blocks, ax = drawn_blocks(spec)
    ax.figure.canvas.draw()
    roofs = ("peak", "what full", "all param")
    labels = [
        text
        for text in ax.texts
        if isinstance(text, Annotation) and not text.get_text().startswith(roofs)
    ]
    named = []
    for label in labels:
        first, *last = label.get_text().split("–")
        named += (
            [str(n) for n in range(int(first), int(last[0]) + 1)] if last else [first]
        )
    assert sorted(named) == sorted(block.name for block in blocks)
    boxes = [Text.get_window_extent(label) for label in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_blocks_stay_below_the_roof_and_within_the_axes():
    for spec in (S, L):
        _, ax = drawn_blocks(spec)
        peak, roof, link = (line.get_xydata() for line in ax.lines)
        best = roof[0, 1]
        assert best < peak[0, 1]
        assert link[1, 1] == pytest.approx(best)
        lowest, highest = ax.get_ylim()
        left, right = ax.get_xlim()
        for x, y, _ in points_of(ax):
            assert y < best < highest
            assert lowest < y and left < x < right


def test_legend_tells_the_bounds_that_occur():
    small, large = (
        {text.get_text() for text in drawn_blocks(s)[1].get_legend().get_texts()}
        for s in (S, L)
    )
    assert "sending parameters" in large - small
    assert {"multiplications", "fused", "inverted"} <= small & large


REPORT = check.check_tflite(data_file("quickstart_quant.tflite"))
COMPARED = {
    "stage 2\n8×8": [
        KindCost("fused", 9, 9, 0.2, 9, REPORT),
        KindCost("inverted", 5, 5, 0.3, 9, REPORT),
    ],
    "stage 6\n2×2": [
        KindCost("fused", 9, 9, 0.5, 9, REPORT),
        KindCost("inverted", 5, 5, 0.1, 9, REPORT),
    ],
}
OWN = {"stage 2\n8×8": "fused", "stage 6\n2×2": "inverted"}


def test_kinds_are_bars_in_microseconds_side_by_side():
    ax = plots_blocks.plot_kinds(COMPARED, OWN)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx([200, 500, 300, 100])
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches)
    assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(spans))
    assert [t.get_text() for t in ax.get_xticklabels()] == list(COMPARED)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["fused", "inverted"]


def test_bars_of_the_own_kind_are_outlined():
    ax = plots_blocks.plot_kinds(COMPARED, OWN)
    black = matplotlib.colors.to_rgba("black")
    outlined = [bar.get_edgecolor() == black for bar in ax.patches]
    # Fused of the first stage, inverted of the second.
    assert outlined == [True, False, False, True]


@pytest.fixture(scope="module")
def grid():
    return block_costs.scaling_grid(
        S, widths=(0.8, 1.0, 1.2), depths=(1.0, 1.4), image_sizes=(224, 300)
    )


@pytest.fixture
def panels(grid):
    family = {n[-1]: block_costs.scaled_cost(s) for n, s in specs.SPECS.items()}
    return plots_blocks.plot_scaling(grid, family)


def mesh_of(ax):
    return next(c for c in ax.collections if isinstance(c, QuadMesh))


def is_dashed(collection):
    return any(dashes for _, dashes in collection.get_linestyle())


def test_scaling_has_a_panel_a_size_and_a_square_a_network(grid, panels):
    titles = [ax.get_title(loc="left") for ax in panels]
    assert titles == ["224 × 224 pixels", "300 × 300 pixels"]
    for ax, size in zip(panels, (224, 300), strict=True):
        shown = np.asarray(mesh_of(ax).get_array())
        wanted = [c.latency_ms for c in grid if c.image_size == size]
        assert shown.shape == (2, 3)
        assert shown.ravel() == pytest.approx(wanted)


def test_all_panels_have_the_same_colours(grid, panels):
    limits = [mesh_of(ax).get_clim() for ax in panels]
    latencies = [cost.latency_ms for cost in grid]
    assert limits == [(min(latencies), max(latencies))] * 2


def test_networks_are_marked_on_the_panel_of_their_size(panels):
    marks = [[tuple(line.get_xydata()[0]) for line in ax.lines] for ax in panels]
    assert marks == [[(1.0, 1.0)], [(1.2, 1.4)]]
    words = [
        [t.get_text()[0] for t in ax.texts if "ms" in t.get_text()] for ax in panels
    ]
    assert words == [["S"], ["L"]]


def test_a_dashed_line_tells_where_the_chip_is_full(grid, panels):
    for ax, size in zip(panels, (224, 300), strict=True):
        (line,) = (c for c in ax.collections if is_dashed(c))
        # At depth 1 it lies between the widest that fits and the next.
        row = [c for c in grid if (c.image_size, c.depth_coefficient) == (size, 1)]
        fits = max(c.width_coefficient for c in row if not c.streamed_bytes)
        full = min(c.width_coefficient for c in row if c.streamed_bytes)
        (path,) = line.get_paths()
        assert fits < path.vertices[:, 0].max() < full


def test_nothing_is_dashed_where_all_parameters_fit():
    tiny = block_costs.scaling_grid(
        S, widths=(0.5, 0.6), depths=(0.5, 0.6), image_sizes=(96,)
    )
    (ax,) = plots_blocks.plot_scaling(tiny, {})
    assert not [c for c in ax.collections if is_dashed(c)]
