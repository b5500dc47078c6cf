"""Grade a folder of submissions and keep a table, so that the call can resume."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from edgetpu_lib.base.artifacts import require_writable
from edgetpu_lib.teaching.grading import grade as grading
from edgetpu_lib.teaching.grading import pages
from edgetpu_lib.teaching.grading.grade import Grade
from edgetpu_lib.teaching.grading.key import Key
from edgetpu_lib.teaching.grading.process import Limits


def grade_folder(
    submissions: Path, output: Path, key: Key, limits: Limits, *, jobs: int = 1
) -> Iterator[tuple[int, int, Grade | None]]:
    """Grade every notebook of a folder that is new or was changed.

    Args:
        submissions: folder of notebooks.
        output: folder for the table and the pages of feedback, written after each
            grade.
        key: of the exercise.
        limits: of time and memory for one submission.
        jobs: number of submissions at a time.

    Yields:
        The number of graded submissions, their number in all, and the grade; first
        `None`, with the number of those that an earlier call graded.

    Raises:
        InputError: the folder holds no notebooks, or the output cannot be used.
    """
    paths = grading.find_submissions(submissions)
    require_writable(output / pages.TABLE)
    rows = dict(pages.read_table(output))
    waiting = []
    for path in paths:
        name = grading.shown_name(path, submissions)
        known, digest = rows.get(pages.cell(name)), grading.digest_of(path, key)
        if not pages.is_done(known, digest, limits, output):
            waiting.append((path, name))
    done = len(paths) - len(waiting)
    yield done, len(paths), None
    for made in _grade_all(waiting, key, limits, jobs):
        pages.write_page(output, made, key)
        fresh = pages.row(made, limits, key)
        rows[fresh["submission"]] = fresh
        pages.write_table(output, key, rows.values())
        done += 1
        yield done, len(paths), made
    pages.write_table(output, key, rows.values())


def _grade_all(
    waiting: list[tuple[Path, str]], key: Key, limits: Limits, jobs: int
) -> Iterator[Grade]:
    """Yield grades as they are done; an interruption ends what is running."""
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
