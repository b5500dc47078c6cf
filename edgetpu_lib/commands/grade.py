"""`grade`: a folder of handed-in notebooks in, points and feedback out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetpu_lib.base.artifacts import InputError, require_writable
from edgetpu_lib.commands import options

if TYPE_CHECKING:
    from edgetpu_lib.teaching.grading.grade import Grade
    from edgetpu_lib.teaching.grading.key import Key
    from edgetpu_lib.teaching.grading.process import Limits

KEY = Path(__file__).parents[2] / "notebooks" / "exercises" / "transfer_learning.ipynb"


@click.command()
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="grades",
    show_default=True,
    help="Folder for grades.csv and the pages of feedback.",
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path),
    default=KEY,
    help="Source notebook with the checks.  [default: transfer_learning.ipynb]",
)
@click.option(
    "--timeout",
    type=float,
    default=1800,
    show_default=True,
    help="Seconds for one submission in all.",
)
@click.option(
    "--cell_timeout",
    type=float,
    default=600,
    show_default=True,
    help="Seconds for one cell; the next one then goes on.",
)
@click.option(
    "--memory",
    type=float,
    default=6000,
    show_default=True,
    help="MiB for all processes of one submission together.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Submissions at a time.",
)
@click.option(
    "-p",
    "overrides",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Change a parameter of the exercise, in the key and in every submission.",
)
def grade(
    submissions, output, key_path, timeout, cell_timeout, memory, jobs, overrides
) -> None:
    """Grade every notebook of a folder with the checks of an exercise.

    Each one runs in a process, a folder and an environment of its own, within limits
    of time and memory; then the checks of the key look at what it made, whatever
    became of the checks in it. The same command goes on after an interruption, and
    grades again what was changed. It keeps accidents away, not malice: do not grade
    notebooks of strangers on a machine that matters.
    """
    from edgetpu_lib.teaching.grading import grade as grading
    from edgetpu_lib.teaching.grading import key as grading_key
    from edgetpu_lib.teaching.grading import pages, process

    limits = process.Limits(timeout, cell_timeout, memory)
    try:
        key = grading_key.read_key(key_path, options.typed(overrides))
    except InputError as error:
        raise InputError(f"--key={key_path}: {error}") from error
    paths = grading.find_submissions(submissions)
    require_writable(output / pages.TABLE)
    known = pages.read_table(output)
    names = {path: grading.shown_name(path, submissions) for path in paths}
    rows = dict(known)
    waiting = []
    for path, name in names.items():
        cell = pages.cell(name)
        digest = grading.digest_of(path, key)
        if not pages.is_done(known.get(cell), digest, limits, output):
            waiting.append((path, name))
    say = _printer(len(paths), len(paths) - len(waiting))
    for made in _grade_all(waiting, key, limits, jobs):
        pages.write_page(output, made, key)
        fresh = pages.row(made, limits, key)
        rows[fresh["submission"]] = fresh
        pages.write_table(output, key, rows.values())
        say(made, key)
    pages.write_table(output, key, rows.values())


def _grade_all(
    waiting: list[tuple[Path, str]], key: Key, limits: Limits, jobs: int
) -> Iterator[Grade]:
    """Yield grades as they are done; an interruption ends what is running."""
    from edgetpu_lib.teaching.grading import grade as grading

    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(grading.grade, path, name, key, limits, stop)
            for path, name in waiting
        ]
        try:
            for future in as_completed(futures):
                if made := future.result():
                    yield made
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _printer(count: int, done: int):
    """Return a function that prints one line a submission."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if done:
        console.print(f"{done} of {count} were graded before", soft_wrap=True)

    def say(made: Grade, key: Key) -> None:
        nonlocal done
        done += 1
        console.print(
            f"[{done}/{count}] {made.name}: {made.points:g} of {key.max_points:g},"
            f" {made.seconds:.0f} s, {made.status}",
            soft_wrap=True,
        )

    return say
