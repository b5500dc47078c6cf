"""The line of progress shows what a cell prints, and a time left that is measured."""

import errno
import io
import json
import os
import re

import nbformat
import progress
import pytest
import run
from rich.console import Console

PRINTS = "print('train  3/9', flush=True); import time; time.sleep(1)"
BARS = (
    "import sys\n"
    "for step in (1, 2):\n"
    "    print(f'\\rcalibrating {step}/2', end='', file=sys.stderr, flush=True)\n"
    "    time.sleep(0.6)"
)


@pytest.fixture
def path(tmp_path):
    """Return a notebook of two short cells that print."""
    cells = [nbformat.v4.new_code_cell(source) for source in (PRINTS, BARS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "1_tiny.ipynb")
    return tmp_path / "1_tiny.ipynb"


def line_on(console, path, durations=None):
    return progress.Progress([path], durations or {}, console)


def code_ids(path):
    return [cell.id for cell in nbformat.read(path, as_version=4).cells]


def test_a_terminal_shows_what_the_running_cell_prints(path, tmp_path, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    first, second = code_ids(path)
    line = line_on(console, path, {"1_tiny": {first: 1.0, second: 60.0}})
    executed = tmp_path / "executed" / path.name
    run.run(path, executed, {}, line)
    shown = screen.getvalue()
    assert "train  3/9" in shown
    assert "calibrating 1/2" in shown and "calibrating 2/2" in shown
    assert "about 60 s left" in shown
    assert re.search(r"1_tiny +\d+ s\n", shown)
    # The executed notebook keeps its outputs, and how long each cell took.
    outputs = [cell.outputs for cell in nbformat.read(executed, as_version=4).cells]
    assert outputs[0][0].text == "train  3/9\n"
    monkeypatch.setattr(progress, "DURATIONS", tmp_path / "durations.json")
    progress.refresh("smoke", executed.parent)
    written = json.loads((tmp_path / "durations.json").read_text())
    seconds = written["smoke"]["1_tiny"]
    assert 1 <= seconds[first] < 60 and 1.2 <= seconds[second] < 60
    assert progress.read() == written


def test_without_a_terminal_each_notebook_is_one_line(path):
    log = io.StringIO()
    line = line_on(Console(file=log, width=100), path)
    with line.follow("1_tiny"):
        line.write("a line of the notebook")
    assert re.fullmatch(r"1_tiny +0 s\n", log.getvalue())


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def start(line, path, number):
    cell = nbformat.read(path, as_version=4).cells[number]
    line.cell_started(cell=cell, cell_index=number)


def test_time_left_follows_the_last_run_and_the_pace_of_this_machine(path, clock):
    first, second = code_ids(path)
    durations = {"1_tiny": {first: 100.0, second: 300.0}}
    line = line_on(Console(file=io.StringIO()), path, durations)
    with line.follow("1_tiny"):
        start(line, path, 0)
        assert line.times() == (0, 0, 400)
        clock.now += 50
        assert line.times() == (pytest.approx(50 / 400), 50, 350)
        clock.now += 170
        # Twice as long as the last run: so will be what comes.
        assert line.times() == (pytest.approx(0.25), 220, pytest.approx(600))
        start(line, path, 1)
        clock.now += 200
        assert line.times()[2] == pytest.approx(400)


def test_time_left_is_not_shown_without_a_last_run(path, clock):
    line = line_on(Console(file=io.StringIO()), path)
    with line.follow("1_tiny"):
        start(line, path, 0)
        start(line, path, 1)
        clock.now += 30
        assert line.times() == (0.5, 30, None)


def test_a_cell_that_overruns_never_promises_less_than_it_takes(path, clock):
    first, second = code_ids(path)
    durations = {"1_tiny": {first: 10.0, second: 100.0}}
    line = line_on(Console(file=io.StringIO()), path, durations)
    with line.follow("1_tiny"):
        start(line, path, 0)
        left = []
        for _ in range(10):
            clock.now += 30
            left.append(line.times()[2])
    assert left == sorted(left), "the longer it takes, the more is left"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ntwo\n\n", "two"),
        ("  5%|▌     | 1/20\r 10%|█     | 2/20", "10%|█     | 2/20"),
        ("\x1b[32m50%\x1b[0m\x1b[A\n\x1b[A", "50%"),
        ("", ""),
    ],
)
def test_last_line(text, line):
    assert progress.last_line(text) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "10 s"), (44, "40 s"), (89, "90 s"), (91, "2 min"), (250, "4 min")],
)
def test_time_left_is_rounded(seconds, words):
    assert progress.in_words(seconds) == words


def test_committed_durations_are_of_cells_that_are_there():
    stems = {path.stem: set(code_ids(path)) for path in run.NOTEBOOKS}
    for profile, notebooks in progress.read().items():
        assert profile in run.profiles.PROFILES
        assert set(notebooks) <= set(stems)
        for name, seconds in notebooks.items():
            assert set(seconds) <= stems[name], f"make notebooks: {profile}, {name}"


def test_full_disk_keeps_the_earlier_copy(path, tmp_path, monkeypatch, capsys):
    from papermill.iorw import LocalHandler

    executed = tmp_path / "executed" / path.name
    executed.parent.mkdir()
    executed.write_text("earlier")
    written = []

    def fill(self, content, target):
        written.append(target)
        with open(target, "w") as file:
            file.write(content[:50])
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalHandler, "write", fill)
    with pytest.raises(SystemExit) as caught:
        run.run(path, executed, {})
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and "No space left" in line
    assert str(executed) in line
    assert executed.read_text() == "earlier"
    assert [file.name for file in executed.parent.iterdir()] == [path.name]
