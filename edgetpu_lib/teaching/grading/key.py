"""Read the notebooks for grading: the teacher's key and the submissions.

Takes notebook files, damaged ones too; gives the sources of their code cells.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import InputError

# Notebooks with figures have some hundred kB.
LARGEST_BYTES = 50_000_000
# Tag of the key's cells that are run again before its checks.
SETUP_TAG = "key"
PARAMETERS_TAG = "parameters"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A code cell: its source, its tags and nbgrader's metadata."""

    source: str
    tags: tuple[str, ...] = ()
    nbgrader: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of the key: its task, its points and the source of its cell."""

    task: str
    points: float
    source: str


@dataclasses.dataclass(frozen=True)
class HandGraded:
    """An answer that a person grades: its task, its points and its variable."""

    task: str
    points: float
    variable: str


@dataclasses.dataclass(frozen=True)
class Key:
    """The checks of an exercise.

    Attributes:
        setup: cells that define the variables of the checks that are not answers.
        checks: in the order of the notebook.
        by_hand: answers that a person grades.
        overrides: a cell that changes parameters, of the key and of submissions.
        names: variables that setup and checks read, and those that a person grades.
        digest: of setup and checks, in hex.
    """

    setup: tuple[str, ...]
    checks: tuple[Check, ...]
    by_hand: tuple[HandGraded, ...]
    overrides: str
    names: tuple[str, ...]
    digest: str

    @property
    def max_points(self) -> float:
        """Points of all checks."""
        return sum(check.points for check in self.checks)


def read_key(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Key:
    """Read the notebook that holds the checks.

    Args:
        path: of the source notebook. Its grade cells are the checks, its cells tagged
            "key" and "parameters" run before them.
        overrides: parameter → value, for the key and for every submission.

    Raises:
        InputError: no readable notebook, it has no checks, or no such parameter.
    """
    cells = read_cells(path)
    checks, by_hand = [], []
    for cell in cells:
        facts = cell.nbgrader
        if facts.get("grade"):
            task, points = facts["grade_id"], facts["points"]
            if facts.get("solution"):
                by_hand.append(HandGraded(task, points, _first_name(cell.source)))
            else:
                checks.append(Check(task, points, cell.source))
    if not checks:
        raise InputError(f"{path} has no checks; give the exercise's source notebook")
    changed = _assignments(path, cells, overrides or {})
    setup = []
    for cell in cells:
        if {SETUP_TAG, PARAMETERS_TAG} & set(cell.tags):
            setup.append(cell.source)
        if PARAMETERS_TAG in cell.tags:
            setup.append(changed)
    decisive = json.dumps([setup, [dataclasses.astuple(check) for check in checks]])
    return Key(
        setup=tuple(setup),
        checks=tuple(checks),
        by_hand=tuple(by_hand),
        overrides=changed,
        names=tuple(_names_needed([*setup, *(c.source for c in checks)], by_hand)),
        digest=hashlib.sha256(decisive.encode()).hexdigest(),
    )


def _assignments(
    path: str | Path, cells: Sequence[Cell], overrides: Mapping[str, Any]
) -> str:
    declared = {
        node.target.id
        for cell in cells
        if PARAMETERS_TAG in cell.tags
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    unknown = ", ".join(sorted(set(overrides) - declared))
    if unknown:
        raise InputError(f"{path} has no parameter {unknown}; see its first cell")
    return "\n".join(f"{name} = {value!r}" for name, value in overrides.items())


def _first_name(source: str) -> str:
    """Return the first variable that a cell sets, or nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            return node.id
    return ""


def _names_needed(key_cells: Sequence[str], by_hand: Sequence[HandGraded]) -> list[str]:
    read = {name for source in key_cells for name in names_of(source)[0]}
    variables = {hand.variable for hand in by_hand}
    return sorted((read | variables) - set(dir(builtins)) - {""})


def names_of(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell takes from cells before it, and those it defines.

    A cell with IPython's own commands has names that nobody knows: it takes "%".
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return {"%"}, set()
    read: set[str] = set()
    made: set[str] = set()
    for statement in statements:
        value = getattr(statement, "value", None)
        # In `a = a + 1` the first `a` is set after the second one is read.
        read |= _loaded(value) - _set_by(value) - made if value else set()
        read |= _loaded(statement) - _set_by(statement) - made
        made |= _set_by(statement)
    return read, made


def _loaded(tree: ast.AST) -> set[str]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {node.id for node in names if isinstance(node.ctx, ast.Load)}


def _set_by(tree: ast.AST) -> set[str]:
    """Return the names that a statement, or a part of it, gives a value to."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def submitted_sources(path: str | Path, overrides: str = "") -> list[str]:
    """Return the sources of a submission's code cells.

    Args:
        path: of the notebook.
        overrides: a cell to run after the first one tagged "parameters", or first if
            there is none.

    Raises:
        InputError: as `read_cells`.
    """
    cells = read_cells(path)
    sources = [cell.source for cell in cells]
    if overrides:
        tagged = [i + 1 for i, c in enumerate(cells) if PARAMETERS_TAG in c.tags]
        sources.insert(tagged[0] if tagged else 0, overrides)
    return sources


def read_cells(path: str | Path) -> list[Cell]:
    """Return the code cells of a notebook of any version.

    Raises:
        InputError: it is no regular file, too large, or no notebook.
    """
    path = Path(path)
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            raise InputError("a symbolic link; hand in the file itself")
        if not stat.S_ISREG(facts.st_mode):
            raise InputError("not a file; hand in a notebook")
        if facts.st_size > LARGEST_BYTES:
            raise InputError(
                f"{facts.st_size:,} bytes, above {LARGEST_BYTES:,}; clear its outputs"
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}; check the file") from error
    return _code_cells(content)


def _code_cells(content: bytes) -> list[Cell]:
    import nbformat

    try:
        parsed = json.loads(content.decode("utf-8-sig"))
        if parsed.get("nbformat", 0) < 4:
            parsed = nbformat.reads(json.dumps(parsed), as_version=4)
        # Not validated: cells that were pasted or damaged are read as far as possible.
        return [
            _cell_of(cell)
            for cell in parsed["cells"]
            if cell.get("cell_type") == "code"
        ]
    # A damaged notebook may raise anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"not a notebook ({type(error).__name__}: {reason}); save it in Jupyter"
            " and hand it in again"
        ) from error


def _cell_of(cell: Mapping[str, Any]) -> Cell:
    source = cell.get("source") or ""
    if isinstance(source, list):
        source = "".join(map(str, source))
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    tags, nbgrader = metadata.get("tags"), metadata.get("nbgrader")
    return Cell(
        str(source),
        tuple(map(str, tags)) if isinstance(tags, list) else (),
        nbgrader if isinstance(nbgrader, dict) else {},
    )
