"""Figures of a search show every network, the front, and the winners."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from edgetpu_lib import specs
from edgetpu_lib.plots import search as plots_search
from edgetpu_lib.search import evolution
from edgetpu_lib.search.evolution import Candidate

pytestmark = pytest.mark.usefixtures("tidy_figures")


@pytest.fixture(scope="module")
def searches():
    rng = np.random.default_rng(0)

    def found(strategy):
        rows = []
        for number in range(1, 13):
            top1, latency_ms = rng.uniform(0.3, 0.6), rng.uniform(3, 30)
            reward = top1 * (latency_ms / 5) ** -0.07
            rows.append(
                Candidate(
                    number, strategy, specs.STAGES, top1, latency_ms, 10**9, reward
                )
            )
        return rows

    return {strategy: found(strategy) for strategy in evolution.STRATEGIES}


def points_of(ax):
    return np.concatenate([c.get_offsets() for c in ax.collections])


def test_every_network_and_reference_is_a_point(searches):
    ax = plots_search.plot_candidates(
        searches, target_latency_ms=5, references={"S": (5.0, 0.5)}
    )
    points = {tuple(point) for point in points_of(ax)}
    for found in searches.values():
        for candidate in found:
            assert (candidate.latency_ms, candidate.top1) in points
    assert (5.0, 0.5) in points
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"S", "Pareto front"} <= set(labels)


def test_front_never_falls_and_lies_above_all(searches):
    ax = plots_search.plot_candidates(searches, target_latency_ms=5)
    front = next(line for line in ax.lines if line.get_label() == "Pareto front")
    xs, ys = front.get_data()
    assert (np.diff(xs) >= 0).all()
    assert (np.diff(ys) >= 0).all()
    for found in searches.values():
        for candidate in found:
            below = [
                y for x, y in zip(xs, ys, strict=True) if x <= candidate.latency_ms
            ]
            assert max(below) >= candidate.top1


def test_nothing_is_cut_off(searches):
    ax = plots_search.plot_candidates(searches, target_latency_ms=5)
    ax.figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    assert ax.figure.bbox.contains(box.x1 - 1, box.y0 + 1)


def test_progress_is_the_best_so_far(searches):
    ax = plots_search.plot_progress(searches)
    for line, found in zip(ax.lines, searches.values(), strict=True):
        rewards = [candidate.reward for candidate in found]
        assert line.get_ydata().tolist() == np.maximum.accumulate(rewards).tolist()


def test_seeds_are_lines_from_one_search_to_the_other():
    rows = [{"evolution": 0.4, "random": 0.5}, {"evolution": 0.45, "random": 0.3}]
    ax = plots_search.plot_seeds(rows, ("evolution", "random"))
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.4, 0.5], [0.45, 0.3]]
    words = " ".join(text.get_text() for text in ax.texts)
    assert "0.425" in words
    assert "0.400" in words


def test_figure_is_written_whole(searches, tmp_path):
    path = plots_search.save_figure(
        tmp_path / "folder" / "search.png", searches, target_latency_ms=5
    )
    assert plt.imread(path).shape[2] in (3, 4)
    assert [p.name for p in path.parent.iterdir()] == ["search.png"]
