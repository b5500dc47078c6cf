"""Say in plain words what is wrong where a notebook is about to run.

Takes the versions that are needed, installed and loaded; gives sentences, each with a
remedy. `artifacts.check_environment` joins them: the first cell of every notebook.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Mapping

# With these the notebooks were run; a test compares them with constraints.txt.
TESTED = {
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "ai-edge-litert": "2.3.0",
    "numpy": "2.4.6",
}
# What is loaded under another name than it is installed by.
_MODULES = {"pillow": "PIL"}


def troubles() -> list[str]:
    """Return what keeps a notebook from running here: one sentence a trouble."""
    try:
        about = importlib.metadata.metadata("edgetpu_lib")
    except importlib.metadata.PackageNotFoundError:
        # A clone that is only on the path says nothing about what it needs.
        return []
    needed = about.get_all("Requires-Dist") or []
    installed = installed_versions(needed)
    return [
        *python_troubles(about["Requires-Python"], platform.python_version()),
        *version_troubles(needed, installed),
        *restart_troubles(installed, loaded_versions(installed)),
    ]


def installed_versions(requirements: Iterable[str]) -> dict[str, str]:
    """Return {name: version} of the required libraries that are installed."""
    versions = {}
    for name, _ in _without_extras(requirements):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def loaded_versions(names: Iterable[str]) -> dict[str, str]:
    """Return {name: version} of the libraries that this process has imported."""
    modules = {name: sys.modules.get(_MODULES.get(name, name)) for name in names}
    # Not `getattr`: some compute it, and warn that they will not for long.
    versions = {n: vars(m).get("__version__") for n, m in modules.items() if m}
    return {name: found for name, found in versions.items() if isinstance(found, str)}


def python_troubles(allowed: str, running: str) -> list[str]:
    """Return a sentence if this Python is none that the library runs on.

    Args:
        allowed: range of versions, as in `requires-python`.
        running: version of this Python.
    """
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(allowed).contains(running, prereleases=True):
        return []
    return [f"Python {running} runs here, {allowed} is needed; choose another kernel"]


def version_troubles(
    requirements: Iterable[str], installed: Mapping[str, str]
) -> list[str]:
    """Return a sentence on what is missing, and one on each unfit version.

    Args:
        requirements: as in `dependencies` of pyproject.toml; extras are passed over.
        installed: {name: version}.
    """
    found, missing = [], []
    for name, allowed in _without_extras(requirements):
        if name not in installed:
            missing.append(f"{name}{allowed}")
        elif not allowed.contains(installed[name], prereleases=True):
            found.append(
                f"{name} {installed[name]} is installed, {allowed} is needed;"
                f' `%pip install "{name}{allowed}"`, then restart the kernel'
            )
    if missing:
        wanted = " ".join(f'"{requirement}"' for requirement in missing)
        found.insert(0, f"not installed: run `make setup`, or `%pip install {wanted}`")
    return found


def restart_troubles(
    installed: Mapping[str, str], loaded: Mapping[str, str]
) -> list[str]:
    """Return a sentence for each library that was replaced after it was imported.

    Args:
        installed: {name: version} on the disk.
        loaded: {name: version} in this process.
    """
    from packaging.version import Version

    return [
        f"{name} {version} is loaded, but {installed[name]} was installed meanwhile;"
        " restart the kernel and run the notebook from the top"
        for name, version in loaded.items()
        if Version(version).release != Version(installed[name]).release
    ]


def loading_trouble(error: Exception, versions: Mapping[str, str]) -> str:
    """Return a sentence on a TensorFlow that is installed and cannot be imported.

    Args:
        error: what its import raised.
        versions: {name: version}, from `artifacts.library_versions`.
    """
    reason = str(error).strip().split("\n")[0]
    tensorflow, numpy = (versions.get(n, "?") for n in ("tensorflow", "numpy"))
    return (
        f"TensorFlow {tensorflow} cannot be loaded with NumPy {numpy} ({reason});"
        " `%pip install --force-reinstall tensorflow numpy`, then restart the kernel"
    )


def remarks(versions: Mapping[str, str]) -> list[str]:
    """Return a sentence for each library that is newer than any tested.

    Args:
        versions: {name: version}, from `artifacts.library_versions`.
    """
    from packaging.version import Version

    return [
        f"{name} {versions[name]} is newer than {tested}, the newest tested; if a cell"
        f' fails, `%pip install "{name}=={tested}"` and restart the kernel'
        for name, tested in TESTED.items()
        # A third number mends and does not change.
        if name in versions
        and Version(versions[name]).release[:2] > Version(tested).release[:2]
    ]


def _without_extras(requirements: Iterable[str]) -> list[tuple]:
    """Return (name, range of versions) of what is needed here and always."""
    from packaging.requirements import Requirement

    parsed = [Requirement(requirement) for requirement in requirements]
    return [
        (requirement.name, requirement.specifier)
        for requirement in parsed
        if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    ]
