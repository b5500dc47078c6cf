"""Notebooks run wherever they are opened, or say in one line what is missing."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import badges
import nbformat
import papermill
import pytest
from runner import CUT_OFF, ROOT, can_cut_off

from edgetpu_lib.base import artifacts

NOTEBOOKS = badges.NOTEBOOKS
# Where a warning arises, as Python prints it: in the library or in a cell.
OWN_WARNING = re.compile(
    r"(?:edgetpu_lib|notebooks|ipykernel_\d+)/\S*:\d+: \w*Warning.*"
)


def source_of(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def text_of(output):
    """Return what a reader sees of an output, as text."""
    return str(output.get("text", "")) + str(output.get("data", {}).get("text/plain"))


# Without a network.


def test_the_chain_ran_without_a_network(chain):
    if not can_cut_off():
        pytest.skip("this system lets no process give up its network (unshare)")
    assert chain.cut_off
    # 192.0.2.0/24 is reserved for examples: nobody is there.
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run(
        [*CUT_OFF, sys.executable, "-c", code], capture_output=True, text=True
    )
    assert "Network is unreachable" in done.stderr


def test_interfaces_are_gone_where_the_network_is_cut():
    if not can_cut_off():
        pytest.skip("this system lets no process give up its network (unshare)")
    code = "import socket; print([name for _, name in socket.if_nameindex()])"
    done = subprocess.run(
        [*CUT_OFF, sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stdout.strip() == "['lo']"
    assert len(socket.if_nameindex()) >= 1


# Warnings.


def test_nothing_of_ours_warns(chain):
    assert OWN_WARNING.findall(chain.stderr) == []
    for path in sorted((chain.folder / "executed").iterdir()):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                assert OWN_WARNING.findall(text_of(output)) == [], path.name


def test_a_warning_of_ours_would_be_seen():
    line = "/home/me/edgetpu_lib/data.py:7: DeprecationWarning: old"
    assert OWN_WARNING.findall(line)
    assert OWN_WARNING.findall("/tmp/ipykernel_12/34.py:1: UserWarning: odd")
    assert not OWN_WARNING.findall(
        "/venv/keras/core.py:172: DeprecationWarning: theirs"
    )


# In any order.

DEPENDENT = [path for path in NOTEBOOKS if "require_artifact" in source_of(path)]


def test_some_notebooks_need_others_and_some_do_not():
    assert 0 < len(DEPENDENT) < len(NOTEBOOKS)


@pytest.mark.parametrize("path", DEPENDENT, ids=lambda path: path.stem)
def test_out_of_order_a_notebook_names_the_one_to_run_first(path, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            path,
            tmp_path / "executed.ipynb",
            parameters={"artifacts_dir": str(tmp_path / "nothing")},
            cwd=str(tmp_path),
            kernel_name="python3",
            progress_bar=False,
        )
    assert caught.value.ename == "InputError"
    (maker,) = re.findall(r"run notebook (\w+) first", caught.value.evalue)
    assert (ROOT / "notebooks" / f"{maker}.ipynb").exists()
    assert maker < path.stem


# As in Colab: another kernel, an empty folder, no library yet.


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return a folder with the wheel of this library, as a repository has it."""
    folder = tmp_path_factory.mktemp("wheels")
    version = f"v{badges.address()[1]}"
    place = folder / "releases" / "download" / version
    place.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        + ["--no-build-isolation", "--wheel-dir", place, ROOT],
        check=True,
    )
    return folder


@pytest.fixture
def elsewhere(tmp_path):
    """Return an environment with all libraries but ours, each a link."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "edgetpu_lib" not in entry.name:
            (site / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def kernel(elsewhere, tmp_path, monkeypatch):
    """Return the name of a kernel of that environment."""
    kernels = tmp_path / "jupyter" / "kernels" / "some-kernel"
    kernels.mkdir(parents=True)
    command = [str(elsewhere / "bin" / "python"), "-m", "ipykernel_launcher"]
    spec = {"argv": [*command, "-f", "{connection_file}"], "display_name": "Some"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return "some-kernel"


def published(cell, wheels, digest=None):
    """Return a set-up cell as it would be if this folder were the published address."""
    (wheel,) = wheels.rglob("*.whl")
    digest = digest or artifacts.sha256_of(wheel)
    repository = badges.address()[0]
    assert cell.count(repository) == cell.count('sha256 = ""') == 1
    cell = cell.replace(repository, f"file://{wheels}")
    return cell.replace('sha256 = ""', f'sha256 = "{digest}"')


def links_in(environment):
    (site,) = environment.glob("lib/*/site-packages")
    return {path.name for path in site.iterdir() if path.is_symlink()}


def test_alone_in_an_empty_folder_a_notebook_installs_the_library_and_nothing_else(
    wheels, elsewhere, kernel, tmp_path, monkeypatch
):
    # pip asks nobody else, so that it could replace no NumPy.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "00_quickstart.ipynb", as_version=4)
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    setup.source = published(setup.source, wheels)
    nbformat.write(notebook, tmp_path / "alone.ipynb")
    (tmp_path / "empty").mkdir()
    before = links_in(elsewhere)
    papermill.execute_notebook(
        tmp_path / "alone.ipynb",
        tmp_path / "executed.ipynb",
        cwd=str(tmp_path / "empty"),
        kernel_name=kernel,
        progress_bar=False,
    )
    assert "sunflower" in (tmp_path / "executed.ipynb").read_text()
    assert {"numpy", "tensorflow", "keras"} <= before
    assert links_in(elsewhere) == before
    assert list(elsewhere.glob("lib/*/site-packages/edgetpu_lib/__init__.py"))
    assert os.listdir(tmp_path / "empty") == []


def run_setup(cell, kernel, folder):
    """Run a set-up cell, and return the error's name and words."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, folder / "setup.ipynb")
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            folder / "setup.ipynb",
            folder / "executed.ipynb",
            cwd=str(folder),
            kernel_name=kernel,
            progress_bar=False,
        )
    return caught.value.ename, caught.value.evalue


def test_a_set_up_cell_without_an_address_says_so_and_installs_nothing(
    elsewhere, kernel, tmp_path
):
    name, words = run_setup(badges.setup_cell(*badges.address()), kernel, tmp_path)
    assert name == "AssertionError" and "clone" in words
    assert not list(elsewhere.glob("lib/*/site-packages/edgetpu_lib*"))


def test_another_file_at_the_address_is_not_installed(
    wheels, elsewhere, kernel, tmp_path, monkeypatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    cell = published(badges.setup_cell(*badges.address()), wheels, digest="0" * 64)
    assert run_setup(cell, kernel, tmp_path)[0] == "ModuleNotFoundError"
    assert "DO NOT MATCH THE HASHES" in (tmp_path / "executed.ipynb").read_text()
    assert not list(elsewhere.glob("lib/*/site-packages/edgetpu_lib*"))


# The address of the repository.


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_have_the_address_of_the_project(path):
    cells = nbformat.read(path, as_version=4).cells
    link = badges.colab_link(path.name, *badges.address())
    assert f"\n\n{link}\n\n" in cells[0].source
    assert len(badges.LINK.findall(cells[0].source)) == 1
    setup = next(cell for cell in cells if cell.cell_type == "code")
    assert setup.source == badges.setup_cell(*badges.address())


@pytest.mark.parametrize("path", badges.EXERCISES, ids=lambda path: path.parent.name)
def test_exercises_have_the_same_set_up_cell(path):
    cells = nbformat.read(path, as_version=4).cells
    setup = next(cell for cell in cells if cell.cell_type == "code")
    assert setup.source == badges.setup_cell(*badges.address())


@pytest.fixture
def copy(tmp_path):
    """Return a copy of what is stamped."""
    (tmp_path / "notebooks").mkdir()
    for path in (badges.PROJECT, Path(badges.__file__), *NOTEBOOKS):
        target = tmp_path / path.relative_to(ROOT)
        target.write_bytes(path.read_bytes())
    return tmp_path


def stamp(copy, *arguments):
    return subprocess.run(
        [sys.executable, copy / "notebooks" / "badges.py", *arguments],
        capture_output=True,
        text=True,
    )


def contents(folder):
    return {
        path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }


def test_the_committed_notebooks_are_stamped(copy):
    before = contents(copy)
    assert stamp(copy).returncode == 0
    assert contents(copy) == before


def test_a_new_address_is_stamped_everywhere_and_twice_is_once(copy):
    before = contents(copy)
    assert stamp(copy, "--repo=someone/some.where").returncode == 0
    once = contents(copy)
    assert stamp(copy, "--repo=someone/some.where").returncode == 0
    assert contents(copy) == once
    changed = {name for name in before if once[name] != before[name]}
    assert changed == {"pyproject.toml", *(path.name for path in NOTEBOOKS)}
    old = badges.address()[0].removeprefix("https://github.com/").encode()
    for name in changed:
        assert old not in once[name]
        assert b"someone/some.where" in once[name]


def test_a_new_address_gets_the_digest_of_the_wheel(copy, monkeypatch):
    for folder in ("edgetpu_lib", "data"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for name in ("README.md", ".gitignore", "hatch_build.py"):
        shutil.copy(ROOT / name, copy)
    # Without npm the wheel lacks the runtime for browsers, and nothing is fetched.
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", str(copy))
    done = stamp(copy, "--repo=someone/some.where")
    assert done.returncode == 0, done.stderr
    (wheel,) = (copy / "dist").iterdir()
    digest = artifacts.sha256_of(wheel)
    for path in (copy / "notebooks").glob("*.ipynb"):
        assert f'sha256 = \\"{digest}\\"' in path.read_text("utf-8")
    assert stamp(copy).returncode == 0
    assert artifacts.sha256_of(wheel) == digest, "the wheel is the same each time"


@pytest.mark.parametrize("repo", ["", "someone", "https://github.com/a/b", 'a/b"c'])
def test_what_is_no_repository_is_refused_and_changes_nothing(copy, repo):
    before = contents(copy)
    done = stamp(copy, f"--repo={repo}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert contents(copy) == before
