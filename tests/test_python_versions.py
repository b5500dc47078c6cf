"""The tested versions can be installed on every Python that the project allows.

The dependencies are read from the metadata of the installed libraries, for each Python
in turn; only the existence of wheels for the other Pythons is asked of a package index.
"""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
# The extras whose versions are tested here.
TESTED = ("notebooks", "lab", "test")
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"(?m)^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text("utf-8")
    )
}
# Every environment has them already, or pip brings them to build with; `pip freeze`
# does not list them.
OF_PIP = {"pip", "setuptools", "wheel"}
# A wheel of these tags is one for all Pythons here.
FOR_ALL = re.compile(r"(?m)^Tag: (py3-|py2\.py3-|\w+-abi3-)")


def wanted(extra):
    return PROJECT["optional-dependencies"][extra]


def needs(text, python, extras=()):
    """Return the requirement if it holds on a Python, else None."""
    requirement = Requirement(text)
    # Of the first release: a later one may be asked for by a dependency.
    there = {"python_version": python, "python_full_version": f"{python}.0"}
    holds = not requirement.marker or any(
        requirement.marker.evaluate(there | {"extra": extra}) for extra in (*extras, "")
    )
    return requirement if holds else None


def all_needed(python, *extras):
    """Return [(who asks, requirement)] of all that is needed on a Python."""
    waiting = [
        ("pyproject.toml", Requirement(text))
        for text in sum(map(wanted, extras), PROJECT["dependencies"])
    ]
    found = []
    while waiting:
        asker, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        known = {(canonicalize_name(r.name), frozenset(r.extras)) for _, r in found}
        found.append((asker, requirement))
        if name in OF_PIP or (name, frozenset(requirement.extras)) in known:
            continue
        try:
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            # Needed on other Pythons than this; its pin must do.
            continue
        parsed = [needs(text, python, requirement.extras) for text in texts]
        waiting += [(name, one) for one in parsed if one]
    return found


def test_these_are_all_the_pythons_that_are_allowed():
    allowed = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{n}" for n in range(30) if allowed.contains(f"3.{n}.0")]
    assert minors == PYTHONS
    workflow = (ROOT / ".github" / "workflows" / "push.yml").read_text("utf-8")
    assert re.findall(r'"(3\.\d+)"', workflow) == PYTHONS


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_are_all_that_is_needed_and_fit_each_other(python):
    needed = all_needed(python, *TESTED)
    assert len(needed) > 100
    for asker, requirement in needed:
        name = canonicalize_name(requirement.name)
        if name not in OF_PIP:
            assert name in PINS, f"{asker} needs {requirement}, which has no pin"
            fits = requirement.specifier.contains(PINS[name], prereleases=True)
            assert fits, f"{asker} needs {requirement}, the pin is {PINS[name]}"


def test_the_tutorial_needs_nothing_of_the_tests_or_of_jupyterlab():
    needed = {
        canonicalize_name(requirement.name)
        for _, requirement in all_needed(HERE, "notebooks")
    }
    assert {"tensorflow", "papermill", "ipykernel"} <= needed
    others = {"jax", "distributed", "pytest", "hypothesis", "ruff", "nbgrader"}
    others |= {"jupyterlab", "tensorflow-datasets", "pyarrow", "sphinx"}
    assert not needed & others


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_run_on_this_python(python):
    for name in {
        canonicalize_name(r.name) for _, r in all_needed(python, *TESTED)
    } - OF_PIP:
        try:
            about = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if about["Version"] == PINS[name]:
            allowed = SpecifierSet(about["Requires-Python"] or "")
            assert allowed.contains(f"{python}.0"), f"{name} {PINS[name]}: {allowed}"


def of_one_python():
    """Return the pins whose wheels are for one Python each."""
    pins = []
    for name, version in PINS.items():
        try:
            wheel = importlib.metadata.distribution(name).read_text("WHEEL") or ""
        except importlib.metadata.PackageNotFoundError:
            wheel = ""
        if not FOR_ALL.search(wheel):
            pins.append(f"{name}=={version}")
    return pins


def find_wheels(python, folder):
    """Ask pip for wheels as for a Python; nothing is installed."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
        + ["--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
        + ["--only-binary=:all:", "--python-version", f"{python}.0"]
        + ["--target", str(folder / python), *of_one_python()],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_there_are_wheels_for_the_other_pythons(tmp_path):
    assert {"numpy", "tensorflow"} <= {pin.split("==")[0] for pin in of_one_python()}
    others = [python for python in PYTHONS if python != HERE]
    with ThreadPoolExecutor() as pool:
        tries = list(pool.map(lambda python: find_wheels(python, tmp_path), others))
    for python, tried in zip(others, tries, strict=True):
        if tried.returncode and "(from versions: none)" in tried.stderr:
            pytest.skip(f"no package index answers: {tried.stderr.strip()[-200:]}")
        assert tried.returncode == 0, f"Python {python}: {tried.stderr[-1000:]}"
