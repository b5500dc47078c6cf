"""Segments are as even and as well cached as any cut makes them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import zoo

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.commands import split
from edgetpu_lib.costs import segments
from edgetpu_lib.tflite import edit

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")

SMALL = data_file("quickstart_quant.tflite")


@pytest.fixture(scope="module")
def large():
    """Return a file of three layers, of which one fits into the cache at a time."""

    def network(rows):
        for _ in range(3):
            rows = tf.nn.relu(tf.matmul(rows, zoo.weights(8, 8)))
        return rows

    # Enlarged by hand: converting large weights takes long.
    model = edit.unpack(zoo.quantized(network, (1, 8)))
    for tensor in model.subgraphs[0].tensors:
        stored = model.buffers[tensor.buffer].data
        tensor.shape = [2200 if size == 8 else size for size in tensor.shape]
        if stored is not None and len(stored):
            each = len(stored) // 8 ** len(tensor.shape)
            model.buffers[tensor.buffer].data = np.zeros(
                each * 2200 ** len(tensor.shape), np.uint8
            )
    return edit.pack(model)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 4])
def test_no_other_cut_is_better(seed, count):
    rng = np.random.default_rng(seed)
    bounds = [0, 2, 3, 7, 8, 11, 15]
    table = {
        pair: segments._Score(int(rng.integers(0, 3)), *rng.uniform(1, 5, 2))
        for pair in itertools.combinations(bounds, 2)
    }

    def score(*pair):
        return table[pair]

    found = segments._best_cuts(score, bounds, count)
    assert [len(each.positions) for each in found] == list(range(count))
    for positions in itertools.combinations(bounds[1:-1], count - 1):
        ends = [0, *positions, bounds[-1]]
        parts = [table[pair] for pair in itertools.pairwise(ends)]
        other = (sum(p.streamed_bytes for p in parts), max(p.slowest_ms for p in parts))
        assert (found[-1].streamed_bytes, found[-1].slowest_ms) <= other


def test_parameters_that_were_sent_are_cached(large):
    plan = segments.plan_segments(large, 3)
    assert plan.whole.streamed_bytes > 4e6
    assert sum(estimate.streamed_bytes for estimate in plan.estimates) == 0
    assert plan.images_per_s > plan.copies_per_s
    assert plan.latency_ms < plan.whole.latency_ms


def test_segments_end_where_a_boundary_saves_nothing(large):
    plan = segments.plan_segments(large, 6)
    assert 2 <= len(plan.segments) < 6
    assert plan.reason
    every = segments.plan_segments(large, 3, stop=False)
    assert len(every.segments) == 3
    assert not every.reason


def test_where_nothing_is_sent_copies_are_better_and_no_latency_falls():
    plan = segments.plan_segments(SMALL, 4)
    assert len(plan.segments) == 2
    assert plan.latency_ms > plan.whole.latency_ms
    assert plan.copies_per_s > plan.images_per_s
    assert "does not fall" in " ".join(split.speed_lines(plan))


def test_as_many_segments_as_asked_for_are_made_without_the_stop():
    plan = segments.plan_segments(SMALL, 5, stop=False)
    assert len(plan.contents) == len(plan.segments) == 5
    slowest = plan.interval_ms
    assert slowest < segments.plan_segments(SMALL, 2).interval_ms
    ends = [(segment.first, segment.end) for segment in plan.segments]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))


def test_few_tensors_cross():
    plan = segments.plan_segments(SMALL, 8, stop=False)
    for segment in plan.segments:
        assert len(segment.inputs) <= segments.MAX_CROSSING
        assert len(segment.outputs) <= segments.MAX_CROSSING


def test_postprocessing_on_the_cpu_stays_in_the_last_segment(shared):
    path = shared("models/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    *before, last = segments.plan_segments(path, 3, stop=False).estimates
    assert any(operator.on_cpu for operator in last.operators)
    assert not any(o.on_cpu for estimate in before for o in estimate.operators)


def test_a_float_file_has_no_place_to_cut(float_tflite):
    with pytest.raises(InputError, match="int8"):
        segments.plan_segments(float_tflite, 2)
    with pytest.raises(InputError, match="1 segments"):
        segments.plan_segments(SMALL, 1)
