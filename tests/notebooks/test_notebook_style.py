"""The committed notebooks keep the anatomy that readers rely on."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("[0-9]*.ipynb"))
MAGIC = re.compile(r"(?m)^( *)[%!].*")
PARAMETER = re.compile(r"\w+: (str|int|float|bool) = .+  # .+")

pytestmark = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells_of(path, kind=None):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if kind in (None, cell.cell_type)]


def without_magic(source):
    """Return the source of a cell as plain Python."""
    return MAGIC.sub(r"\1pass", source)


def test_starts_with_the_only_title_and_a_header_table(path):
    texts = [cell.source for cell in cells_of(path, "markdown")]
    titles = [text for text in texts if re.search(r"(?m)^# ", text)]
    assert titles == texts[:1]
    assert "| **You will learn** |" in texts[0]
    assert "| **Reads → writes** |" in texts[0]


def test_one_parameters_cell_of_plain_documented_literals(path):
    tagged = [c for c in cells_of(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        assert PARAMETER.fullmatch(line), line
    for statement in ast.parse(tagged[0].source).body:
        ast.literal_eval(statement.value)


def test_cells_are_short(path):
    for cell in cells_of(path, "code"):
        lines = cell.source.splitlines()
        assert len(lines) <= 20, cell.source
        assert max(map(len, lines)) <= 88, cell.source


def test_never_three_code_cells_without_a_word(path):
    kinds = "".join(cell.cell_type[0] for cell in cells_of(path))
    # Environment, parameters and set-up open every notebook.
    assert "cccc" not in kinds
    assert "ccc" not in kinds[4:]


def test_committed_with_the_outputs_of_one_clean_run(path):
    code = cells_of(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [out for cell in code for out in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error"]
    assert [
        out for out in outputs if {"image/png", "image/jpeg"} & set(out.get("data", {}))
    ]
    assert path.stat().st_size <= 400_000


def test_outputs_hold_no_noise(path):
    for cell in cells_of(path, "code"):
        for out in cell.outputs:
            assert out.get("name") != "stderr", out.text
            text = str(out.get("text", "")) + str(out.get("data", {}).get("text/plain"))
            assert not re.search(r"(^|[\s'\"])/\w+/\w+", text), text


def test_metadata_is_only_the_kernel(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert set(metadata) == {"kernelspec", "language_info"}
    assert metadata.kernelspec.name == "python3"
    assert set(metadata.language_info) == {"name"}


def test_links_lead_somewhere_and_on_to_the_next_notebook(path):
    text = "\n".join(cell.source for cell in cells_of(path, "markdown"))
    links = re.findall(r"\]\(([^)]+)\)", text)
    for link in links:
        assert link.startswith("https://") or (FOLDER / link).exists(), link
    following = PATHS[(PATHS.index(path) + 1) % len(PATHS)]
    assert following.name in links


def test_notebooks_hold_no_functions_that_belong_into_the_library(path):
    for cell in cells_of(path, "code"):
        for node in ast.walk(ast.parse(without_magic(cell.source))):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef)


def test_only_the_set_up_cell_speaks_to_jupyter_or_the_shell(path):
    setup, *others = cells_of(path, "code")
    assert len(setup.source.splitlines()) <= 12
    assert MAGIC.search(setup.source)
    for cell in others:
        assert not MAGIC.search(cell.source), cell.source


def library_names(module):
    """Return the names that a module of the library defines or imports."""
    path = FOLDER.parent.joinpath(*module.split(".")).with_suffix(".py")
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        found |= {getattr(node, "name", "")}
        targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
        found |= {
            inner.id for t in targets if t for inner in ast.walk(t) if is_name(inner)
        }
        if isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def is_name(node):
    return isinstance(node, ast.Name)


def library_modules(tree):
    """Return {name in the notebook: module} of all imported modules of the library."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("edgetpu_lib")
        for alias in node.names
        if alias.name.islower()
    }


def test_cells_use_only_names_that_the_library_has(path):
    source = "\n".join(without_magic(c.source) for c in cells_of(path, "code"))
    tree = ast.parse(source)
    modules = library_modules(tree)
    assert modules
    lost = {
        f"{modules[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_name(node.value)
        and node.value.id in modules
        and node.attr not in library_names(modules[node.value.id])
    }
    assert not lost
