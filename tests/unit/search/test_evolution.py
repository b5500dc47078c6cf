"""The search finds what it is rewarded for, repeatably, and goes on when stopped."""

import concurrent.futures
import dataclasses
import threading

import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.search import evolution, history, space
from edgetpu_lib.search.evolution import Candidate, SearchConfig

SPACE = space.SearchSpace()
CONFIG = SearchConfig(candidates=30, patience=30, seed=1)


def likes_fused(stages):
    """Judge by the share of fused 3×3 blocks: easy to climb."""
    good = [s.kind == "fused" for s in stages] + [s.kernel_size == 3 for s in stages]
    return sum(good) / len(good)


def run(config=CONFIG, judge=likes_fused, workers=1, **kwargs):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(evolution.search(SPACE, judge, config, pool, **kwargs))


def candidate(number, top1, latency_ms, reward=0.0):
    return Candidate(number, "random", specs.STAGES, top1, latency_ms, 1, reward)


def test_budget_is_kept_and_no_network_is_judged_twice():
    calls = []
    found = run(judge=lambda stages: calls.append(stages) or 0.5)
    assert len(found) == len(calls) == len(set(calls)) == CONFIG.candidates
    assert [c.number for c in found] == list(range(1, 31))


def test_evolution_climbs_higher_than_chance():
    ahead = 0
    for seed in range(5):
        evolved, drawn = (
            dataclasses.replace(CONFIG, seed=seed, exponent=0.0, strategy=strategy)
            for strategy in ("evolution", "random")
        )
        ahead += evolution.best(run(evolved)).reward > evolution.best(run(drawn)).reward
    assert ahead >= 4


def test_outcome_depends_neither_on_workers_nor_on_their_speed():
    def slow_at_times(stages):
        if stages[0].kind == "fused":
            threading.Event().wait(0.002)
        return likes_fused(stages)

    assert run(workers=1) == run(workers=4, judge=slow_at_times)


def test_seed_decides():
    assert run() == run()
    assert run() != run(dataclasses.replace(CONFIG, seed=2))


def test_both_strategies_report_reward_of_the_deployed_network():
    for strategy in evolution.STRATEGIES:
        config = dataclasses.replace(CONFIG, strategy=strategy, candidates=3)
        for found in run(config):
            assert found.strategy == strategy
            # S' own stages, estimated at S' own size, are the yardstick.
            spec = evolution.deployed_spec(found.stages)
            assert (spec.image_size, spec.width_coefficient) == (224, 1.0)
            expected = found.top1 * (found.latency_ms / 5.0) ** -0.07
            assert found.reward == pytest.approx(expected)


def test_slower_than_the_target_costs_and_faster_pays():
    given = {"target_latency_ms": 5.0, "exponent": -0.07}
    assert evolution.reward(0.8, 5.0, **given) == pytest.approx(0.8)
    assert evolution.reward(0.8, 10.0, **given) == pytest.approx(0.8 * 2**-0.07)
    assert evolution.reward(0.8, 2.5, **given) > 0.8


def test_patience_stops_a_search_that_finds_nothing_better():
    found = run(dataclasses.replace(CONFIG, patience=6, exponent=0), lambda stages: 0.5)
    assert len(found) == 7


def test_interrupted_search_goes_on_to_the_same_end(tmp_path):
    path = tmp_path / "judged.jsonl"
    asked = []

    def judge(stages):
        asked.append(stages)
        return likes_fused(stages)

    def interrupted(stages):
        if len(asked) == 11:
            raise KeyboardInterrupt
        return judge(stages)

    with pytest.raises(KeyboardInterrupt):
        run(judge=interrupted, history=history.History(path, {}))
    kept = len(history.History(path, {}))
    assert 0 < kept <= 11
    asked.clear()
    resumed = run(judge=judge, history=history.History(path, {}))
    assert resumed == run()
    assert len(asked) == CONFIG.candidates - kept


def test_failure_of_one_network_is_not_hidden():
    def fail(stages):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        run(judge=fail)


def test_reader_that_stops_early_leaves_nothing_running():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stream = evolution.search(SPACE, likes_fused, CONFIG, pool)
        next(stream)
        stream.close()
        assert pool.submit(int).result(timeout=5) == 0


def test_exhausted_space_is_named():
    tiny = space.SearchSpace(("fused",), (3,), (4,), (1, 2), (1.0,))
    config = dataclasses.replace(CONFIG, candidates=200, patience=200)
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        pytest.raises(InputError, match="space has 64"),
    ):
        list(evolution.search(tiny, likes_fused, config, pool))


def test_front_holds_those_that_nothing_beats():
    rows = [
        candidate(1, 0.5, 4.0),
        candidate(2, 0.6, 6.0),
        candidate(3, 0.4, 5.0),
        candidate(4, 0.6, 7.0),
        candidate(5, 0.7, 9.0),
        candidate(6, 0.5, 4.0),
    ]
    assert [c.number for c in evolution.pareto_front(rows)] == [1, 2, 5]


def test_best_is_the_first_of_equals():
    rows = [candidate(1, 0, 1, 0.2), candidate(2, 0, 1, 0.9), candidate(3, 0, 1, 0.9)]
    assert evolution.best(rows).number == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "hope"),
        ("candidates", 0),
        ("first", 0),
        ("parents", 0),
        ("at_once", 0),
        ("patience", 0),
        ("target_latency_ms", 0),
        ("exponent", 0.1),
    ],
)
def test_settings_without_sense_are_named(field, value):
    with pytest.raises(InputError, match=field):
        SearchConfig(**{field: value})
