"""`search`: images in, networks that are accurate and fast on them out."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import click
from tqdm import tqdm

from edgetpu_lib.base.artifacts import InputError, require_writable, write_file
from edgetpu_lib.commands import options


@click.command()
@options.DATA_SET
@options.IMAGES_PER_CLASS
@click.option(
    "--strategy",
    type=click.Choice(["evolution", "random"]),
    default="evolution",
    show_default=True,
    help="Change what did well, or draw every network anew.",
)
@click.option(
    "--candidates",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Networks to judge, at most.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Stop after so many without a better reward.",
)
@click.option(
    "--target_latency_ms",
    type=float,
    default=5.0,
    show_default=True,
    help="On the Edge TPU, estimated.",
)
@click.option(
    "--exponent",
    type=float,
    default=-0.07,
    show_default=True,
    help="w of the reward top-1 × (latency / target)^w.",
)
@click.option(
    "--image_size",
    type=click.IntRange(32),
    default=48,
    show_default=True,
    help="Of the small copies that are trained.",
)
@click.option("--epochs", type=click.IntRange(1), default=6, show_default=True)
@options.SEED
@click.option(
    "--workers", type=click.IntRange(1), help="Processes here.  [default: one a core]"
)
@click.option(
    "--scheduler", help="Address of a Dask scheduler, whose workers are used instead."
)
@click.option(
    "--output",
    default="artifacts/search",
    show_default=True,
    help="Folder for the table, the figure and the winner.",
)
@options.JSON
def search(
    data_dir,
    images_per_class,
    strategy,
    candidates,
    patience,
    target_latency_ms,
    exponent,
    image_size,
    epochs,
    seed,
    workers,
    scheduler,
    output,
    as_json,
) -> None:
    """Search for a network, judging small copies of candidates on images.

    Stopped, the same command goes on. The winner's file is a --model_name for
    fine-tune, train and export.
    """
    from edgetpu_lib import data, specs
    from edgetpu_lib.plots import search as plots_search
    from edgetpu_lib.search import evolution as stage
    from edgetpu_lib.search import history, proxy, space

    config = stage.SearchConfig(
        strategy=strategy,
        candidates=candidates,
        patience=patience,
        target_latency_ms=target_latency_ms,
        exponent=exponent,
        seed=seed,
    )
    folder = Path(output)
    require_writable(folder / "winner.json")
    splits = data.open_splits(data_dir, images_per_class=images_per_class, seed=seed)
    # Neither test images nor those that a later training is watched with.
    images = data.with_validation(splits, seed=seed)["train"]
    task = proxy.load_task(images, image_size=image_size, epochs=epochs, seed=seed)
    known = history.History(folder / "judged.jsonl", task.facts())
    judge = functools.partial(proxy.proxy_top1, task=task)
    found: list[stage.Candidate] = []
    with (
        _executor(workers, scheduler) as executor,
        tqdm(total=candidates, unit="network", desc="search") as bar,
    ):
        for candidate in stage.search(
            space.SearchSpace(), judge, config, executor, history=known
        ):
            found.append(candidate)
            bar.write(_line(candidate, found), file=sys.stderr)
            bar.update()
    winner = stage.best(found)
    specs.write_spec(stage.deployed_spec(winner.stages), folder / "winner.json")
    write_file(folder / "candidates.csv", _table(found).encode())
    plots_search.save_figure(
        folder / "search.png",
        {strategy: found},
        target_latency_ms=target_latency_ms,
    )
    options.show(
        {
            "winner": str(folder / "winner.json"),
            "candidates": [dataclasses.asdict(candidate) for candidate in found],
        },
        as_json,
        [
            f"wrote {folder / name}"
            for name in ("winner.json", "candidates.csv", "search.png")
        ]
        + [
            f"winner {space.describe(winner.stages)}",
            f"top-1 of its small copy {winner.top1:.1%}, {winner.latency_ms:.2f} ms"
            f" (an estimate), reward {winner.reward:.3f}",
        ],
    )


@contextlib.contextmanager
def _executor(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    """Yield what runs the trainings: processes here, or a cluster's workers.

    Raises:
        InputError: Dask is not installed, or no scheduler answers.
    """
    from edgetpu_lib.search import proxy

    if not scheduler:
        pool = proxy.worker_pool(workers)
        try:
            yield pool
        finally:
            # Whoever interrupts does not want to wait for what was not begun.
            pool.shutdown(cancel_futures=True)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs Dask; pip install 'edgetpu_lib[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`"
        ) from error
    with client, client.get_executor() as executor:
        yield executor


def _line(candidate, found: Sequence) -> str:
    from edgetpu_lib.search import evolution as stage
    from edgetpu_lib.search import space

    return (
        f"{candidate.number:3}  {space.describe(candidate.stages)}  top-1"
        f" {candidate.top1:.1%}, {candidate.latency_ms:.2f} ms, reward"
        f" {candidate.reward:.3f}, best {stage.best(found).reward:.3f}"
    )


def _table(found: Sequence) -> str:
    """Return the candidates as CSV, the best first."""
    from edgetpu_lib.search import space

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["number", "strategy", "reward", "top1", "latency_ms", "macs", "network"]
    )
    for candidate in sorted(found, key=lambda c: -c.reward):
        writer.writerow(
            [
                candidate.number,
                candidate.strategy,
                f"{candidate.reward:.4f}",
                f"{candidate.top1:.4f}",
                f"{candidate.latency_ms:.3f}",
                candidate.macs,
                space.describe(candidate.stages),
            ]
        )
    return text.getvalue()
