"""The repository keeps its own rules: imports, pins, docstrings."""

import ast
import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from edgetpu_lib.base import environment

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgetpu_lib"
# The road, in the order of the data.
ROAD = [
    "specs",
    "build",
    "checkpoint",
    "data",
    "train",
    "fine_tune",
    "calibrate",
    "convert",
    "evaluate",
    "deploy",
]
# What each folder may import, besides itself. A road file is named, not its folder.
# CONTRIBUTING.md tells the same in prose.
MAY_IMPORT = {
    "base": set(),
    "images": {"base"},
    "board": {"base"},
    "tflite": {"base", "images", "board"},
    "datasets": {"base", "images"},
    "weights": {"base", "specs"},
    "training": {"base", "images", "data", "checkpoint"},
    "hardware": {"base", "specs", "tflite"},
    "costs": {"base", "specs", "tflite", "hardware"},
    "evaluation": {
        *("base", "images", "tflite", "checkpoint", "data", "weights", "conversion"),
    },
    "specs": {"base"},
    "build": {"base", "specs"},
    "checkpoint": {"base", "build", "weights"},
    "data": {"base", "images", "datasets"},
    "train": {"base", "images", "data", "checkpoint", "training"},
    "fine_tune": {"base", "images", "data", "build", "checkpoint", "training"},
    "calibrate": {"base", "images", "tflite", "data"},
    "conversion": {"base", "images", "tflite", "build", "weights", "hardware"},
    "convert": {
        *("base", "images", "tflite", "data", "calibrate", "hardware", "conversion"),
        *("specs", "build"),
    },
    "evaluate": {"base", "images", "tflite", "data", "checkpoint", "evaluation"},
    "deploy": {"base", "images", "board", "tflite"},
}
MAY_IMPORT["doctor"] = {
    *("base", "images", "tflite", "data", "checkpoint", "hardware", "evaluation"),
    *("calibrate", "convert", "datasets"),
}
MAY_IMPORT["search"] = {
    *("base", "specs", "build", "images", "data", "training", "costs", "fine_tune"),
}
MAY_IMPORT["teaching"] = {*MAY_IMPORT, "train"} - {"search"}
MAY_IMPORT["web"] = {"base", "images", "tflite", "hardware", "costs", "deploy"}
MAY_IMPORT["bundle"] = {"base", "images", "board", "tflite", "deploy"}
MAY_IMPORT["plots"] = set(MAY_IMPORT)
MAY_IMPORT["commands"] = set(MAY_IMPORT)
# What must run on a board, where there is neither Keras nor TensorFlow.
BOARD = {
    "base",
    "specs",
    "board",
    "tflite",
    "images/listing",
    "images/opening",
    "images/pixels",
    "images/normalization",
    "hardware",
    "costs",
    "deploy",
    # What a bundle packs.
    "bundle/contents",
    "bundle/program",
    "bundle/watch",
}


def name_of(path):
    """Return what a file is called in imports, below the library: "tflite.file"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = sorted(PATHS)


def part_of(module):
    """Return the folder at the top that a module lies in, or the road file it is."""
    return module.split(".")[0]


def on_board(module):
    """Return whether a module must run on a board."""
    name = module.replace(".", "/")
    return part_of(module) in BOARD or name in BOARD


@functools.cache
def tree_of(module):
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


@functools.cache
def imports_of(module):
    """Return the names of this library's modules that a module imports anywhere."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner.removeprefix("edgetpu_lib.") in PATHS
                found.add(inner if is_module else node.module)
    return {
        name.removeprefix("edgetpu_lib").removeprefix(".")
        for name in found
        if name.split(".")[0] == "edgetpu_lib"
    } - {""}


def test_the_top_of_the_library_is_the_road_and_the_folders():
    top = {part_of(module) for module in MODULES} - {"", "__main__"}
    assert top == MAY_IMPORT.keys()
    assert {path.stem for path in PACKAGE.glob("[a-z]*.py")} == set(ROAD)
    folders = {path.parent for path in PATHS.values()}
    assert all((folder / "__init__.py").is_file() for folder in folders)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_the_table_allows(module):
    part = part_of(module)
    allowed = {"__main__": {"commands"}, "": set()} | MAY_IMPORT
    assert {part_of(name) for name in imports_of(module)} <= allowed[part] | {part}


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) != "plots"])
def test_only_the_figures_import_matplotlib(module):
    source = PATHS[module].read_text(encoding="utf-8")
    assert not re.search(r"(?m)^\s*(import|from) matplotlib", source)


def test_no_module_imports_itself_through_others():
    def reachable(module, seen):
        for name in imports_of(module) - seen:
            seen.add(name)
            reachable(name, seen)
        return seen

    for module in MODULES:
        assert module not in reachable(module, set()), module


def test_no_folder_imports_itself_through_others():
    allowed = {part: set(parts) for part, parts in MAY_IMPORT.items()}
    # What is imported by nobody is taken away, until nothing is left or a circle.
    while allowed:
        ends = [part for part, parts in allowed.items() if not parts & allowed.keys()]
        assert ends, f"in a circle: {sorted(allowed)}"
        for part in ends:
            del allowed[part]


LIGHT = f"""
import importlib, sys
for name in {[module for module in MODULES if on_board(module) and module]}:
    importlib.import_module("edgetpu_lib." + name)
    heavy = {{"keras", "tensorflow", "jax", "matplotlib"}} & set(sys.modules)
    if heavy:
        sys.exit(f"{{name}} imports {{heavy}}")
"""


def test_board_modules_import_neither_keras_nor_tensorflow(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [m for m in MODULES if on_board(m)])
def test_board_modules_import_only_board_modules(module):
    assert all(on_board(name) for name in imports_of(module))


@pytest.mark.parametrize("module", [m for m in MODULES if on_board(m)])
def test_board_modules_are_python_3_9(module):
    source = PATHS[module].read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    if len(tree.body) > 1:
        first = tree.body[1]
        assert isinstance(first, ast.ImportFrom)
        assert first.module == "__future__", "annotations must not be evaluated"
    # Keywords that came with Python 3.10.
    newer = {"zip": {"strict"}, "dataclass": {"slots", "kw_only"}}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = {keyword.arg for keyword in node.keywords}
            assert not given & newer.get(name, set()), f"line {node.lineno}: {name}"


# Sizes. Tables of facts may be longer than other files: each with its reason.
LONG_FILES = {}
LONG_FUNCTIONS = {}
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_ROAD_LINES = 3_000


def line_count(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short():
    long = {m for m, path in PATHS.items() if line_count(path) > MAX_FILE_LINES}
    assert long == LONG_FILES.keys()


def test_the_road_is_short():
    assert sum(line_count(PATHS[name]) for name in ROAD) <= MAX_ROAD_LINES


def test_functions_are_short():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, kinds)
    }
    assert {n for n, c in lengths.items() if c > MAX_FUNCTION_LINES} == set(
        LONG_FUNCTIONS
    )
    assert statistics.median(lengths.values()) <= 15


def public_definitions(module):
    """Yield the name and node of every public function, method and class."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree_of(module).body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield f"{module}.{node.name}", node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, kinds) and not inner.name.startswith("_"):
                    yield f"{module}.{node.name}.{inner.name}", inner


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module):
    assert ast.get_docstring(tree_of(module)), module
    silent = [
        name
        for name, node in public_definitions(module)
        if not (ast.get_docstring(node) or "").strip()
    ]
    assert not silent


def is_command(node):
    """Return whether a function is a command, whose arguments the flags describe."""
    return any("command" in ast.unparse(d) for d in node.decorator_list)


def without_annotation(node):
    """Return the arguments of a function that have no annotation, and "return"."""
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    arguments += [extra for extra in (given.vararg, given.kwarg) if extra]
    bare = [
        argument.arg
        for argument in arguments
        if argument.annotation is None and argument.arg not in ("self", "cls")
    ]
    if is_command(node):
        bare = []
    return [*bare, "return"] if node.returns is None else bare


@pytest.mark.parametrize("module", MODULES)
def test_every_public_signature_is_annotated(module):
    bare = {
        name: without_annotation(node)
        for name, node in public_definitions(module)
        if not isinstance(node, ast.ClassDef) and without_annotation(node)
    }
    assert not bare


# What a bundle runs is a command line of its own.
SPEAKING = {"bundle.program"} | {m for m in MODULES if part_of(m) == "commands"}


@pytest.mark.parametrize("module", [m for m in MODULES if m not in SPEAKING])
def test_library_never_prints(module):
    calls = [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not calls


# Pins.


def pins(lines):
    """Return {name: version} of all `name==version` in `lines`."""
    found = {}
    for line in lines:
        match = re.match(r"\s*(?:- )?([A-Za-z0-9._-]+)==([^\s#;]+)", line)
        if match:
            name = normal(match[1])
            assert name not in found, f"{name} is pinned twice"
            found[name] = match[2]
    return found


def read_lines(name):
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]


@pytest.fixture(scope="module")
def constraints():
    return pins(read_lines("constraints.txt"))


def requirements_of(project, *groups):
    """Return what the library, and some of its extras, ask for."""
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(r for group in groups for r in extras[group])]
    return [Requirement(text) for text in texts]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_has_a_range_with_a_tested_version(
    project, constraints
):
    for requirement in requirements_of(project, *project["optional-dependencies"]):
        assert requirement.specifier, f"{requirement} says no version"
        tested = constraints[normal(requirement.name)]
        assert requirement.specifier.contains(tested), f"{requirement}: {tested}"


def test_the_library_pins_nothing(project):
    # A pin would replace the NumPy or TensorFlow of Colab, for nothing.
    ranges = ("notebooks", "lab", "datasets", "cluster")
    for requirement in requirements_of(project, *ranges):
        assert "==" not in str(requirement)
    colab = {"tensorflow": "2.19.0", "keras": "3.10.0", "numpy": "2.0.2"}
    allowed = {r.name: r.specifier for r in requirements_of(project)}
    for name, version in colab.items():
        assert allowed[name].contains(version)


def test_versions_that_count_as_tested_are_those_of_the_constraints(constraints):
    assert environment.TESTED.items() <= constraints.items()


def test_constraints_hold_nothing_but_pins():
    for line in read_lines("constraints.txt"):
        assert not line.strip() or line.startswith("#") or pins([line]), line


def test_conda_environment_has_the_same_pins(project, constraints):
    listed = pins(read_lines("environment.yml"))
    assert listed.items() <= constraints.items()
    wanted = {normal(r.name) for r in requirements_of(project, "notebooks", "lab")}
    assert listed.keys() == wanted


def test_conda_and_binder_have_an_allowed_python(project):
    allowed = SpecifierSet(project["requires-python"])
    places = {"environment.yml": r"python=(3\.\d+)", "binder/runtime.txt": r"-(3\.\d+)"}
    for name, pattern in places.items():
        found = re.findall(pattern, "\n".join(read_lines(name)))
        assert len(found) == 1, name
        assert allowed.contains(f"{found[0]}.9"), name


def test_binder_and_the_container_install_what_was_tested():
    (install,) = [line for line in read_lines("binder/postBuild") if " pip " in line]
    assert "--constraint constraints.txt" in install
    assert "'.[notebooks,lab]'" in install
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)
    container = json.loads("\n".join(read_lines(".devcontainer/devcontainer.json")))
    assert container["postCreateCommand"] == "make setup"
    makefile = (ROOT / "Makefile").read_text()
    (install,) = re.findall(r"(?m)^INSTALL := (.*)", makefile)
    assert "--constraint constraints.txt" in install
    setup = makefile.split(".venv/installed: ")[1].split("\n\n")[0]
    assert "$(INSTALL) '.[notebooks]'" in setup


@pytest.mark.parametrize("table", ["dependencies", "optional-dependencies"])
def test_every_direct_dependency_has_its_reason(project, table):
    lines = {
        match[1]: line
        for line in read_lines("pyproject.toml")
        if (match := re.match(r'\s*"([\w.-]+)[=>]=', line))
    }
    listed = project[table]
    for group in [listed] if isinstance(listed, list) else listed.values():
        for requirement in group:
            line = lines[Requirement(requirement).name]
            assert re.search(r"# \w+", line), line


def test_the_version_is_the_same_everywhere(project):
    from edgetpu_lib import __version__

    assert project["version"] == __version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## (\S+)", changes)[0] == __version__


# Continuous checks.

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@functools.cache
def make_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^([\w-]+):", makefile))


def steps_of(path):
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_there_are_checks_on_push_on_pull_requests_and_by_night():
    # YAML reads the key `on` as true.
    events = {str(yaml.safe_load(path.read_text())[True]) for path in WORKFLOWS}
    for event in ("push", "pull_request", "schedule"):
        assert any(event in text for text in events)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_make_and_nothing_else(path):
    actions = {"actions/checkout", "actions/setup-python", "actions/upload-artifact"}
    targets = set()
    for step in steps_of(path):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert step["uses"].split("@")[0] in actions
        elif step["run"].startswith("gh "):
            assert step["run"].startswith("gh issue create ")
            assert step["if"] == "failure()"
        else:
            assert re.fullmatch(r"make [\w-]+( ARGS=--check)?", step["run"])
            targets.add(step["run"].split()[1])
    assert targets
    assert targets <= make_targets()


# Files.


@functools.cache
def own_files():
    """Return the repository's text files, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
        files = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    else:
        # Not a clone, but an unpacked archive.
        hidden = {".venv", ".git", "artifacts", "__pycache__"}
        files = [
            path
            for path in ROOT.rglob("*")
            if path.is_file() and not hidden & set(path.relative_to(ROOT).parts)
        ]
    binary = {
        ".jpg",
        ".png",
        ".npz",
        ".tflite",
        ".keras",
        ".ico",
        ".safetensors",
        ".gz",
    }
    return [path for path in files if path.suffix not in binary]


def test_own_files_are_found():
    assert {ROOT / "pyproject.toml", PACKAGE / "specs.py"} <= set(own_files())


def test_no_file_names_a_package_index():
    # Written in pieces, so that this file does not name one.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "conda." + "anaconda.org"]
    flags = ["--index" + "-url", "--extra-index" + "-url", "PIP_" + "INDEX"]
    for path in own_files():
        text = path.read_text(encoding="utf-8")
        found = [word for word in hosts + flags if word in text]
        assert not found, f"{path} names {found}"


def test_files_are_small():
    for path in ROOT.glob("tests/golden/*"):
        assert path.stat().st_size < 1_000_000, path


def modules_in(folder):
    """Return the names of the modules in a folder, and "name/" of its folders."""
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return files | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def test_contributing_shows_the_tree_of_the_library():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.split("\nedgetpu_lib/\n")[1].split("```")[0]
    assert re.findall(r"(?m)^  (\w+)\.py +\S", tree) == ROAD
    found = re.findall(r"(?m)^  (\w+)/ +\S.*\n((?:    [\w/ ]+\n)+)", tree)
    shown = {folder: set(names.split()) for folder, names in found}
    folders = {path.parent for path in PACKAGE.glob("*/__init__.py")}
    assert shown == {folder.name: modules_in(folder) for folder in folders}


def test_the_readme_is_short_and_begins_with_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = readme.splitlines()
    assert 80 <= len(lines) <= 110
    first_block = readme.split("```")[1].strip().splitlines()
    commands = [line.split("#")[0].strip() for line in first_block]
    assert commands == ["make tutorial", "make test"]
    assert lines.index(first_block[0]) < 30


def test_pages_name_files_that_exist():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"\b(?:tests|benchmarks|notebooks)/[\w./]+\.\w+", text)
        made = {"notebooks/durations.json"}
        lost = [name for name in {*named} - made if not (ROOT / name).exists()]
        assert not lost, f"{page.name}: {lost}"


def test_the_sizes_of_the_installation_are_the_same_everywhere():
    places = [ROOT / name for name in ("README.md", "Makefile", "docs/results.md")]
    for path in places:
        text = path.read_text(encoding="utf-8")
        assert "730 MB" in text and "2.6 GB" in text, path
