"""Random networks and their neighbours lie in the space and can be built."""

import dataclasses

import numpy as np
import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.search import space as search_space
from edgetpu_lib.search.space import SearchSpace

SPACE = SearchSpace()
FIELDS = ("kind", "kernel_size", "expand_ratio", "repeats", "channels")


def require_in_space(stages, space):
    assert len(stages) == len(space.baseline)
    for index, (stage, base) in enumerate(zip(stages, space.baseline, strict=True)):
        for field, values in space.options(index).items():
            assert getattr(stage, field) in values
        assert (stage.stride, stage.skip) == (base.stride, base.skip)
    for before, after in zip(stages[:-1], stages[1:], strict=True):
        assert after.nominal_input_channels == before.channels


def test_random_networks_lie_in_the_space_and_have_blocks():
    rng = np.random.default_rng(0)
    drawn = {search_space.random_stages(SPACE, rng) for _ in range(50)}
    assert len(drawn) == 50
    for stages in drawn:
        require_in_space(stages, SPACE)
        spec = dataclasses.replace(specs.SPECS["efficientnet-edgetpu-S"], stages=stages)
        blocks = specs.expand_blocks(spec)
        assert len(blocks) == sum(stage.repeats for stage in stages)
        for block in blocks:
            assert not block.skip or block.input_channels == block.output_channels


def test_every_choice_is_drawn():
    rng = np.random.default_rng(0)
    drawn = [search_space.random_stages(SPACE, rng) for _ in range(300)]
    for index in range(len(SPACE.baseline)):
        for field, values in SPACE.options(index).items():
            assert {getattr(stages[index], field) for stages in drawn} == set(values)


def test_neighbours_differ_in_one_field():
    rng = np.random.default_rng(0)
    stages = search_space.random_stages(SPACE, rng)
    places = set()
    for _ in range(200):
        neighbour = search_space.mutate(stages, SPACE, rng)
        require_in_space(neighbour, SPACE)
        changed = [
            (index, field)
            for index in range(len(stages))
            for field in FIELDS
            if getattr(stages[index], field) != getattr(neighbour[index], field)
        ]
        assert len(changed) == 1
        places |= set(changed)
    assert len(places) == len(stages) * len(FIELDS)


def test_child_has_every_field_from_a_parent():
    rng = np.random.default_rng(0)
    first, second = (search_space.random_stages(SPACE, rng) for _ in range(2))
    taken = set()
    for _ in range(20):
        child = search_space.cross(first, second, SPACE, rng)
        require_in_space(child, SPACE)
        for index, stage in enumerate(child):
            for field in FIELDS:
                values = [getattr(p[index], field) for p in (first, second)]
                assert getattr(stage, field) in values
                if values[0] != values[1]:
                    taken.add(values.index(getattr(stage, field)))
    assert taken == {0, 1}


def test_same_seed_draws_the_same_networks():
    def draw():
        rng = np.random.default_rng(3)
        stages = search_space.random_stages(SPACE, rng)
        return stages, search_space.mutate(stages, SPACE, rng)

    assert draw() == draw()


def test_size_counts_all_networks():
    tiny = SearchSpace(
        kinds=("fused",),
        kernel_sizes=(3,),
        expand_ratios=(4,),
        repeats=(1, 2),
        width_factors=(1.0,),
        baseline=specs.STAGES[:3],
    )
    rng = np.random.default_rng(0)
    assert tiny.size == 8
    assert len({search_space.random_stages(tiny, rng) for _ in range(200)}) == 8


def test_single_network_has_no_neighbour():
    single = SearchSpace(("fused",), (3,), (4,), (1,), (1.0,))
    rng = np.random.default_rng(0)
    stages = search_space.random_stages(single, rng)
    with pytest.raises(InputError, match="single"):
        search_space.mutate(stages, single, rng)


def test_empty_choice_is_named():
    with pytest.raises(InputError, match="kernel_sizes"):
        SearchSpace(kernel_sizes=())


def test_description_holds_every_choice():
    text = search_space.describe(specs.STAGES)
    assert text.split()[0] == "f3×4×1→24"
    assert text.split()[-1] == "i5×8×2→192"
