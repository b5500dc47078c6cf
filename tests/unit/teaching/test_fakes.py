"""No submission gets points it did not earn, or takes those of others."""

import csv
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

import edgetpu_lib
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import main as cli
from edgetpu_lib.teaching.grading import folder as grading_folder
from edgetpu_lib.teaching.grading import grade, installation, processes, sandbox
from edgetpu_lib.teaching.grading import key as grading_key
from edgetpu_lib.teaching.grading.process import FAILED, Limits

GOOD = ["answer = 5", "def double(x):\n    return 2 * x"]
FULL = "{'task': %r, 'points': %d, 'max_points': %d, 'expected': '', 'found': ''}"
FAKED = ", ".join(FULL % facts for facts in (("sum", 2, 2), ("double", 1, 1)))
EVENTS = f"""
import json, os, pathlib, psutil
lines = ""
for told in ({FAKED}):
    lines += json.dumps({{"feedback": told, "task": told["task"], "error": ""}}) + "\\n"
lines += json.dumps({{"end": "graded"}}) + "\\n"
places = set(pathlib.Path.cwd().parents[0].glob("*"))
places |= set(pathlib.Path.cwd().parents[1].glob("*"))
grading = "edgetpu_lib.teaching.grading"
above = [p for p in psutil.Process().parents() if grading in str(p.cmdline())]
below = [other for p in above for other in p.children()]
for process in {{*above, *below}} - {{psutil.Process()}}:
    places |= set(pathlib.Path(f"/proc/{{process.pid}}/fd").glob("*"))
places |= {{pathlib.Path("events"), pathlib.Path.cwd().parents[1] / "events"}}
"""
WRITE = """
for place in places:
    try:
        stream = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_CREAT)
        os.write(stream, lines.encode())
    except OSError:
        pass
"""
# It replaces every cell that runs after it by one that shows full points.
TRANSFORMER = f"""
def transform(lines):
    return ['''class _Full:
    def _repr_mimebundle_(self, **_):
        kind = "application/vnd.edgetpu-lib.feedback+json"
        return {{kind: {FULL % ("sum", 2, 2)}, "text/plain": "full"}}
answer = _Full()
answer
''']
get_ipython().input_transformers_cleanup.append(transform)
"""
EQUAL = """
class Equal:
    def __eq__(self, other):
        return True
answer = Equal()
double = lambda x: Equal()
"""
SITE = "import edgetpu_lib, pathlib; place = pathlib.Path(edgetpu_lib.__file__).parent"
SPOILERS = {
    "a renames": [SITE, "(place / 'teaching').rename(place / 'other')"],
    "b pip": ["!pip install --quiet numpy==1.26.0", "!pip uninstall --yes nbformat"],
    "c writes": [SITE, "(place / 'base' / 'artifacts.py').write_text('1 / 0')"],
    "d shadows": [
        "import sysconfig, pathlib",
        "site = pathlib.Path(sysconfig.get_path('purelib'))",
        "(site / 'sitecustomize.py').write_text('1 / 0')",
    ],
    "e other": ["import pathlib", "(pathlib.Path({folder!r}) / 'z.ipynb').unlink()"],
}


def check_cell(task, points, source):
    facts = {"grade": True, "solution": False, "grade_id": task, "points": points}
    return nbformat.v4.new_code_cell(source, metadata={"nbgrader": facts})


def write_notebook(path, sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def write_key(
    path, setup="from edgetpu_lib.teaching.exercise.feedback import Feedback"
):
    cells = [
        nbformat.v4.new_code_cell("goal = 5\n" + setup, metadata={"tags": ["key"]}),
        check_cell("sum", 2, "Feedback('sum', 2 * (answer == goal), 2, '5', 'x', '')"),
        check_cell("double", 1, "Feedback('double', double(4) == 8, 1, '8', 'x', '')"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def key_path(tmp_path_factory):
    return write_key(tmp_path_factory.mktemp("key") / "key.ipynb")


@pytest.fixture
def graded(key_path, tmp_path):
    """Return a function: name → cells, to the rows of the table."""

    def call(submissions, *options, code=0):
        folder, output = tmp_path / "in", tmp_path / "out"
        folder.mkdir(exist_ok=True)
        for name, sources in submissions.items():
            cells = [
                source.replace("{folder!r}", repr(str(folder))) for source in sources
            ]
            write_notebook(folder / f"{name}.ipynb", cells)
        command = ["grade", str(folder), f"--key={key_path}", f"--output={output}"]
        assert cli.main([*command, "--cell_timeout=20", *options]) == code
        if not (output / "grades.csv").is_file():
            return {}
        with open(output / "grades.csv", encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            return {row["submission"].removesuffix(".ipynb"): row for row in rows}

    return call


@pytest.fixture
def no_sandbox(monkeypatch):
    monkeypatch.setattr(sandbox, "is_available", lambda: False)


@pytest.mark.parametrize("boxed", [True, False])
def test_fakes_get_nothing(boxed, graded, monkeypatch):
    if boxed and not sandbox.is_available():
        pytest.skip("this system has no sandbox")
    monkeypatch.setattr(sandbox, "is_available", lambda: boxed)
    rows = graded(
        {
            "events": [EVENTS, WRITE],
            "events later": [
                EVENTS + "def double(x):\n    " + WRITE.replace("\n", "\n    ")
            ],
            "transformer": [TRANSFORMER],
            "equal": [EQUAL],
        },
        "--jobs=2",
    )
    assert {name: row["total"] for name, row in rows.items()} == dict.fromkeys(
        rows, "0"
    )
    assert {row["status"] for row in rows.values()} == {"graded"}


def test_what_a_submission_does_to_the_installation_harms_no_other(graded):
    if not sandbox.is_available():
        pytest.skip("this system has no sandbox")
    library = Path(edgetpu_lib.__file__).parent
    rows = graded({**SPOILERS, "z": GOOD}, "--jobs=2")
    assert rows["z"]["total"] == "3"
    assert (library / "teaching").is_dir()
    for name in SPOILERS:
        assert rows[name]["status"] == "graded"


WRITES = """
import pathlib, tempfile
for folder in (".", "new", tempfile.gettempdir(), pathlib.Path.home(), "/tmp"):
    place = pathlib.Path(folder) / f"mine-{answer}"
    place.parent.mkdir(exist_ok=True)
    place.write_text("1")
    place.unlink()
answer = 5
"""


def test_a_submission_writes_where_it_stands_and_to_temporary_folders(graded):
    assert graded({"a": ["answer = 0", WRITES]})["a"]["sum"] == "2"


def test_without_a_sandbox_a_change_stops_grading_and_is_no_grade(
    no_sandbox, graded, tmp_path, monkeypatch, capsys
):
    installed = tmp_path / "library"
    installed.mkdir()
    (installed / "module.py").write_text("one = 1")
    monkeypatch.setattr(grading_folder, "installed_in", lambda: [installed])
    spoil = f"import pathlib; pathlib.Path({str(installed / 'module.py')!r}).unlink()"
    rows = graded({"a": [*GOOD, spoil], "b": GOOD}, code=cli.EXIT_BAD_INPUT)
    assert not rows
    err = capsys.readouterr().err
    assert "module.py" in err and err.count("\n") == 1
    assert FAILED in err


def test_without_a_sandbox_a_submission_has_a_library_of_its_own(
    no_sandbox, graded, tmp_path
):
    library = Path(edgetpu_lib.__file__).parent
    before = installation.facts_of([library])
    safe = f"assert place != pathlib.Path({str(library)!r})"
    spoil = "\n".join([SITE, safe, SPOILERS["a renames"][1], SPOILERS["c writes"][1]])
    rows = graded({"a": [spoil], "b": [SITE, safe, *GOOD]})
    assert not installation.first_change(before, installation.facts_of([library]))
    assert [row["total"] for row in rows.values()] == ["0", "3"]
    assert "AssertionError" not in (tmp_path / "out" / rows["b"]["page"]).read_text()


def test_a_library_that_lacks_a_module_is_told_in_one_line(
    key_path, tmp_path, monkeypatch, capsys
):
    name = "edgetpu_lib.teaching.grading.folder"
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr("edgetpu_lib.teaching.grading.folder", raising=False)
    write_notebook(tmp_path / "a.ipynb", GOOD)
    command = ["grade", str(tmp_path), f"--key={key_path}"]
    assert cli.main(command) == cli.EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert FAILED in err and "folder" in err and err.count("\n") == 1


def test_a_key_that_fails_by_itself_grades_nobody(graded, key_path, tmp_path, capsys):
    broken = write_key(tmp_path / "broken.ipynb", "from edgetpu_lib import nowhere")
    write_notebook(tmp_path / "a.ipynb", GOOD)
    output = tmp_path / "out"
    command = ["grade", str(tmp_path), f"--key={broken}", f"--output={output}"]
    assert cli.main(command) == cli.EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert FAILED in err and "nowhere" in err and err.count("\n") == 1
    assert not (output / "grades.csv").exists()


def test_a_grader_that_failed_leaves_no_points(graded, monkeypatch, capsys):
    made = grade.Grade("a.ipynb", "0", f"{FAILED}: no checks", (), {}, (), 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(grade, "grade", lambda *_: made)
        patched.setattr(grade, "try_key", lambda *_: "")
        rows = graded({"a": GOOD}, code=cli.EXIT_BAD_INPUT)
    assert (rows["a"]["total"], rows["a"]["sum"], rows["a"]["page"]) == ("", "", "")
    assert FAILED in rows["a"]["status"]
    assert FAILED in capsys.readouterr().err
    assert graded({})["a"]["total"] == "3"


@pytest.mark.parametrize("boxed", [True, False])
def test_a_process_with_its_own_session_and_environment_ends(
    boxed, graded, monkeypatch
):
    if boxed and not sandbox.is_available():
        pytest.skip("this system has no sandbox")
    if not boxed and sys.platform != "linux":
        pytest.skip("only Linux gives a process the orphans below it")
    monkeypatch.setattr(sandbox, "is_available", lambda: boxed)
    seconds = f"6{time.monotonic_ns() % 100_000_000}"
    start = f"import subprocess; command = ['sleep', '{seconds}']\n"
    leave = "subprocess.Popen(command, env={}, start_new_session=True)"
    twice = f"!env -i setsid sh -c 'sleep {seconds} & sleep {seconds} &' &"
    graded(
        {
            "a": [start + leave, twice, *GOOD],
            "b": [start + leave, "import os; os._exit(1)"],
        }
    )
    left = [p for p in psutil.process_iter(["cmdline"]) if seconds in str(p.info)]
    assert not left


def test_a_killed_grader_leaves_no_process(key_path, tmp_path):
    seconds = f"6{time.monotonic_ns() % 100_000_000}"
    sleep = f"!env -i setsid sleep {seconds}"
    write_notebook(tmp_path / "a.ipynb", [sleep])
    command = [sys.executable, "-m", "edgetpu_lib", "grade", tmp_path]
    command += ["--key", key_path, "--output", tmp_path / "out"]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: sleepers(seconds))
        below = processes.below(process.pid)
        process.kill()
    wait_for(lambda: not sleepers(seconds))
    wait_for(lambda: not [each for each in below if each.is_running()])


def sleepers(seconds):
    return [p for p in psutil.process_iter(["cmdline"]) if seconds in str(p.info)]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_check_that_kills_its_process_costs_its_own_points(tmp_path):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    cells = [
        check_cell("sum", 2, kill),
        check_cell("double", 1, "Feedback('double', double(4) == 8, 1, '8', 'x', '')"),
    ]
    setup = "from edgetpu_lib.teaching.exercise.feedback import Feedback"
    cells.insert(0, nbformat.v4.new_code_cell(setup, metadata={"tags": ["key"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "key.ipynb")
    write_notebook(tmp_path / "a.ipynb", GOOD)
    key = grading_key.read_key(tmp_path / "key.ipynb")
    stop = threading.Event()
    made = grade.grade(tmp_path / "a.ipynb", "a", key, Limits(300, 60), stop)
    assert [each.points for each in made.feedback] == [0, 1]
    assert "SIGSEGV" in made.feedback[0].found
    assert made.status == grade.GRADED


def test_a_changed_file_is_noticed_and_new_bytecode_is_not(tmp_path):
    (tmp_path / "inner").mkdir()
    module = tmp_path / "inner" / "module.py"
    module.write_text("one = 1")
    before = installation.facts_of([tmp_path])
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "module.pyc").write_bytes(b"1")
    assert not installation.first_change(before, installation.facts_of([tmp_path]))
    module.write_text("two = 2")
    os.utime(module, (1, 1))
    changed = installation.facts_of([tmp_path])
    assert installation.first_change(before, changed) == str(module)
    shutil.rmtree(tmp_path / "inner")
    assert installation.first_change(changed, installation.facts_of([tmp_path]))


@pytest.mark.parametrize(
    ("source", "read", "made"),
    [
        ("a = a + 1", {"a"}, {"a"}),
        ("import x.y as z\nb = z.c(d)", {"d"}, {"z", "b"}),
        (
            "t = [i for i in u]\nfor k in t:\n    print(k)",
            {"u", "print"},
            {"t", "i", "k"},
        ),
        ("def f(n):\n    return n + m", {"m"}, {"f", "n"}),
        ("%matplotlib inline", {"%"}, set()),
    ],
)
def test_names_that_a_cell_needs_and_makes(source, read, made):
    assert grading_key.names_of(source) == (read, made)


def test_no_grade_for_what_is_no_data():
    with pytest.raises(InputError):
        grade.find_submissions("/nowhere")
