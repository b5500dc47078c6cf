"""Compare installed versions with the required ones and suggest fixes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Mapping

# Versions the notebooks were run with; a test compares them with constraints.txt.
TESTED = {
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "ai-edge-litert": "2.3.0",
    "numpy": "2.4.6",
}


def find_problems() -> list[str]:
    """Return one sentence for each reason why a notebook cannot run here."""
    try:
        about = importlib.metadata.metadata("edgetpu_lib")
    except importlib.metadata.PackageNotFoundError:
        return []  # A clone that is only on the path does not list requirements.
    required = about.get_all("Requires-Dist") or []
    installed = installed_versions(name for name, _ in _parsed(required))
    return [
        *python_problems(about["Requires-Python"], platform.python_version()),
        *version_problems(required, installed),
        *restart_problems(installed, loaded_versions(installed)),
    ]


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return {name: version} of those libraries that are installed."""
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def loaded_versions(names: Iterable[str]) -> dict[str, str]:
    """Return {name: version} of those libraries that this process has imported."""
    modules = {n: sys.modules.get("PIL" if n == "pillow" else n) for n in names}
    # `getattr` would warn where a module computes a deprecated `__version__`.
    versions = {n: vars(m).get("__version__") for n, m in modules.items() if m}
    return {name: found for name, found in versions.items() if isinstance(found, str)}


def python_problems(allowed: str, running: str) -> list[str]:
    """Return a sentence if Python `running` is not in the range `allowed`."""
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(allowed).contains(running, prereleases=True):
        return []
    return [f"Python {running} runs here, {allowed} is needed; choose another kernel"]


def version_problems(
    requirements: Iterable[str], installed: Mapping[str, str]
) -> list[str]:
    """Return a sentence on all missing libraries, and one on each unfit version.

    `requirements` are as in `dependencies` of pyproject.toml; extras are ignored.
    """
    required = _parsed(requirements)
    unfit = [
        f"{name} {installed[name]} is installed, {allowed} is needed;"
        f' `%pip install "{name}{allowed}"`, then restart the kernel'
        for name, allowed in required
        if name in installed and not allowed.contains(installed[name], prereleases=True)
    ]
    missing = [f'"{n}{allowed}"' for n, allowed in required if n not in installed]
    if missing:
        command = f"%pip install {' '.join(missing)}"
        unfit.insert(0, f"not installed: run `make setup`, or `{command}`")
    return unfit


def restart_problems(
    installed: Mapping[str, str], loaded: Mapping[str, str]
) -> list[str]:
    """Return a sentence for each library that was replaced after its import."""
    return [
        f"{name} {version} is loaded, but {installed[name]} was installed meanwhile;"
        " restart the kernel and run the notebook from the top"
        for name, version in loaded.items()
        if _release(version) != _release(installed[name])
    ]


def newer_than_tested(versions: Mapping[str, str]) -> list[str]:
    """Return a sentence for each library with a newer minor version than tested."""
    return [
        f"{name} {versions[name]} is newer than {tested}, the newest tested; if a cell"
        f' fails, `%pip install "{name}=={tested}"` and restart the kernel'
        for name, tested in TESTED.items()
        if name in versions and _release(versions[name])[:2] > _release(tested)[:2]
    ]


def _release(version: str) -> tuple[int, ...]:
    from packaging.version import Version

    return Version(version).release


def _parsed(requirements: Iterable[str]) -> list[tuple]:
    """Return (name, range of versions) of each requirement that is not an extra's."""
    from packaging.requirements import Requirement

    return [
        (requirement.name, requirement.specifier)
        for requirement in map(Requirement, requirements)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    ]
