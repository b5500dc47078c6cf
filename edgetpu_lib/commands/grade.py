"""`grade`: a folder of handed-in notebooks in, points and feedback out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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


@options.command
@click.option(
    "-p",
    "overrides",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Change a parameter of the exercise, in the key and in every submission.",
)
def grade(
    submissions: Path,
    *,
    output: Path = Path("grades"),
    key: Path | None = None,
    timeout: float = 1800,
    cell_timeout: float = 600,
    memory: float = 6000,
    jobs: options.Count = 1,
    overrides: tuple[tuple[str, str], ...],
) -> None:
    """Grade every notebook of a folder with the checks of an exercise.

    Each submission runs in a process, a folder and an environment of its own, within
    limits of time and memory; then the checks of the key test what it made, whatever
    its own checks say. After an interruption the same command continues, and grades
    again what was changed. It guards against accidents, not against malice: do not
    grade notebooks of strangers on a machine that matters.

    Args:
        submissions: folder of notebooks.
        output: folder for grades.csv and the pages of feedback.
        key: source notebook with the checks. [default: transfer_learning.ipynb]
        timeout: seconds for one submission in all.
        cell_timeout: seconds for one cell; then the next one runs.
        memory: MiB for all processes of one submission together.
        jobs: number of submissions at a time.
    """
    from edgetpu_lib.teaching.grading import grade as grading
    from edgetpu_lib.teaching.grading import key as grading_key
    from edgetpu_lib.teaching.grading import pages, process

    limits = process.Limits(timeout, cell_timeout, memory)
    key = key or KEY
    try:
        exercise = grading_key.read_key(key, options.typed(overrides))
    except InputError as error:
        raise InputError(f"--key={key}: {error}") from error
    paths = grading.find_submissions(submissions)
    require_writable(output / pages.TABLE)
    known = pages.read_table(output)
    names = {path: grading.shown_name(path, submissions) for path in paths}
    rows = dict(known)
    waiting = []
    for path, name in names.items():
        cell = pages.cell(name)
        digest = grading.digest_of(path, exercise)
        if not pages.is_done(known.get(cell), digest, limits, output):
            waiting.append((path, name))
    say = _printer(len(paths), len(paths) - len(waiting))
    for made in _grade_all(waiting, exercise, limits, jobs):
        pages.write_page(output, made, exercise)
        fresh = pages.row(made, limits, exercise)
        rows[fresh["submission"]] = fresh
        pages.write_table(output, exercise, rows.values())
        say(made, exercise)
    pages.write_table(output, exercise, rows.values())


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


def _printer(count: int, done: int) -> Callable[[Grade, Key], None]:
    """Return a function that prints one line per submission."""
    if done:
        print(f"{done} of {count} were graded before")

    def say(made: Grade, key: Key) -> None:
        nonlocal done
        done += 1
        points = f"{made.points:g} of {key.max_points:g}"
        line = f"[{done}/{count}] {made.name}: {points}, {made.seconds:.0f} s,"
        print(f"{line} {made.status}", flush=True)

    return say
