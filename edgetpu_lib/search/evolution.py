"""Search for accurate and fast networks, by evolution or at random."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import get_args

import numpy as np

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import networks
from edgetpu_lib.search.history import History
from edgetpu_lib.search.settings import SearchConfig, Strategy
from edgetpu_lib.search.space import SearchSpace, Stages, cross, mutate, random_stages

STRATEGIES: tuple[str, ...] = get_args(Strategy)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An evaluated network.

    Attributes:
        number: in the order of proposal, from 1.
        strategy: that proposed it.
        top1: of its small copy on held-out images, 0..1.
        latency_ms: estimated, of the network at the size of S.
        macs: multiply-accumulate operations per inference, at the size of S.
    """

    number: int
    strategy: str
    stages: Stages
    top1: float
    latency_ms: float
    macs: int
    reward: float


def search(
    space: SearchSpace,
    measure_top1: Callable[[Stages], float],
    config: SearchConfig,
    executor: Executor,
    *,
    history: History | None = None,
) -> Iterator[Candidate]:
    """Yield candidates in the order of their proposal, as soon as they are evaluated.

    `measure_top1` returns the top-1 accuracy of a network, 0..1, such as
    `functools.partial(proxy.proxy_top1, task=…)`. `executor` runs it; if its workers
    are processes, `measure_top1` must be picklable. Networks of `history` are not
    measured again; new ones are added.

    Raises:
        InputError: the space is exhausted.
    """
    rng = np.random.default_rng(config.seed)
    proposed: set[Stages] = set()
    found: list[Candidate] = []
    waiting: collections.deque[tuple[Stages, float | Future]] = collections.deque()
    try:
        while not is_over(found, config):
            while len(waiting) < min(config.at_once, config.candidates - len(found)):
                stages = _propose(found, proposed, space, config, rng)
                proposed.add(stages)
                known = None if history is None else history.top1_of(stages)
                if known is None:
                    known = executor.submit(measure_top1, stages)
                waiting.append((stages, known))
            stages, top1 = waiting.popleft()
            if isinstance(top1, Future):
                top1 = float(top1.result())
                if history is not None:
                    history.add(stages, top1)
            found.append(_candidate(len(found) + 1, stages, top1, config))
            yield found[-1]
    finally:
        for _, pending in waiting:
            if isinstance(pending, Future):
                pending.cancel()


def is_over(found: Sequence[Candidate], config: SearchConfig) -> bool:
    """Return whether the budget is spent, or the last `patience` were no better."""
    if not found:
        return False
    since_best = len(found) - best(found).number
    return len(found) >= config.candidates or since_best >= config.patience


def reward(
    top1: float, latency_ms: float, *, target_latency_ms: float, exponent: float
) -> float:
    """Return top-1 × (latency / target)^exponent.

    Source: M. Tan and others, MnasNet, CVPR 2019, equation 2, with α = β.
    """
    return top1 * (latency_ms / target_latency_ms) ** exponent


def best(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the highest reward, the first of equals."""
    return max(candidates, key=lambda candidate: candidate.reward)


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other dominates, fastest first.

    One dominates another if it is at least as accurate and as fast, and better in one.
    """
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_ms, -c.top1)):
        if not front or candidate.top1 > front[-1].top1:
            front.append(candidate)
    return front


def deployed_spec(stages: Stages, name: str = "searched") -> specs.ModelSpec:
    """Return the spec of a network at the image size and width of S."""
    return dataclasses.replace(
        specs.SPECS["efficientnet-edgetpu-S"], name=name, stages=stages
    )


def _candidate(
    number: int, stages: Stages, top1: float, config: SearchConfig
) -> Candidate:
    estimated = networks.estimate_spec(deployed_spec(stages))
    latency_ms, macs = estimated.latency_ms, estimated.macs
    goal = {"target_latency_ms": config.target_latency_ms, "exponent": config.exponent}
    value = reward(top1, latency_ms, **goal)
    return Candidate(number, config.strategy, stages, top1, latency_ms, macs, value)


def _propose(
    found: Sequence[Candidate],
    proposed: set[Stages],
    space: SearchSpace,
    config: SearchConfig,
    rng: np.random.Generator,
) -> Stages:
    """Return a random network or a child that was not proposed before."""
    is_random = config.strategy == "random" or len(proposed) < config.first or not found
    for _ in range(1000):
        if is_random:
            stages = random_stages(space, rng)
        else:
            stages = _child(found, space, config, rng)
        if stages not in proposed:
            return stages
    raise InputError(
        f"no new network in 1000 draws; the space has {space.size}: allow more"
        " choices, or set fewer candidates"
    )


def _child(
    found: Sequence[Candidate],
    space: SearchSpace,
    config: SearchConfig,
    rng: np.random.Generator,
) -> Stages:
    """Return a mutated cross of two of the best networks.

    Mutation alone is too small a step for a few dozen networks: in a space of thirty
    fields such a search did worse than random draws.
    """
    ranked = sorted(found, key=lambda candidate: -candidate.reward)[: config.parents]
    chosen = rng.choice(len(ranked), min(2, len(ranked)), replace=False)
    first, second = ranked[chosen[0]].stages, ranked[chosen[-1]].stages
    return mutate(cross(first, second, space, rng), space, rng)
