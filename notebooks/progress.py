"""Show the progress of a run of notebooks, and the time that is left.

durations.json holds how long every cell took when the notebooks were last committed:
{profile: {notebook: {cell id: seconds}}}. `make notebooks` writes it.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgetpu_lib.base.artifacts import write_file

DURATIONS = Path(__file__).with_name("durations.json")
# A run is taken to be as fast as the last one for its first seconds, so that a few
# short cells do not decide what the estimate for all others is.
PRIOR_S = 20.0
# Cells that took less are not worth a line in durations.json.
SHORTEST_S = 0.05
KEPT_CHARACTERS = 1000
# What moves the cursor or colours text on a terminal.
CURSOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read() -> dict[str, dict[str, dict[str, float]]]:
    """Return the seconds of the last run: {profile: {notebook: {cell id: seconds}}}."""
    return json.loads(DURATIONS.read_text("utf-8")) if DURATIONS.exists() else {}


def refresh(profile: str, executed: Path) -> None:
    """Write the seconds of a finished run into durations.json.

    Args:
        profile: a key of profiles.toml.
        executed: folder of the executed notebooks.
    """
    paths = sorted(executed.glob("[0-9]*.ipynb"))
    seconds = {path.stem: cell_seconds(path) for path in paths}
    text = json.dumps(read() | {profile: seconds}, indent=1)
    write_file(DURATIONS, f"{text}\n".encode())


def cell_seconds(path: Path) -> dict[str, float]:
    """Return {cell id: seconds} of a notebook that papermill executed."""
    found = {
        cell.id: cell.metadata.papermill.duration or 0.0
        for cell in nbformat.read(path, as_version=4).cells
        # Added by papermill, with another id in every run.
        if "injected-parameters" not in cell.metadata.get("tags", [])
    }
    return {name: round(s, 1) for name, s in found.items() if s >= SHORTEST_S}


def slowdown(
    done_s: float, running_s: float, spent_s: float, spent_here_s: float
) -> float:
    """Return how many seconds this run takes for one second of the last run.

    Args:
        done_s: seconds of the last run for the cells that are finished.
        running_s: seconds of the last run for the cell that is running.
        spent_s: seconds of this run so far, without the running cell.
        spent_here_s: seconds of this run for the running cell so far.
    """
    finished = (spent_s + PRIOR_S) / (done_s + PRIOR_S)
    # What it will be at least, even if the running cell ended now.
    at_least = (spent_s + spent_here_s + PRIOR_S) / (done_s + running_s + PRIOR_S)
    return max(finished, at_least)


def in_words(seconds: float) -> str:
    """Return a time left, rounded as it deserves: "30 s" or "4 min"."""
    if seconds < 90:
        return f"{max(10, 10 * round(seconds / 10))} s"
    return f"{round(seconds / 60)} min"


def last_line(text: str) -> str:
    """Return the last line that is not blank; a carriage return ends a line, too."""
    lines = re.split(r"[\r\n]", CURSOR.sub("", text))
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Progress:
    """A line on the terminal: notebook, bar, time, time left, last line of output.

    `cell_started` is a hook of nbclient; papermill writes the output of the running
    cell to this object as to a file. Where there is no terminal, only one line for each
    finished notebook is printed.
    """

    def __init__(
        self,
        notebooks: Sequence[Path],
        durations: Mapping[str, Mapping[str, float]],
        console: Console | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            notebooks: the notebooks that will be executed, in order.
            durations: {notebook: {cell id: seconds}} of the last run; if empty, no
                time left is shown, and every code cell counts the same.
            console: where the line is shown; standard error by default.
        """
        self._console = console or Console(stderr=True)
        self._known = bool(durations)
        self._seconds = {
            (path.stem, cell.id): durations.get(path.stem, {}).get(cell.id, 0.0)
            if durations
            else 1.0
            for path in notebooks
            for cell in nbformat.read(path, as_version=4).cells
            if cell.cell_type == "code"
        }
        self._begin = self._cell_begin = time.monotonic()
        self._done_s = self._running_s = 0.0
        self._notebook = self._output = ""

    @contextlib.contextmanager
    def follow(self, notebook: str) -> Iterator[None]:
        """Show the line while a notebook is executed, then how long it took."""
        begin = time.monotonic()
        self._notebook = notebook
        settings = {"console": self._console, "refresh_per_second": 4}
        try:
            with Live(self, transient=True, **settings):
                yield
        finally:
            self._finish_cell()
            took = time.monotonic() - begin
            self._console.print(f"{notebook:14} {took:.0f} s", highlight=False)

    def cell_started(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        """Note that a cell begins, and with it that the one before has ended."""
        self._finish_cell()
        self._running_s = self._seconds.get((self._notebook, cell.id), 0.0)

    def _finish_cell(self) -> None:
        self._done_s += self._running_s
        self._running_s, self._output = 0.0, ""
        self._cell_begin = time.monotonic()

    def write(self, text: str) -> None:
        """Take a piece of what the running cell prints."""
        self._output = (self._output + text)[-KEPT_CHARACTERS:]

    def flush(self) -> None:
        """Do nothing; files have this method."""

    def times(self) -> tuple[float, float, float | None]:
        """Return the fraction done, the seconds so far, and the seconds left."""
        now = time.monotonic()
        here_s, so_far_s = now - self._cell_begin, now - self._begin
        total_s = sum(self._seconds.values()) or 1.0
        if not self._known:
            return self._done_s / total_s, so_far_s, None
        pace = slowdown(self._done_s, self._running_s, so_far_s - here_s, here_s)
        running_left_s = max(0.0, self._running_s - here_s / pace)
        later_s = total_s - self._done_s - self._running_s
        left_s = later_s + running_left_s
        return 1 - left_s / total_s, so_far_s, pace * left_s

    def __rich__(self) -> Table:
        """Return the line; rich asks for it four times a second."""
        done, so_far_s, left_s = self.times()
        clock = f"{int(so_far_s) // 60}:{int(so_far_s) % 60:02}"
        if left_s is not None:
            clock += f", about {in_words(left_s)} left"
        line = Table.grid(padding=(0, 1), expand=True)
        for name in ("notebook", "bar", "clock"):
            line.add_column(name, no_wrap=True)
        line.add_column("output", no_wrap=True, overflow="ellipsis", ratio=1)
        bar = ProgressBar(total=1.0, completed=done, width=16)
        line.add_row(self._notebook, bar, clock, Text(last_line(self._output)))
        return line
