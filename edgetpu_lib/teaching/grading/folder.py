"""Grade a folder of submissions and keep a table, so that the call can resume."""

from __future__ import annotations

import ast
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, require_writable
from edgetpu_lib.teaching.grading import grade as grading
from edgetpu_lib.teaching.grading import installation, pages
from edgetpu_lib.teaching.grading.grade import Grade
from edgetpu_lib.teaching.grading.key import Key
from edgetpu_lib.teaching.grading.process import FAILED, Limits, Place, installed_in


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
        InputError: the folder holds no notebooks, the output cannot be used, or the
            grader failed; what it failed for is no grade, and is graded again.
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
    failed = []
    for made in _grade_all(waiting, key, limits, jobs, (submissions, output)):
        if made.is_grade:
            pages.write_page(output, made, key)
        else:
            failed.append(made)
        fresh = pages.row(made, limits, key)
        rows[fresh["submission"]] = fresh
        pages.write_table(output, key, rows.values())
        done += 1
        yield done, len(paths), made
    pages.write_table(output, key, rows.values())
    if failed:
        raise InputError(
            f"{len(failed)} of {len(paths)} submissions have no grade, such as"
            f" {failed[0].name} ({failed[0].status}); mend that, then run the same"
            " command again"
        )


def _grade_all(
    waiting: list[tuple[Path, str]],
    key: Key,
    limits: Limits,
    jobs: int,
    closed: tuple[Path, ...],
) -> Iterator[Grade]:
    """Yield grades as they are done; an interruption ends what is running.

    Raises:
        InputError: the key fails by itself, or the installation changed.
    """
    if not waiting:
        return
    with tempfile.TemporaryDirectory(prefix="g", ignore_cleanup_errors=True) as folder:
        checks = Path(folder) / "checks"
        checks.mkdir()
        place = Place(Path(folder), checks, (*closed, *_named_folders(key)))
        watch = _Watch()
        if problem := grading.try_key(key, limits, place):
            raise InputError(
                f"{problem}; mend the installation or the key, then run the same"
                " command again"
            )
        yield from _grade_in(place, waiting, key, limits, jobs, watch)


def _named_folders(key: Key) -> list[Path]:
    """Return the folders that changed parameters name: they are for all to read."""
    constants = (n for n in ast.walk(ast.parse(key.overrides)))
    texts = [n.value for n in constants if isinstance(n, ast.Constant)]
    paths = [Path(text) for text in texts if isinstance(text, str)]
    return [path for path in paths if path.is_absolute() and path.is_dir()]


class _Watch:
    """Compares the installation with what it was when grading began."""

    def __init__(self) -> None:
        self._before = installation.facts_of(installed_in())

    def require_unchanged(self, name: str) -> None:
        """Raise InputError if a file of the library or the environment changed."""
        now = installation.facts_of(installed_in())
        if changed := installation.first_change(self._before, now):
            raise InputError(
                f"{FAILED}: {changed} changed while {name} was graded, which has no"
                " grade now; restore it (install again), then run the same command"
                " again"
            )


def _grade_in(
    place: Place,
    waiting: list[tuple[Path, str]],
    key: Key,
    limits: Limits,
    jobs: int,
    watch: _Watch,
) -> Iterator[Grade]:
    stop = threading.Event()

    def grade(path: Path, name: str) -> Grade | None:
        made = grading.grade(path, name, key, limits, stop, place)
        if made:
            watch.require_unchanged(name)
        return made

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(grade, *each) for each in waiting]
        try:
            for future in as_completed(futures):
                if made := future.result():
                    yield made
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
