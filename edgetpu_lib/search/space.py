"""The networks that a search chooses from: stage tables with other fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError

Stages = tuple[specs.StageSpec, ...]


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The choices for the fields of each stage.

    Attributes:
        kinds: of blocks.
        kernel_sizes: pixels.
        expand_ratios: expanded channels per input channel.
        repeats: blocks of a stage.
        width_factors: multiply the output channels of the baseline's stage.
        baseline: stages with the fields that are not searched, such as strides.
    """

    kinds: Sequence[str] = ("fused", "inverted")
    kernel_sizes: Sequence[int] = (3, 5)
    expand_ratios: Sequence[int] = (4, 8)
    repeats: Sequence[int] = (1, 2, 3)
    width_factors: Sequence[float] = (0.75, 1.0, 1.25)
    baseline: Stages = specs.STAGES

    def __post_init__(self) -> None:
        """Refuse a space without networks."""
        for field in dataclasses.fields(self):
            if not getattr(self, field.name):
                raise InputError(f"{field.name} of the search space is empty")

    @property
    def size(self) -> int:
        """Number of networks."""
        stages = map(self.options, range(len(self.baseline)))
        return math.prod(len(values) for stage in stages for values in stage.values())

    def options(self, index: int) -> dict[str, list]:
        """Return the choices of one stage: fields of `specs.StageSpec` → values."""
        channels = self.baseline[index].channels
        scaled = {specs.round_channels(channels, f) for f in self.width_factors}
        return {
            "kind": list(self.kinds),
            "kernel_size": list(self.kernel_sizes),
            "expand_ratio": list(self.expand_ratios),
            "repeats": list(self.repeats),
            "channels": sorted(scaled),
        }


def random_stages(space: SearchSpace, rng: np.random.Generator) -> Stages:
    """Draw every field of every stage independently."""
    stages = []
    for index, stage in enumerate(space.baseline):
        options = space.options(index)
        drawn = {name: _one_of(values, rng) for name, values in options.items()}
        stages.append(dataclasses.replace(stage, **drawn))
    return _linked(stages)


def mutate(stages: Stages, space: SearchSpace, rng: np.random.Generator) -> Stages:
    """Return a copy in which one field of one stage has another value.

    Raises:
        InputError: the space has no other network.
    """
    places = [
        (index, name, [v for v in values if v != getattr(stages[index], name)])
        for index in range(len(stages))
        for name, values in space.options(index).items()
    ]
    places = [place for place in places if place[2]]
    if not places:
        raise InputError("the search space has a single network; allow more choices")
    index, name, others = _one_of(places, rng)
    changed = list(stages)
    changed[index] = dataclasses.replace(stages[index], **{name: _one_of(others, rng)})
    return _linked(changed)


def cross(
    first: Stages, second: Stages, space: SearchSpace, rng: np.random.Generator
) -> Stages:
    """Return a child that takes each field of each stage from one of two parents."""
    stages = []
    for index, parents in enumerate(zip(first, second, strict=True)):
        fields = {n: getattr(_one_of(parents, rng), n) for n in space.options(index)}
        stages.append(dataclasses.replace(first[index], **fields))
    return _linked(stages)


def describe(stages: Stages) -> str:
    """Return a network in one line: kind, kernel, expansion, repeats, channels.

    Stage "f3×8×2→32" has two fused 3×3 blocks of expansion 8 and 32 output channels.
    """
    return " ".join(
        f"{stage.kind[0]}{stage.kernel_size}×{stage.expand_ratio}×{stage.repeats}"
        f"→{stage.channels}"
        for stage in stages
    )


def _one_of(values: Sequence, rng: np.random.Generator) -> object:
    # `rng.choice` would return NumPy's types.
    return values[int(rng.integers(len(values)))]


def _linked(stages: Sequence[specs.StageSpec]) -> Stages:
    """Set the input channels of each stage to the output channels before it."""
    linked = list(stages[:1])
    for stage in stages[1:]:
        arriving = linked[-1].channels
        linked.append(dataclasses.replace(stage, nominal_input_channels=arriving))
    return tuple(linked)
