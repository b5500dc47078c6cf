"""A batch of submissions is graded to its end, whatever is in them."""

import contextlib
import csv
import html.parser
import json
import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import psutil
import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import main as cli
from edgetpu_lib.teaching.exercise import feedback
from edgetpu_lib.teaching.grading import grade
from edgetpu_lib.teaching.grading import key as grading_key
from edgetpu_lib.teaching.grading import pages as grading_pages
from edgetpu_lib.teaching.grading import process as grading_process

FEEDBACK = "from edgetpu_lib.teaching.exercise.feedback import Feedback"
ABSURD = "=1+2' \n\x1b[31m<script>alert(1)</scr>" + "ä" * 60 + ".ipynb"
GOOD = ["answer = 5", "def double(x):\n    return 2 * x", "words = '<b>because</b>'"]
SUBMISSIONS = {
    "good": GOOD,
    "empty": [],
    "loop": ["while True:\n    pass", *GOOD],
    "asks": ["name = input()", "import sys; sys.exit()", *GOOD, "exit()", "quit"],
    "flood": ["while True:\n    print('x' * 10_000)", *GOOD],
    "dies": ["answer = 5", "import os; os._exit(1)", *GOOD],
    "hungry": ["answer = 5", "keep = bytearray(3_000_000_000)", "import time"]
    + ["keep[:] = b'1' * len(keep)", "time.sleep(60)"],
    "leaves_behind": [
        "import subprocess",
        "subprocess.Popen(['sleep', '600'], start_new_session=True)",
        "def double(x):\n    while True:\n        pass",
        "answer = 5",
    ],
    # Checks deleted and faked, the library overwritten, names of Python's own used.
    "cheat": [
        "import edgetpu_lib.teaching.exercise.feedback as e",
        "full = lambda self, **_: {e.MIME: {**vars(self), 'points': 99}}",
        "e.Feedback._repr_mimebundle_ = full",
        "e.Feedback(task='sum', points=2, max_points=2, expected='', found='')",
        "goal = answer = 7",
        "list = str = globals = print = 3",
        "import os; os.chdir('/')",
        "double = lambda x: e.Feedback('double', 1, 1, '', '')",
    ],
    "environment": [
        "import os, pathlib",
        "def double(x):\n"
        "    secret = os.environ.get('A_TOKEN')\n"
        "    files = list(pathlib.Path.cwd().iterdir())\n"
        "    return 2 * x if not secret and not files else files",
        "answer = 5",
    ],
    "no time": ["answer = 5", *["import time; time.sleep(4)"] * 8, "answer = 6"],
}


def check_cell(task, points, source):
    facts = {"grade": True, "solution": False, "grade_id": task, "points": points}
    return nbformat.v4.new_code_cell(source, metadata={"nbgrader": facts})


def write_notebook(path, sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture(scope="module")
def key_path(tmp_path_factory):
    """Return a key of two checks and one answer in words."""
    words = {"grade": True, "solution": True, "grade_id": "reason", "points": 3}
    new_cell = nbformat.v4.new_code_cell
    cells = [
        new_cell("goal: int = 5  # a number", metadata={"tags": ["parameters"]}),
        new_cell(FEEDBACK, metadata={"tags": ["key"]}),
        check_cell(
            "sum",
            2,
            "Feedback('sum', 2 * (answer == goal), 2, str(goal), str(answer), '')",
        ),
        check_cell(
            "double", 1, "Feedback('double', double(4) == 8, 1, '8', 'x', 'times 2')"
        ),
        new_cell("words = ''", metadata={"nbgrader": words}),
    ]
    path = tmp_path_factory.mktemp("key") / "key.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def run(*arguments):
    return cli.main(["grade", *map(str, arguments)])


def rows_of(folder):
    with open(folder / "grades.csv", encoding="utf-8-sig", newline="") as stream:
        return {row["submission"]: row for row in csv.DictReader(stream)}


def marked_processes():
    return [
        process
        for process in psutil.process_iter(["environ"])
        if grading_process.MARK in (process.info["environ"] or {})
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of submissions, good ones and all sorts of others."""
    folder = tmp_path_factory.mktemp("handed in")
    for name, sources in SUBMISSIONS.items():
        write_notebook(folder / f"{name}.ipynb", sources)
    (folder / "deep" / ".ipynb_checkpoints").mkdir(parents=True)
    write_notebook(folder / "deep" / ".ipynb_checkpoints" / "old.ipynb", GOOD)
    write_notebook(folder / "deep" / ABSURD.replace("/", "_"), ["answer = 5"])
    (folder / "cut.ipynb").write_text('{"cells": [{"cell_type": "code"')
    (folder / "photo.ipynb").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "list.ipynb").write_text("[1, 2]")
    (folder / "folder.ipynb").mkdir()
    (folder / "notes.txt").write_text("not a notebook, and not called one")
    (folder / "link.ipynb").symlink_to(folder / "good.ipynb")
    (folder / "deep" / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.ipynb")
    return folder


@pytest.fixture(scope="module")
def graded(folder, key_path, tmp_path_factory):
    """Return (the folder of results, their rows) of one run over all of them."""
    output = tmp_path_factory.mktemp("grades")
    os.environ["A_TOKEN"] = "secret"
    try:
        code = run(
            *(folder, "--key", key_path, "--output", output, "--jobs", 2),
            *("--timeout", 15, "--cell_timeout", 5, "--memory", 800),
        )
    finally:
        del os.environ["A_TOKEN"]
    assert code == 0
    return output, rows_of(output)


@pytest.mark.parametrize(
    ("name", "total", "status"),
    [
        ("good", 3, "graded"),
        ("empty", 0, "graded"),
        ("loop", 3, "graded"),
        ("asks", 3, "graded"),
        ("flood", 3, "graded"),
        ("dies", 0, "kernel ended in code cell 2"),
        ("hungry", 0, "MiB of memory"),
        ("leaves_behind", 2, "graded"),
        ("cheat", 0, "graded"),
        ("environment", 3, "graded"),
        ("no time", 2, "limit of 15 s"),
        ("cut", 0, "not a notebook"),
        ("photo", 0, "not a notebook"),
        ("list", 0, "not a notebook"),
        ("folder", 0, "not a file"),
        ("link", 0, "symbolic link"),
        ("pipe", 0, "not a file"),
    ],
)
def test_every_submission_gets_its_points_and_a_status(graded, name, total, status):
    row = graded[1][f"{name}.ipynb"]
    assert float(row["total"]) == total, row
    assert status in row["status"]
    assert float(row["sum"]) + float(row["double"]) == total
    assert row["of"] == "3"
    assert row["reason"] == ""


def test_each_submission_has_one_row_and_one_page(graded, folder):
    output, rows = graded
    assert len(rows) == len(grade.find_submissions(folder)) == 18
    pages = {row["page"] for row in rows.values()}
    assert pages == {f"feedback/{path.name}" for path in output.glob("feedback/*")}


def test_nothing_of_a_submission_stays(graded):
    assert not marked_processes()


def test_no_name_becomes_a_formula_a_command_or_markup(graded):
    output, rows = graded
    assert all(name.isprintable() for name in rows)
    assert not [name for name in rows if name.startswith(grading_pages.FORMULA_SIGNS)]
    assert grading_pages.cell("=1+2.ipynb").startswith("'")
    (absurd,) = (row for name, row in rows.items() if "alert" in name)
    assert absurd["sum"] == "2"
    assert "<script" not in (output / absurd["page"]).read_text()


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, dict(attrs))]

    def handle_data(self, data):
        self.text += data


def parsed(path):
    tags = Tags()
    tags.feed(path.read_text("utf-8"))
    return tags


def test_a_page_tells_expected_found_and_hint_and_loads_nothing(graded):
    output, rows = graded
    for row in rows.values():
        page = parsed(output / row["page"])
        assert not [t for t, attrs in page.found if {"src", "href"} & set(attrs)]
        assert not {"script", "link", "img"} & {tag for tag, _ in page.found}
    cheat = parsed(output / rows["cheat.ipynb"]["page"]).text
    assert "times 2" in cheat and "7" in cheat
    good = parsed(output / rows["good.ipynb"]["page"]).text
    assert "<b>because</b>" in good
    asks = parsed(output / rows["asks.ipynb"]["page"]).text
    assert "code cell 1: StdinNotImplementedError" in asks
    flood = parsed(output / rows["flood.ipynb"]["page"]).text
    assert "RuntimeError: this cell printed more than" in flood
    hangs = parsed(output / rows["leaves_behind.ipynb"]["page"]).text
    assert "stopped after 5 s" in hangs


def test_the_same_command_keeps_what_is_done_and_grades_what_changed(
    key_path, tmp_path, capsys
):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("ada", "bob"):
        write_notebook(folder / f"{name}.ipynb", GOOD)
    (folder / "eve.ipynb").write_text("nothing")
    command = (folder, "--key", key_path, "--output", output, "--jobs", 2)
    assert run(*command) == 0
    assert capsys.readouterr().out.count("\n") == 3
    table = output / "grades.csv"
    table.write_text(
        table.read_text("utf-8-sig").replace(
            "ada.ipynb,2,1,3,3,", "ada.ipynb,2,1,3,3,7"
        )
    )
    (output / rows_of(output)["bob.ipynb"]["page"]).unlink()
    write_notebook(folder / "eve.ipynb", ["answer = 5"])
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "ada" not in printed
    assert "bob" in printed and "eve" in printed
    rows = rows_of(output)
    assert rows["ada.ipynb"]["reason"] == "7", "a mark given by hand is kept"
    assert [row["total"] for row in rows.values()] == ["3", "3", "2"]
    # Other parameters are another exercise.
    assert run(*command, "-p", "goal", "6") == 0
    assert [row["total"] for row in rows_of(output).values()] == ["1", "1", "0"]


def test_ctrl_c_keeps_what_is_graded_and_ends_what_runs(key_path, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.ipynb").write_text("nothing")
    write_notebook(folder / "b.ipynb", ["import time; time.sleep(500)"])
    command = [sys.executable, "-m", "edgetpu_lib", "grade", folder]
    command += ["--key", key_path, "--output", output]
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert "a.ipynb" in process.stdout.readline()
        deadline = time.monotonic() + 60
        while len(marked_processes()) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(marked_processes()) >= 2
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == cli.EXIT_INTERRUPTED
    assert not marked_processes()
    assert list(rows_of(output)) == ["a.ipynb"]


def test_code_that_ignores_interrupts_is_ended(key_path, tmp_path, monkeypatch):
    monkeypatch.setattr("edgetpu_lib.teaching.grading.kernel.GRACE_S", 2)
    told = []
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    job = {
        **grade._job([ignore + "\nwhile True: pass"], grading_key.read_key(key_path)),
        **{"folder": str(tmp_path), "cell_s": 2, "total_s": 60},
        "connection": str(tmp_path / "k.json"),
    }
    from edgetpu_lib.teaching.grading import kernel

    kernel.run(job, told.append)
    assert told == [{"end": "code that cannot be stopped in code cell 1"}]


# Without kernels.


def test_a_grader_that_fails_says_so_and_is_asked_again(
    key_path, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    key, limits = grading_key.read_key(key_path), grading_process.Limits()
    # More than a pipe holds, so that writing it meets the end of the reader.
    write_notebook(tmp_path / "a.ipynb", [*GOOD, "#" * 100_000])
    stop = threading.Event()
    made = grade.grade(tmp_path / "a.ipynb", "a.ipynb", key, limits, stop)
    assert made.status.startswith(grading_process.FAILED)
    grading_pages.write_page(tmp_path, made, key)
    row = grading_pages.row(made, limits, key)
    assert not grading_pages.is_done(row, made.digest, limits, tmp_path)


def test_who_failed_is_graded_again_under_other_limits(key_path, tmp_path):
    key, limits = grading_key.read_key(key_path), grading_process.Limits()
    (tmp_path / "a.ipynb").write_text("nothing")
    stop = threading.Event()
    made = grade.grade(tmp_path / "a.ipynb", "a.ipynb", key, limits, stop)
    grading_pages.write_page(tmp_path, made, key)
    row = grading_pages.row(made, limits, key)
    more = grading_process.Limits(total_s=7200)
    assert grading_pages.is_done(row, made.digest, limits, tmp_path)
    assert not grading_pages.is_done(row, made.digest, more, tmp_path)
    assert not grading_pages.is_done(row, "another", limits, tmp_path)
    assert not grading_pages.is_done(None, made.digest, limits, tmp_path)


def test_points_beyond_the_key_do_not_count(key_path):
    key = grading_key.read_key(key_path)
    told = feedback.Feedback("sum", 50, 50, "", "")
    event = {"task": "sum", "feedback": vars(told), "error": ""}
    first, second = grade._feedback(key, [event], "stopped")
    assert (first.points, first.max_points) == (2, 2)
    assert second.points == 0
    assert "stopped" in second.found


def test_cells_are_found_by_what_they_are_not_where(key_path, tmp_path):
    key = grading_key.read_key(key_path)
    assert [(c.task, c.points) for c in key.checks] == [("sum", 2), ("double", 1)]
    assert [(h.task, h.variable) for h in key.by_hand] == [("reason", "words")]
    assert {"answer", "double", "goal"} <= set(key.names)
    notebook = nbformat.read(key_path, as_version=4)
    notebook.cells.reverse()
    nbformat.write(notebook, tmp_path / "reversed.ipynb")
    turned = grading_key.read_key(tmp_path / "reversed.ipynb")
    assert {c.task for c in turned.checks} == {"sum", "double"}


def test_parameters_are_changed_behind_their_cell_or_first(key_path, tmp_path):
    key = grading_key.read_key(key_path, {"goal": 6})
    assert key.setup[:2] == ("goal: int = 5  # a number", "goal = 6")
    assert key.digest != grading_key.read_key(key_path).digest
    sources = grading_key.submitted_sources(key_path, key.overrides)
    assert sources[1] == "goal = 6"
    write_notebook(tmp_path / "untagged.ipynb", GOOD)
    sources = grading_key.submitted_sources(tmp_path / "untagged.ipynb", "goal = 6")
    assert sources[0] == "goal = 6"
    with pytest.raises(InputError, match="gaol"):
        grading_key.read_key(key_path, {"gaol": 6})


@pytest.mark.parametrize(
    "cell",
    [
        {"cell_type": "code"},
        {"cell_type": "code", "source": None, "metadata": None},
        {"cell_type": "code", "source": ["a = 1\n", "b = 2"], "metadata": {"tags": 3}},
        {"cell_type": "code", "source": 7, "metadata": {"nbgrader": "yes"}},
        {"cell_type": "code", "source": "x", "id": "same", "outputs": "?"},
    ],
)
def test_damaged_cells_are_read_as_far_as_possible(cell, tmp_path):
    content = {"nbformat": 4, "nbformat_minor": 5, "cells": [cell, cell]}
    (tmp_path / "a.ipynb").write_text(json.dumps(content))
    assert len(grading_key.read_cells(tmp_path / "a.ipynb")) == 2


def test_notebooks_of_the_third_format_are_read(tmp_path):
    cell = {"cell_type": "code", "input": "answer = 5", "outputs": []}
    cell |= {"language": "python", "metadata": {}, "collapsed": False}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}}
    old["worksheets"] = [{"cells": [cell], "metadata": {}}]
    (tmp_path / "a.ipynb").write_text(json.dumps(old))
    assert grading_key.submitted_sources(tmp_path / "a.ipynb") == ["answer = 5"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"cells": 3}', "[" * 100_000]
)
def test_what_is_no_notebook_is_told_in_one_line(content, tmp_path):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(InputError, match="not a notebook") as told:
        grading_key.read_cells(tmp_path / "a.ipynb")
    assert "\n" not in str(told.value)


def test_a_file_of_absurd_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_key, "LARGEST_BYTES", 10)
    write_notebook(tmp_path / "a.ipynb", GOOD)
    with pytest.raises(InputError, match="bytes"):
        grading_key.read_cells(tmp_path / "a.ipynb")


def test_names_of_any_bytes_give_different_plain_page_names(tmp_path):
    names = ["a.ipynb", "A.ipynb", "a_.ipynb", "ä.ipynb", "../a.ipynb", ".ipynb"]
    names += ["x" * 250 + ".ipynb", "\udcff.ipynb", "-rf.ipynb", "a\n.ipynb"]
    pages = [grading_pages.page_name(name) for name in names]
    assert len(set(pages)) == len(names)
    assert all(page.isascii() and len(page) < 90 and "/" not in page for page in pages)
    assert not [page for page in pages if page.startswith((".", "-"))]
    path = tmp_path / os.fsdecode(b"\xff\x1b.ipynb")
    assert grade.shown_name(path, tmp_path) == "\\xff\\x1b.ipynb"


@pytest.mark.parametrize("limit", ["--timeout=0", "--memory=-1", "--cell_timeout=nan"])
def test_limits_that_no_notebook_keeps_are_refused(key_path, tmp_path, limit, capsys):
    assert run(tmp_path, "--key", key_path, limit) == cli.EXIT_BAD_INPUT
    assert "above 0" in capsys.readouterr().err


def test_wrong_folders_and_keys_are_told_in_one_line(key_path, tmp_path, capsys):
    write_notebook(tmp_path / "a.ipynb", GOOD)
    output = tmp_path / "out"
    for arguments, word in (
        ((tmp_path / "none", "--key", key_path), "none"),
        ((tmp_path, "--key", tmp_path / "a.ipynb"), "no checks"),
        ((tmp_path, "--key", tmp_path / "b.ipynb"), "b.ipynb"),
    ):
        assert run(*arguments, "--output", output) == cli.EXIT_BAD_INPUT
        err = capsys.readouterr().err
        assert word in err and err.count("\n") == 1
    output.mkdir()
    (output / "grades.csv").write_text("what,is,this\n1,2,3\n")
    code = run(tmp_path, "--key", key_path, "--output", output)
    assert code == cli.EXIT_BAD_INPUT
    assert "not a table of grades" in capsys.readouterr().err
    with contextlib.suppress(FileNotFoundError):
        assert not list(output.glob("feedback/*"))


def test_a_table_that_a_spreadsheet_saved_with_semicolons_is_read(tmp_path):
    (tmp_path / "grades.csv").write_text("submission;sum\nada.ipynb;2\n")
    assert grading_pages.read_table(tmp_path)["ada.ipynb"]["sum"] == "2"
