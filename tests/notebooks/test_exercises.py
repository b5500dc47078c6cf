"""The exercise: both versions are current, the stub fails, the solution passes."""

import ast
import csv
import html
import re
import sys
from pathlib import Path

import nbformat
import pytest

from edgetpu_lib.commands import main as cli
from edgetpu_lib.teaching.exercise import checks as exercise

FOLDER = Path(__file__).parents[2] / "notebooks" / "exercises"
SOURCES = sorted(FOLDER.glob("*.ipynb"))
PARAMETER = re.compile(r"\w+: (str|int|float|bool) = .+  # .+")
SMALL = {
    "images_per_class": 24,
    "image_size": 48,
    "epochs": 6,
    "batch_size": 8,
    "calibration_images": 16,
    "least_top1": 0.4,
}
FORBIDDEN = ("SOLUTION", "HIDDEN TESTS")


@pytest.fixture(scope="module")
def generate():
    """Return the script that makes both versions."""
    sys.path.insert(0, str(FOLDER))
    try:
        import generate

        yield generate
    finally:
        sys.path.remove(str(FOLDER))


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def is_kind(cell, **facts):
    known = cell.metadata.get("nbgrader", {})
    return all(known.get(name) == value for name, value in facts.items())


def versions(path):
    return [path, FOLDER / "student" / path.name, FOLDER / "solution" / path.name]


ALL = [version for source in SOURCES for version in versions(source)]
EACH = pytest.mark.parametrize(
    "path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@SOURCE
def test_both_versions_are_what_the_source_makes(source, generate):
    made = generate.student_path(source).read_bytes()
    assert made == generate.student(source)
    made = generate.solution_path(source).read_bytes()
    assert made == generate.solution(source)


def test_a_changed_source_makes_other_versions(generate, tmp_path):
    notebook = nbformat.read(SOURCES[0], as_version=4)
    cell = next(c for c in notebook.cells if is_kind(c, solution=True, grade=False))
    cell.source = cell.source.replace("### END", "secret = 1\n### END")
    nbformat.write(notebook, tmp_path / SOURCES[0].name)
    student = generate.student(tmp_path / SOURCES[0].name)
    assert student == generate.student(SOURCES[0]), "solutions leave no trace"
    solution = generate.solution(tmp_path / SOURCES[0].name)
    assert solution != generate.solution(SOURCES[0])
    assert b"secret = 1" in solution


@SOURCE
def test_the_student_gets_no_line_of_a_solution(source):
    student, _ = (
        "\n".join(cell.source for cell in code_cells(path))
        for path in versions(source)[1:]
    )
    kept = set(student.splitlines())
    for cell in code_cells(source):
        region = re.search(r"### BEGIN SOLUTION\n(.*?)\n\s*### END", cell.source, re.S)
        assert bool(region) == is_kind(cell, solution=True)
        lines = region[1].splitlines() if region else []
        shared = [line for line in lines if line in kept and len(line) > 4]
        assert not shared
    assert not [word for word in FORBIDDEN if word in student]


@EACH
def test_anatomy(path):
    cells = nbformat.read(path, as_version=4).cells
    titles = [c for c in cells if re.search(r"(?m)^# \S", c.source)]
    titles = [c for c in titles if c.cell_type == "markdown"]
    assert titles == cells[:1]
    for row in ("You will learn", "You need", "Time", "Points", "Reads → writes"):
        assert f"| **{row}** |" in cells[0].source
    kinds = "".join(cell.cell_type[0] for cell in cells)
    assert "ccc" not in kinds[4:]
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        assert len(lines) <= 20, cell.source
        assert max(map(len, lines)) <= 88
    # It is handed out alone, so that no link would lead anywhere.
    assert not [cell for cell in cells if "](" in cell.source]


@EACH
def test_one_parameters_cell_of_plain_documented_literals(path):
    tagged = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        assert PARAMETER.fullmatch(line), line
    for statement in ast.parse(tagged[0].source).body:
        ast.literal_eval(statement.value)


@SOURCE
def test_every_task_has_one_check_that_is_worth_what_the_library_says(source):
    for path in versions(source):
        checks = [c for c in code_cells(path) if is_kind(c, grade=True, solution=False)]
        worth = {
            c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points for c in checks
        }
        assert worth == exercise.TASKS
        assert len(checks) == len(worth)
    text = "\n".join(c.source for c in nbformat.read(source, as_version=4).cells)
    promised = [int(n) for n in re.findall(r"\*\*Task \d+ \((\d+) points?", text)]
    by_hand = [c for c in code_cells(source) if is_kind(c, grade=True, solution=True)]
    by_hand = [c.metadata.nbgrader.points for c in by_hand]
    assert promised == [*exercise.TASKS.values(), *by_hand]
    assert f"{sum(promised)}: {sum(exercise.TASKS.values())} by the checks" in text


@SOURCE
def test_source_and_student_come_without_outputs_and_the_student_s_is_locked(source):
    for path in versions(source)[:2]:
        for cell in code_cells(path):
            assert not cell.outputs and cell.execution_count is None
    for cell in code_cells(versions(source)[1]):
        if is_kind(cell, locked=True):
            assert cell.metadata.editable is cell.metadata.deletable is False
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader.checksum


@SOURCE
def test_the_solution_holds_the_outputs_of_one_clean_run(source):
    path = versions(source)[2]
    code = code_cells(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [out for cell in code for out in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error"]
    assert not [out for out in outputs if out.get("name") == "stderr"]
    shown = [
        str(out.get("text", "")) + out.get("data", {}).get("text/plain", "")
        for out in outputs
    ]
    assert "20 of 20 points" in shown[-1]
    assert not [text for text in shown if re.search(r"(^|[\s'\"])/\w+/\w+", text)]
    assert [out for out in outputs if "image/jpeg" in out.get("data", {})]
    assert path.stat().st_size <= 400_000


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grade the student's version and the solution as the command does."""
    folder = tmp_path_factory.mktemp("submissions")
    output = tmp_path_factory.mktemp("grades")
    for version in ("student", "solution"):
        content = (FOLDER / version / "transfer_learning.ipynb").read_bytes()
        (folder / f"{version}.ipynb").write_bytes(content)
    # Both take the same drawn images.
    drawn = {"artifacts_dir": str(tmp_path_factory.mktemp("drawn"))}
    changed = [
        text
        for name, value in {**SMALL, **drawn}.items()
        for text in ("-p", name, str(value))
    ]
    command = ["grade", str(folder), "--output", str(output), *changed]
    assert cli.main(command) == 0
    with open(output / "grades.csv", encoding="utf-8-sig", newline="") as stream:
        rows = {row["submission"]: row for row in csv.DictReader(stream)}
    return {
        name.removesuffix(".ipynb"): (row, (output / row["page"]).read_text("utf-8"))
        for name, row in rows.items()
    }


def test_the_untouched_exercise_gets_no_points_and_feedback_on_every_task(graded):
    row, page = graded["student"]
    assert row["status"] == "graded"
    assert {row[task] for task in exercise.TASKS} == {"0"}
    assert page.count("<dt>expected</dt>") == len(exercise.TASKS)
    assert page.count("<dt>hint</dt>") == len(exercise.TASKS)


def test_the_planted_mistake_is_found_as_it_stands(graded):
    assert "127 → 0.498" in html.unescape(graded["student"][1])


def test_the_solution_gets_all_points_and_shows_its_words(graded):
    row, page = graded["solution"]
    assert row["status"] == "graded"
    assert {task: float(row[task]) for task in exercise.TASKS} == exercise.TASKS
    assert row["total"] == row["of"] == "20"
    assert "Errors in the notebook" not in page
    assert "off by" not in page and "shifted labels" in page
