"""Does evolution find better networks than chance, at the same number of trainings?

For each seed both search for the same number of networks, on the same images. Choosing
the best of many brief trainings favours luck, so both winners are trained again with
other seeds. Evaluated networks are saved, so that the same command resumes.

    python benchmarks/search.py --json=data/search_seeds.json
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from edgetpu_lib import data
from edgetpu_lib.search import evolution as search
from edgetpu_lib.search import history, proxy
from edgetpu_lib.search import space as search_space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="rendered_flowers")
    parser.add_argument("--cache_dir", default="artifacts")
    parser.add_argument("--output", default="artifacts/search-benchmark")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=16, help="of each search")
    parser.add_argument("--again", type=int, default=3, help="trainings of a winner")
    parser.add_argument("--exponent", type=float, default=search.SearchConfig.exponent)
    parser.add_argument("--image_size", type=int, default=48)
    parser.add_argument("--json", help="where to write the rewards")
    options = parser.parse_args()
    images = data.open_data_set(options.data_dir, cache_dir=options.cache_dir)
    task = proxy.load_task(
        data.split_images(images)["train"], image_size=options.image_size
    )
    rows = {strategy: [] for strategy in search.STRATEGIES}
    with proxy.worker_pool() as pool:
        for seed in range(options.seeds):
            for strategy, found in rows.items():
                winner = run(strategy, seed, task, pool, options)
                again = train_again(winner, task, pool, options)
                found.append((winner, again))
                print(
                    f"seed {seed} {strategy:9}: reward {winner.reward:.3f}, trained"
                    f" again {again:.3f}; {winner.latency_ms:.2f} ms,"
                    f" {search_space.describe(winner.stages)}",
                    flush=True,
                )
    report(rows)
    if options.json:
        write(rows, options)


def run(strategy, seed, task, pool, options) -> search.Candidate:
    """Return the winner of one search."""
    config = search.SearchConfig(
        strategy=strategy,
        candidates=options.candidates,
        patience=options.candidates,
        exponent=options.exponent,
        seed=seed,
    )
    known = history.History(f"{options.output}/judged-{task.seed}.jsonl", task.facts())
    measure = functools.partial(proxy.proxy_top1, task=task)
    found = []
    space = search_space.SearchSpace()
    for candidate in search.search(space, measure, config, pool, history=known):
        found.append(candidate)
        print(
            f"  {candidate.number:3} {candidate.top1:.3f} {candidate.latency_ms:6.2f}"
            f" ms, reward {candidate.reward:.3f}, best"
            f" {search.best(found).reward:.3f}",
            file=sys.stderr,
        )
    return search.best(found)


def train_again(winner, task, pool, options) -> float:
    """Return the mean reward of the winner with other seeds."""
    tasks = [dataclasses.replace(task, seed=100 + n) for n in range(options.again)]
    tables = [
        history.History(f"{options.output}/judged-{t.seed}.jsonl", t.facts())
        for t in tasks
    ]
    missing = [
        (table, pool.submit(proxy.proxy_top1, winner.stages, t))
        for table, t in zip(tables, tasks, strict=True)
        if table.top1_of(winner.stages) is None
    ]
    for table, future in missing:
        table.add(winner.stages, future.result())
    top1 = statistics.mean(table.top1_of(winner.stages) for table in tables)
    return search.reward(
        top1,
        winner.latency_ms,
        target_latency_ms=search.SearchConfig.target_latency_ms,
        exponent=options.exponent,
    )


def write(rows, options: argparse.Namespace) -> None:
    """Write the figure's numbers: a row a seed."""
    table = [
        {name: round(again, 4) for name, (_, again) in zip(rows, pair, strict=True)}
        for pair in zip(*rows.values(), strict=True)
    ]
    content = {
        "made_by": "python benchmarks/search.py",
        "candidates": options.candidates,
        "trainings_of_a_winner": options.again,
        "image_size": options.image_size,
        "rewards": table,
    }
    Path(options.json).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def report(rows: dict[str, list[tuple[search.Candidate, float]]]) -> None:
    """Print means, and how often evolution was ahead."""
    for title, value in (
        ("as found", lambda row: row[0].reward),
        ("trained again", lambda row: row[1]),
    ):
        evolution, random = (
            np.array([value(row) for row in rows[name]]) for name in search.STRATEGIES
        )
        ahead = int((evolution > random).sum())
        line = (
            f"reward {title}: evolution {evolution.mean():.3f}, random"
            f" {random.mean():.3f}; evolution ahead in {ahead} of {len(evolution)}"
        )
        if len(evolution) > 1:
            test = stats.wilcoxon(evolution, random)
            line += f", Wilcoxon's p {test.pvalue:.2f}"
        print(line)


if __name__ == "__main__":
    main()
