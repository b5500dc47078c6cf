"""One block in three kinds: same shape, different costs."""

import dataclasses

import keras
import numpy as np
import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import blocks as block_costs
from edgetpu_lib.costs import networks
from edgetpu_lib.teaching import block_kinds

S, M, L = specs.SPECS.values()
SMALL = specs.BlockSpec(
    index=3,
    stage=2,
    kind="inverted",
    kernel_size=3,
    stride=1,
    input_channels=8,
    expanded_channels=32,
    output_channels=8,
    skip=True,
    drop_rate=0.1,
)


@pytest.fixture(scope="module")
def compared():
    return {c.kind: c for c in block_kinds.compare_kinds(SMALL, map_size=6)}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", block_kinds.KINDS)
def test_every_kind_has_the_same_shape(kind, stride):
    block = dataclasses.replace(SMALL, stride=stride, output_channels=12, skip=False)
    model = block_kinds.build_block(kind, block, map_size=7)
    assert model.output_shape == (None, -(-7 // stride), -(-7 // stride), 12)


def test_arithmetic_is_that_of_the_kernels(compared):
    pixels, expand, project = 36, 8 * 32, 32 * 8
    fused = pixels * (9 * expand + project)
    inverted = pixels * (expand + 9 * 32 + project)
    squeeze = 2 * (32 * 2)
    macs = {kind: cost.macs for kind, cost in compared.items()}
    assert macs == {
        "fused": fused,
        "inverted": inverted,
        "EfficientNet-B0": inverted + squeeze,
    }


def test_parameters_are_kernels_biases_scales_and_offsets(compared):
    fused = 9 * 8 * 32 + 2 * 32 + 32 * 8 + 2 * 8
    inverted = 8 * 32 + 2 * 32 + 9 * 32 + 2 * 32 + 32 * 8 + 2 * 8
    squeeze = (32 * 2 + 2) + (2 * 32 + 32)
    parameters = {kind: cost.parameters for kind, cost in compared.items()}
    assert parameters == {
        "fused": fused,
        "inverted": inverted,
        "EfficientNet-B0": inverted + squeeze,
    }


def test_all_would_run_on_the_edge_tpu_and_exotic_ones_take_more_operators(compared):
    assert all(cost.report.ready for cost in compared.values())
    counts = [cost.report.edge_tpu_operators for cost in compared.values()]
    assert counts == sorted(counts)
    kinds = {kind for kind, _ in compared["EfficientNet-B0"].report.statuses}
    # Swish and squeeze-and-excite.
    assert {"LOGISTIC", "MUL", "MEAN"} <= kinds
    assert not {"LOGISTIC", "MUL", "MEAN"} & {
        kind for kind, _ in compared["inverted"].report.statuses
    }


def test_one_wide_map_is_kept_or_two(compared):
    narrow, wide = 36 * 8, 36 * 32
    # With what the skip waits for.
    assert compared["fused"].live_bytes == wide + 2 * narrow
    assert compared["inverted"].live_bytes == 2 * wide + narrow


def test_squeeze_and_excite_weighs_channels_by_their_means():
    block = dataclasses.replace(SMALL, skip=False)
    model = block_kinds.build_block("EfficientNet-B0", block, map_size=6)
    (weighing,) = [x for x in model.layers if isinstance(x, keras.layers.Multiply)]
    probe = keras.Model(model.input, weighing.input)
    maps = np.random.default_rng(0).normal(size=(2, 6, 6, 8)).astype(np.float32)
    values, weights = (np.asarray(found) for found in probe(maps))
    assert values.shape == (2, 6, 6, 32)
    assert weights.shape == (2, 1, 1, 32)
    assert (0 < weights).all() and (weights < 1).all()


@pytest.mark.parametrize("index", [2, 11])
def test_the_own_kind_costs_what_it_costs_in_the_network(index):
    blocks = {b.index: (b, size) for b, size in block_kinds.repeated_blocks(S)}
    block, size = blocks[index]
    inside = block_costs.block_times(S, networks.estimate_spec(S))
    (whole,) = [b for b in inside if b.name == str(index)]
    costs = block_kinds.compare_kinds(block, map_size=size)
    (own,) = [cost for cost in costs if cost.kind == block.kind]
    assert own.macs == whole.macs
    assert own.latency_ms == pytest.approx(whole.latency_ms)


def test_fused_wins_early_and_loses_late():
    """What the notebook tells of S."""
    by_stage = {b.stage: (b, size) for b, size in block_kinds.repeated_blocks(S)}
    for stage, order in ((2, ["fused", "inverted"]), (4, ["inverted", "fused"])):
        block, size = by_stage[stage]
        costs = {
            cost.kind: cost.latency_ms
            for cost in block_kinds.compare_kinds(block, map_size=size)
        }
        assert sorted(order, key=costs.__getitem__) == order


@pytest.mark.parametrize("spec", [S, M, L], ids=lambda spec: spec.name)
def test_repeated_blocks_keep_shape_and_are_one_a_stage(spec):
    found = block_kinds.repeated_blocks(spec)
    stages = [block.stage for block, _ in found]
    assert stages == [2, 3, 4, 5, 6]
    for block, _ in found:
        assert block.stride == 1 and block.input_channels == block.output_channels
    sizes = [size for _, size in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == spec.image_size // 4


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match="'ghost' is unknown; use one of fused"):
        block_kinds.build_block("ghost", SMALL, map_size=4)
