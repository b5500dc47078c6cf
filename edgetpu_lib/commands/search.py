"""`search`: images in, networks that are accurate and fast on them out."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from edgetpu_lib.base.artifacts import require_writable, write_file
from edgetpu_lib.base.single_run import only_run
from edgetpu_lib.commands import options
from edgetpu_lib.search.settings import SearchConfig

if TYPE_CHECKING:
    from edgetpu_lib.search.evolution import Candidate
    from edgetpu_lib.search.proxy import ProxyTask

_OUTPUTS = ("winner.json", "candidates.csv", "search.png")


@dataclasses.dataclass(frozen=True)
class Flags:
    """What to search with, and where to write.

    Attributes:
        image_size: height and width of the input of the small copies, in pixels.
        epochs: epochs of each small copy.
        workers: number of processes on this machine. [default: one per core]
        scheduler: address of a Dask scheduler, whose workers are used instead.
        output: folder for the table, the figure and the winner.
    """

    image_size: Annotated[int, click.IntRange(32)] = 48
    epochs: options.Count = 6
    workers: options.Count | None = None
    scheduler: str | None = None
    output: str = "artifacts/search"


@options.command
@options.JSON
def search(
    *,
    data_set: options.DataSet,
    flags: Flags,
    config: SearchConfig,
    as_json: bool,
) -> None:
    """Search for a network by training small copies of candidates.

    After an interruption the same command continues. The winner's file is a
    --model_name for fine-tune, train and export.
    """
    from edgetpu_lib import data
    from edgetpu_lib.search import proxy

    folder = Path(flags.output)
    require_writable(folder / "winner.json")
    splits = data.open_splits(
        data_set.data_dir, images_per_class=data_set.images_per_class, seed=config.seed
    )
    # Neither test images nor those that a later training is validated with.
    images = data.with_validation(splits, seed=config.seed)["train"]
    task = proxy.load_task(
        images, image_size=flags.image_size, epochs=flags.epochs, seed=config.seed
    )
    with only_run(folder):
        _search_in(folder, task, flags, config, as_json)


def _search_in(
    folder: Path, task: ProxyTask, flags: Flags, config: SearchConfig, as_json: bool
) -> None:
    """Search with a task, and write winner, table and figure to a folder."""
    from edgetpu_lib import specs
    from edgetpu_lib.plots import search as plots_search
    from edgetpu_lib.search import evolution as stage
    from edgetpu_lib.search import history, proxy, space
    from edgetpu_lib.search.workers import open_executor

    known = history.History(folder / "judged.jsonl", task.facts())
    measure_top1 = functools.partial(proxy.proxy_top1, task=task)
    with open_executor(flags.workers, flags.scheduler) as executor:
        candidates = stage.search(
            space.SearchSpace(), measure_top1, config, executor, history=known
        )
        found = _collect(candidates, config.candidates)
    winner = stage.best(found)
    specs.write_spec(stage.deployed_spec(winner.stages), folder / "winner.json")
    write_file(folder / "candidates.csv", _table(found).encode())
    plots_search.save_figure(
        folder / "search.png",
        {config.strategy: found},
        target_latency_ms=config.target_latency_ms,
    )
    options.print_result(
        {
            "winner": str(folder / "winner.json"),
            "candidates": [dataclasses.asdict(candidate) for candidate in found],
        },
        as_json,
        [
            *(f"wrote {folder / name}" for name in _OUTPUTS),
            f"winner {space.describe(winner.stages)}",
            f"top-1 of its small copy {winner.top1:.1%}, {winner.latency_ms:.2f} ms"
            f" (an estimate), reward {winner.reward:.3f}",
        ],
    )


def _collect(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """Return the candidates; print a line for each beside a progress bar."""
    from tqdm import tqdm

    from edgetpu_lib.search import evolution as stage
    from edgetpu_lib.search import space

    found: list[Candidate] = []
    with tqdm(total=count, unit="network", desc="search") as bar:
        for candidate in candidates:
            found.append(candidate)
            bar.write(
                f"{candidate.number:3}  {space.describe(candidate.stages)}  top-1"
                f" {candidate.top1:.1%}, {candidate.latency_ms:.2f} ms, reward"
                f" {candidate.reward:.3f}, best {stage.best(found).reward:.3f}",
                file=sys.stderr,
            )
            bar.update()
    return found


def _table(found: Sequence[Candidate]) -> str:
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
