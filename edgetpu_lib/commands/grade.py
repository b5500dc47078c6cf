"""`grade`: a folder of handed-in notebooks in, points and feedback out."""

from __future__ import annotations

from pathlib import Path

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import options

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

    Each submission runs in processes, a folder and an environment of its own, within
    limits of time and memory; on Linux it can write nothing else. Then the checks of
    the key test what it left behind, as data, whatever its own checks say. After an
    interruption the same command continues, and grades again what was changed. What
    the grader itself fails at is no grade. It guards against accidents and fakes, not
    against malice: do not grade notebooks of strangers on a machine that matters.

    Args:
        submissions: folder of notebooks.
        output: folder for grades.csv and the pages of feedback.
        key: source notebook with the checks. [default: transfer_learning.ipynb]
        timeout: seconds for one submission in all.
        cell_timeout: seconds for one cell; then the next one runs.
        memory: MiB for all processes of one submission together.
        jobs: number of submissions at a time.
    """
    try:
        from edgetpu_lib.teaching.grading import folder, process, sandbox
        from edgetpu_lib.teaching.grading import key as grading_key
    except ImportError as error:
        raise InputError(
            f"the grader failed: {error}; install edgetpu_lib again"
        ) from error

    limits = process.Limits(timeout, cell_timeout, memory)
    key = key or KEY
    try:
        exercise = grading_key.read_key(key, options.typed(overrides))
    except InputError as error:
        raise InputError(f"--key={key}: {error}") from error
    if not sandbox.is_available():
        print("this system has no sandbox: a submission can write whatever you can")
    for done, count, made in folder.grade_folder(
        submissions, output, exercise, limits, jobs=jobs
    ):
        if made:
            points = f"{made.points:g} of {exercise.max_points:g}"
            line = f"[{done}/{count}] {made.name}: {points}, {made.seconds:.0f} s,"
            print(f"{line} {made.status}", flush=True)
        elif done:
            print(f"{done} of {count} were graded before", flush=True)
