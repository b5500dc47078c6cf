"""Make the student's and the solution's notebook out of the one source.

`make exercises` writes both; with `--run` the solution is also executed, and its
outputs are kept.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor
from nbgrader.preprocessors import ClearSolutions, ComputeChecksums, LockCells

from edgetpu_lib.base.artifacts import write_file

FOLDER = Path(__file__).resolve().parent
SOURCES = sorted(FOLDER.glob("*.ipynb"))
STUB = "# Your answer here."
MARK = re.compile(r"\s*### (BEGIN|END) SOLUTION")


@click.command()
@click.option("--run", "execute", is_flag=True, help="Execute the solutions, too.")
def main(execute: bool) -> None:
    """Write the student's and the solution's notebook of every exercise."""
    for source in SOURCES:
        for made in (student_path(source), solution_path(source)):
            made.parent.mkdir(exist_ok=True)
        write_file(student_path(source), student(source))
        write_file(solution_path(source), solution(source))
        if execute:
            run_in_place(solution_path(source))


def student_path(source: Path) -> Path:
    """Return where the student's version lies."""
    return source.parent / "student" / source.name


def solution_path(source: Path) -> Path:
    """Return where the solution lies."""
    return source.parent / "solution" / source.name


def student(source: Path) -> bytes:
    """Return the student's version: solutions cut out, checks locked, no outputs."""
    notebook = nbformat.read(source, as_version=4)
    for step in (
        ClearSolutions(code_stub={"python": STUB}),
        ClearOutputPreprocessor(enabled=True),
        LockCells(),
        ComputeChecksums(),
    ):
        notebook, _ = step.preprocess(notebook, {})
    return as_bytes(notebook)


def solution(source: Path) -> bytes:
    """Return the solution, without marks, with the outputs of its last run."""
    notebook = nbformat.read(source, as_version=4)
    old = {}
    if solution_path(source).exists():
        ran = nbformat.read(solution_path(source), as_version=4)
        old = {cell.id: cell for cell in ran.cells}
    for cell in notebook.cells:
        lines = cell.source.split("\n")
        cell.source = "\n".join(line for line in lines if not MARK.match(line))
        known = old.get(cell.id)
        if cell.cell_type == "code" and known and known.source == cell.source:
            cell.outputs, cell.execution_count = known.outputs, known.execution_count
    return as_bytes(notebook)


def as_bytes(notebook: nbformat.NotebookNode) -> bytes:
    """Return a notebook as its file."""
    return (nbformat.writes(notebook) + "\n").encode()


def run_in_place(path: Path) -> None:
    """Execute a notebook with its own parameters, as the course is executed."""
    sys.path.insert(0, str(FOLDER.parent))
    import run

    executed = FOLDER.parent / "artifacts" / "executed" / f"exercise_{path.name}"
    run.run(path, executed, {})
    run.refresh(path, executed)


if __name__ == "__main__":
    main()
