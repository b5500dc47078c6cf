"""Segments of a file, one after another, give what the whole gives, to the bit."""

import copy

import numpy as np
import pytest
import tensorflow as tf
import zoo

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.hardware import check
from edgetpu_lib.tflite import cut, edit, pipeline
from edgetpu_lib.tflite.file import read_tflite

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")


@pytest.fixture(scope="module")
def small():
    """Return the bytes of the small network that ships."""
    return data_file("quickstart_quant.tflite").read_bytes()


def equal_to_whole(content, parts):
    """Return whether all outputs of a file and of its segments are the same."""
    whole = pipeline.open_stage(content)
    noise = pipeline.noise_for(whole)
    expected = whole(noise)
    found = pipeline.run_in_turn([pipeline.open_stage(part) for part in parts], noise)
    return all(np.array_equal(expected[name], found[name]) for name in whole.outputs)


def test_segments_equal_the_whole_wherever_it_is_cut(small):
    operators = len(read_tflite(small).operators)
    rng = np.random.default_rng(0)
    for count in (1, 2, 5):
        positions = sorted(rng.choice(np.arange(1, operators), count, replace=False))
        parts = cut.cut(small, [int(position) for position in positions])
        assert len(parts) == count + 1
        assert equal_to_whole(small, parts)


def test_a_file_may_be_cut_at_every_operator(small):
    operators = len(read_tflite(small).operators)
    parts = cut.cut(small, range(1, operators))
    assert all(len(read_tflite(part).operators) == 1 for part in parts)
    assert equal_to_whole(small, parts)


def test_a_residual_block_is_cut_with_two_tensors(small):
    graph = cut.Graph(read_tflite(small))
    inside = [p for p in range(1, 60) if len(graph.crossing(p)) == 2]
    parts = cut.cut(small, [inside[0]])
    first, second = map(read_tflite, parts)
    assert len(first.outputs) == len(second.inputs) == 2
    assert equal_to_whole(small, parts)


def test_segments_keep_what_is_at_the_ends_and_nothing_of_the_others(small):
    first, second = map(read_tflite, cut.cut(small, [31]))
    whole = read_tflite(small)
    for part, ends, own in (
        (whole, "inputs", first),
        (whole, "outputs", second),
    ):
        (one,), (other,) = getattr(part, ends), getattr(own, ends)
        for field in ("name", "dtype", "shape", "scales", "zero_points"):
            assert getattr(part.tensors[one], field) == getattr(
                own.tensors[other], field
            )
    (made,), (taken,) = first.outputs, second.inputs
    assert first.tensors[made] == second.tensors[taken]
    assert len(first.tensors) + len(second.tensors) == len(whole.tensors) + 1
    stored = [
        sum(len(t.stored.data) for t in file.tensors) for file in (first, second, whole)
    ]
    assert stored[0] + stored[1] == stored[2]


def test_every_segment_is_ready_for_the_edge_tpu(small):
    for part in cut.cut(small, [10, 31, 50]):
        assert check.check_tflite(part).ready


def several_outputs():
    """Return a file with an early output, and a tensor that a later segment reads."""

    def network(images):
        early = zoo.convolved(images)
        middle = zoo.convolved(zoo.convolved(early))
        return early, zoo.convolved(middle + early)

    return zoo.quantized(network, zoo.PICTURE)


def test_outputs_and_branches_may_skip_segments():
    content = several_outputs()
    assert len(read_tflite(content).outputs) == 2
    operators = len(read_tflite(content).operators)
    assert equal_to_whole(content, cut.cut(content, range(1, operators)))


def test_several_inputs_may_be_read_by_different_segments():
    content = zoo.quantized(
        lambda one, other: zoo.convolved(zoo.convolved(one)) + other,
        zoo.PICTURE,
        (1, 8, 8, 4),
    )
    operators = len(read_tflite(content).operators)
    assert equal_to_whole(content, cut.cut(content, range(1, operators)))


@pytest.mark.parametrize("name", [b"", None, b"same"])
def test_tensors_without_a_name_of_their_own_get_one(small, name):
    model = edit.unpack(small)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = name
    content = edit.pack(model)
    parts = cut.cut(content, [9, 13, 40])
    stages = [pipeline.open_stage(part) for part in parts]
    whole = pipeline.open_stage(small)
    noise = pipeline.noise_for(whole)
    (expected,) = (whole(noise)[output] for output in whole.outputs)
    start = {key: values for key in stages[0].inputs for values in noise.values()}
    found = pipeline.run_in_turn(stages, start)
    (output,) = stages[-1].outputs
    assert np.array_equal(found[output], expected)


def test_what_an_operator_leaves_out_stays_left_out():
    def network(rows):
        return tf.matmul(
            tf.nn.relu(tf.matmul(rows, zoo.weights(8, 6))), zoo.weights(6, 4)
        )

    content = zoo.quantized(network, (1, 8))
    operators = read_tflite(content).operators
    assert any(-1 in operator.inputs for operator in operators)
    assert equal_to_whole(content, cut.cut(content, range(1, len(operators))))


@pytest.mark.parametrize("positions", [[0], [66], [-1], [5, 5], [9, 3], [99]])
def test_positions_must_rise_within_the_file(small, positions):
    with pytest.raises(InputError, match=str(positions[-1])):
        cut.cut(small, positions)


def test_a_file_with_several_subgraphs_is_refused(small):
    model = edit.unpack(small)
    model.subgraphs.append(copy.copy(model.subgraphs[0]))
    with pytest.raises(InputError, match="subgraphs"):
        cut.cut(edit.pack(model), [5])
