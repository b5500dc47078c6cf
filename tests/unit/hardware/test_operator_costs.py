"""Counts of arithmetic, weights and bytes agree with the networks they come from."""

import dataclasses

import pytest
import zoo

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.costs import layers
from edgetpu_lib.hardware import operator_costs
from edgetpu_lib.hardware.operator_costs import OperatorCost
from edgetpu_lib.tflite import file as tflite_file

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")

TABLE_KINDS = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
}


def costs_of(content):
    return operator_costs.operator_costs(tflite_file.read_tflite(content))


def only(costs, kind):
    (cost,) = [cost for cost in costs if cost.kind == kind]
    return cost


def require_same_layers(costs, spec):
    """Compare operators with the layers counted from a spec, one by one."""
    weighted = [cost for cost in costs if cost.macs]
    rows = layers.layer_table(spec)
    assert [TABLE_KINDS[cost.kind] for cost in weighted] == [row.kind for row in rows]
    assert [cost.macs for cost in weighted] == [row.macs for row in rows]
    assert [cost.weight_bytes for cost in weighted] == [row.weights for row in rows]


def test_quickstart_model_has_the_layers_of_its_spec():
    spec = specs.model_spec(
        "efficientnet-edgetpu-S", width_coefficient=0.25, image_size=96, num_classes=5
    )
    costs = costs_of(data_file("quickstart_quant.tflite").read_bytes())
    require_same_layers(costs, spec)
    assert costs[0].input_bytes == costs[0].output_bytes == 96 * 96 * 3
    assert costs[-1].output_bytes == 5
    assert [cost.index for cost in costs] == list(range(len(costs)))


def test_float_and_integer_files_count_the_same(float_tflite, int8_tflite):
    floats, integers = costs_of(float_tflite), costs_of(int8_tflite)
    assert [c.macs for c in floats if c.macs] == [c.macs for c in integers if c.macs]
    assert floats[0].input_bytes == 4 * integers[0].input_bytes


def test_grouped_convolution_has_shallow_filters():
    grouped = only(costs_of(zoo.grouped()), "CONV_2D")
    assert grouped.depth < 4
    assert grouped.macs == 8 * 8 * 9 * grouped.depth * grouped.filters


def test_transposed_convolution_counts_its_input():
    def enlarge(images):
        return zoo.tf.nn.conv2d_transpose(
            images, zoo.weights(2, 2, 4, 3), (1, 16, 16, 4), 2
        )

    cost = only(costs_of(zoo.quantized(enlarge, zoo.PICTURE)), "TRANSPOSE_CONV")
    assert cost.output_shape == (1, 16, 16, 4)
    assert cost.macs == 8 * 8 * 2 * 2 * 3 * 4


def test_operators_without_weights_have_bytes_alone():
    for cost in costs_of(zoo.ready()):
        if cost.kind in ("ADD", "MEAN", "SOFTMAX", "QUANTIZE"):
            assert cost.macs == cost.weight_bytes == cost.parameter_bytes == 0
            assert cost.occupied_macs(32) == 0
            assert cost.input_bytes > 0
            assert cost.output_bytes > 0
    total = only(costs_of(zoo.ready()), "ADD")
    assert total.input_bytes == 2 * total.output_bytes


def cost(**changed):
    plain = OperatorCost(0, "CONV_2D", (1, 8, 8, 64), 64, 9, 4, 64, 0, 0)
    return dataclasses.replace(plain, **changed)


def test_full_tiles_waste_nothing():
    assert cost().occupied_macs(32) == cost().macs == 64 * 9 * 4 * 64


@pytest.mark.parametrize(
    ("changed", "factor"),
    [
        ({"positions": 65}, 80 / 64),
        ({"filters": 65}, 2),
        ({"depth": 5}, 2),
        ({"depth": 3}, 1),
        ({"depth": 1, "kind": "DEPTHWISE_CONV_2D"}, 8),
    ],
)
def test_what_does_not_fill_a_tile_leaves_multipliers_idle(changed, factor):
    assert cost(**changed).occupied_macs(32) == factor * cost().macs


def test_filters_are_padded_in_depth_and_number_on_the_device():
    assert cost().parameter_bytes == 64 * (9 * 4 + 12)
    assert cost(depth=3).parameter_bytes == cost().parameter_bytes
    assert cost(filters=1).parameter_bytes == cost().parameter_bytes
    dense = cost(kind="FULLY_CONNECTED", kernel_area=1, depth=5)
    assert dense.parameter_bytes == 64 * (5 + 4)
    depthwise = cost(kind="DEPTHWISE_CONV_2D", depth=1)
    assert depthwise.parameter_bytes == cost().parameter_bytes


def test_parameters_on_the_device_are_as_many_as_the_compiler_told(shared):
    """MobileNet v1 0.25 took 1.222 times its weights in Google's compiled file."""
    costs = costs_of(shared("models/mobilenet_v1_0.25_128_quant.tflite"))
    weights = sum(cost.weight_bytes for cost in costs)
    on_device = sum(cost.parameter_bytes for cost in costs)
    assert on_device / weights == pytest.approx(1.222, rel=0.02)


@pytest.mark.parametrize("shape", [(), (4,), (0, 3, 3, 3), (4, 3, 3, 3, 1)])
def test_weights_of_another_rank_are_refused(shape):
    file = tflite_file.read_tflite(zoo.ready())
    convolution = next(o for o in file.operators if o.kind == "CONV_2D")
    tensors = list(file.tensors)
    place = convolution.inputs[1]
    tensors[place] = dataclasses.replace(tensors[place], shape=shape)
    with pytest.raises(InputError, match="operator 1, CONV_2D"):
        operator_costs.operator_costs(dataclasses.replace(file, tensors=tuple(tensors)))


def test_open_sizes_count_as_one():
    cost = costs_of(zoo.open_batch())[0]
    assert cost.input_bytes == 8 * 8 * 3


# What crosses between host and chip.


def crossing(content, on_cpu):
    file = tflite_file.read_tflite(content)
    return operator_costs.crossing_bytes(file, on_cpu)


def test_whole_model_takes_its_input_and_gives_its_output():
    assert crossing(zoo.ready(), ()) == (8 * 8 * 3, 5)


def test_nothing_crosses_without_the_chip():
    assert crossing(zoo.ready(), range(8)) == (0, 0)


def test_activations_come_back_for_an_operator_on_the_host():
    file = tflite_file.read_tflite(zoo.hard_swish())
    index = next(o.index for o in file.operators if o.kind == "HARD_SWISH")
    convolved = file.tensors[file.operators[index].inputs[0]]
    sent, back = crossing(zoo.hard_swish(), {index, index + 1})
    assert sent == 8 * 8 * 3
    assert back == convolved.elements
