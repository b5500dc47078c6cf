"""Search for networks that are accurate and fast, as the published ones were found.

Takes a space, a way to judge networks, and a budget; gives candidates, one by one.
Next: `specs.write_spec` keeps the winner, which is trained and exported like S.

Latency is estimated for the network as it would be deployed; accuracy is that of a
small copy after a brief training (`proxy`).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future

import numpy as np

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import networks
from edgetpu_lib.search.history import Judged
from edgetpu_lib.search.space import (
    SearchSpace,
    Stages,
    cross,
    mutate,
    random_stages,
)

STRATEGIES = ("evolution", "random")
_TRIES = 1000


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Attributes:
        strategy: "evolution" changes what did well; "random" draws every network anew.
        candidates: how many networks to judge, at most.
        first: of these, how many evolution draws at random before it breeds any.
        parents: the best so far, two of which are drawn for each child. It takes every
            field from one or the other, and one field is changed at random.
        at_once: networks under way at a time. A network is proposed when all those
            more than so many places before it are judged, so that the outcome does
            not depend on how many processes there are, nor on their speed.
        patience: networks without a better reward before the search stops.
        target_latency_ms: beyond it reward falls.
        exponent: w of the reward; −0.07 takes a network that is twice as slow for
            worth it where it is right 5 % more often.
        seed: of what is drawn.
    """

    strategy: str = "evolution"
    candidates: int = 24
    first: int = 8
    parents: int = 4
    at_once: int = 4
    patience: int = 24
    target_latency_ms: float = 5.0
    exponent: float = -0.07
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that no search could use."""
        if self.strategy not in STRATEGIES:
            raise InputError(
                f"strategy {self.strategy!r} is unknown; use {' or '.join(STRATEGIES)}"
            )
        counts = (
            "candidates",
            "first",
            "parents",
            "at_once",
            "patience",
        )
        for field in counts:
            if getattr(self, field) < 1:
                raise InputError(f"{field}={getattr(self, field)} must be at least 1")
        if self.target_latency_ms <= 0:
            raise InputError(
                f"target_latency_ms={self.target_latency_ms} must be above 0"
            )
        if self.exponent > 0:
            raise InputError(
                f"exponent={self.exponent} would reward slow networks; use 0 or less"
            )


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network that was judged.

    Attributes:
        number: in the order of proposal, from 1.
        strategy: that proposed it.
        stages: what it is.
        top1: of its small copy on held-out images, a fraction 0..1.
        latency_ms: estimated, of the network as deployed.
        macs: multiply-accumulate operations of one inference of it.
        reward: of accuracy and latency.
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
    judge: Callable[[Stages], float],
    config: SearchConfig,
    executor: Executor,
    *,
    judged: Judged | None = None,
) -> Iterator[Candidate]:
    """Yield candidates in the order of their proposal, each as soon as it is judged.

    Args:
        space: of networks.
        judge: gives the top-1 of a network, such as
            `functools.partial(proxy.proxy_top1, task=…)`; must be picklable where the
            executor's workers are processes.
        config: numbers.
        executor: runs `judge`: `proxy.worker_pool()` on this machine, or any other of
            the standard interface, such as that of a Dask client on a cluster.
        judged: asked first, and told what was found.

    Raises:
        InputError: the space is exhausted.
    """
    rng = np.random.default_rng(config.seed)
    proposed: set[Stages] = set()
    found: list[Candidate] = []
    waiting: collections.deque[tuple[Stages, Future]] = collections.deque()
    try:
        while not is_over(found, config):
            while (
                len(waiting) < config.at_once
                and len(found) + len(waiting) < config.candidates
            ):
                stages = _propose(found, proposed, space, config, rng)
                proposed.add(stages)
                waiting.append((stages, _start(stages, judge, executor, judged)))
            stages, future = waiting.popleft()
            top1 = float(future.result())
            if judged is not None and judged.top1_of(stages) is None:
                judged.keep(stages, top1)
            found.append(_candidate(len(found) + 1, stages, top1, config))
            yield found[-1]
    finally:
        for _, future in waiting:
            future.cancel()


def is_over(found: Sequence[Candidate], config: SearchConfig) -> bool:
    """Return whether the budget is spent, or `patience` networks brought nothing."""
    if len(found) >= config.candidates:
        return True
    return bool(found) and len(found) - best(found).number >= config.patience


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
    """Return those that no other beats in both, fastest first.

    One beats another if it is as accurate and as fast, and better in one of them.
    """
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_ms, -c.top1)):
        if not front or candidate.top1 > front[-1].top1:
            front.append(candidate)
    return front


def deployed_spec(stages: Stages, name: str = "searched") -> specs.ModelSpec:
    """Return a found network at the size of S, in which its latency is estimated."""
    return dataclasses.replace(
        specs.SPECS["efficientnet-edgetpu-S"], name=name, stages=stages
    )


def _candidate(
    number: int, stages: Stages, top1: float, config: SearchConfig
) -> Candidate:
    estimated = networks.estimate_spec(deployed_spec(stages))
    value = reward(
        top1,
        estimated.latency_ms,
        target_latency_ms=config.target_latency_ms,
        exponent=config.exponent,
    )
    return Candidate(
        number=number,
        strategy=config.strategy,
        stages=stages,
        top1=top1,
        latency_ms=estimated.latency_ms,
        macs=estimated.macs,
        reward=value,
    )


def _propose(
    found: Sequence[Candidate],
    proposed: set[Stages],
    space: SearchSpace,
    config: SearchConfig,
    rng: np.random.Generator,
) -> Stages:
    """Return a network that was not proposed before."""
    is_random = config.strategy == "random" or len(proposed) < config.first or not found
    for _ in range(_TRIES):
        if is_random:
            stages = random_stages(space, rng)
        else:
            stages = _child(found, space, config, rng)
        if stages not in proposed:
            return stages
    raise InputError(
        f"no new network in {_TRIES} draws; the space has {space.size}: allow more"
        " choices, or ask for fewer candidates"
    )


def _child(
    found: Sequence[Candidate],
    space: SearchSpace,
    config: SearchConfig,
    rng: np.random.Generator,
) -> Stages:
    """Return a network bred from two of the best.

    One changed field alone is too small a step for a few dozen networks: in a space of
    thirty fields such a search falls behind chance.
    """
    ranked = sorted(found, key=lambda candidate: -candidate.reward)[: config.parents]
    chosen = rng.choice(len(ranked), min(2, len(ranked)), replace=False)
    first, second = ranked[chosen[0]].stages, ranked[chosen[-1]].stages
    return mutate(cross(first, second, space, rng), space, rng)


def _start(
    stages: Stages,
    judge: Callable[[Stages], float],
    executor: Executor,
    judged: Judged | None,
) -> Future:
    """Return the accuracy to come, or one that has come already."""
    known = judged.top1_of(stages) if judged is not None else None
    if known is None:
        return executor.submit(judge, stages)
    future: Future = Future()
    future.set_result(known)
    return future
