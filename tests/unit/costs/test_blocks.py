"""What blocks cost, and what networks of other sizes would."""

import dataclasses

import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.costs import blocks as block_costs
from edgetpu_lib.costs import estimate, networks

S, M, L = specs.SPECS.values()


@pytest.mark.parametrize("spec", [S, M, L], ids=lambda spec: spec.name)
def test_blocks_sum_to_the_network(spec):
    found = networks.estimate_spec(spec)
    blocks = block_costs.block_times(spec, found)
    assert sum(b.macs for b in blocks) == found.macs
    assert sum(b.streamed_bytes for b in blocks) == found.streamed_bytes
    inside_ms = found.latency_ms - found.shares_ms()["transfer"]
    assert sum(b.latency_ms for b in blocks) == pytest.approx(inside_ms)


def test_blocks_are_named_and_of_their_kind():
    blocks = block_costs.block_times(M, networks.estimate_spec(M))
    expanded = specs.expand_blocks(M)
    inside = [(str(b.index), b.kind) for b in expanded]
    ends = [(part, part) for part in ("stem", "head", "classifier")]
    assert [(b.name, b.kind) for b in blocks] == [ends[0], *inside, *ends[1:]]


def test_small_networks_send_nothing_and_large_ones_send_their_first_layers():
    small = block_costs.block_times(S, networks.estimate_spec(S))
    assert not any(block.streamed_bytes for block in small)
    large = block_costs.block_times(L, networks.estimate_spec(L))
    held_up = [block.name for block in large if block.bound == "streaming"]
    assert len(held_up) > 10
    assert all(block.streamed_bytes for block in large if block.name in held_up)
    assert not any(block.streamed_bytes for block in large[-3:])


def test_an_estimate_of_the_file_says_the_same():
    spec = specs.model_spec(
        S.name, width_coefficient=0.25, image_size=96, num_classes=5
    )
    of_file = estimate.estimate_tflite(data_file("quickstart_quant.tflite"))
    from_file = block_costs.block_times(spec, of_file)
    assert from_file == block_costs.block_times(spec, networks.estimate_spec(spec))


@pytest.mark.parametrize("changes", [{"image_size": 192}, {"depth_coefficient": 1.1}])
def test_an_estimate_of_another_network_is_refused(changes):
    other = networks.estimate_spec(dataclasses.replace(S, **changes))
    with pytest.raises(InputError, match="224 pixels"):
        block_costs.block_times(S, other)


@pytest.mark.parametrize("spec", [S, M, L], ids=lambda spec: spec.name)
def test_scaled_cost_is_what_the_parts_say(spec):
    cost = block_costs.scaled_cost(spec)
    found = networks.estimate_spec(spec)
    assert cost.parameters == specs.count_parameters(spec)[0]
    assert (cost.macs, cost.latency_ms) == (found.macs, found.latency_ms)
    assert (cost.width_coefficient, cost.depth_coefficient, cost.image_size) == (
        spec.width_coefficient,
        spec.depth_coefficient,
        spec.image_size,
    )


def test_grid_holds_every_combination_once_and_the_family():
    grid = block_costs.scaling_grid(
        S, widths=(1.0, 1.2), depths=(1.0, 1.1, 1.4), image_sizes=(224, 240, 300)
    )
    places = [(c.width_coefficient, c.depth_coefficient, c.image_size) for c in grid]
    assert len(places) == len(set(places)) == 18
    for spec in (S, M, L):
        assert block_costs.scaled_cost(spec) in grid


def test_size_brings_no_parameters_and_everything_brings_arithmetic():
    small, *larger = (
        block_costs.scaled_cost(dataclasses.replace(S, **change))
        for change in (
            {},
            {"image_size": 300},
            {"depth_coefficient": 1.4},
            {"width_coefficient": 1.2},
        )
    )
    assert all(cost.macs > small.macs for cost in larger)
    assert larger[0].parameters == small.parameters
    assert all(cost.parameters > small.parameters for cost in larger[1:])


def test_a_coefficient_out_of_range_is_named():
    with pytest.raises(InputError, match="width_coefficient=0"):
        block_costs.scaling_grid(S, widths=(0,), depths=(1,), image_sizes=(224,))
