"""Write the repository's address into the first cells of all notebooks.

`make badges REPO=owner/name` records the address in pyproject.toml, then stamps it; so
does `make badges` alone after a change of the version.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import click
import nbformat

from edgetpu_lib.base.artifacts import atomic_path

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent / "pyproject.toml"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
LINK = re.compile(r"\[Open in Colab\]\([^)]*\)")
# The line of pyproject.toml with the address.
ADDRESS = re.compile(r'(?m)^(repository = ")[^"]*(")')


@click.command()
@click.option("--repo", metavar="OWNER/NAME", help="Where the repository now lies.")
def main(repo: str | None) -> None:
    """Stamp the address of pyproject.toml, or a new one, into every notebook."""
    if repo is not None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            sys.exit(f"error: {repo!r} is no repository; give REPO=owner/name")
        record_address(f"https://github.com/{repo}")
    repository, version = address()
    for path in NOTEBOOKS:
        stamp(path, repository, version)
        print(colab_link(path.name, repository, version))


def record_address(repository: str) -> None:
    """Write the address into pyproject.toml, where all others are made from."""
    text = PROJECT.read_text("utf-8")
    with atomic_path(PROJECT) as scratch:
        scratch.write_text(ADDRESS.sub(rf"\g<1>{repository}\g<2>", text), "utf-8")


def address() -> tuple[str, str]:
    """Return the repository's address and the version, from pyproject.toml."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    return project["urls"]["repository"], project["version"]


def colab_link(name: str, repository: str, version: str) -> str:
    """Return the link that opens a notebook in Colab as it was in a version.

    An image, as elsewhere, would make the pages of the site ask another host.
    """
    inside = repository.removeprefix("https://github.com/")
    return (
        "[Open in Colab](https://colab.research.google.com/github/"
        f"{inside}/blob/v{version}/notebooks/{name})"
    )


def setup_cell(repository: str, version: str) -> str:
    """Return the first code cell, which installs the library where it is missing."""
    return f"""try:
    import edgetpu_lib  # noqa: F401
except ImportError:  # in Colab; its NumPy and TensorFlow stay
    repository = "{repository}"
    %pip install -q {{repository}}/archive/refs/tags/v{version}.zip

from edgetpu_lib.base import artifacts

print(artifacts.check_environment())"""


def stamp(path: Path, repository: str, version: str) -> None:
    """Write link and set-up cell into a notebook, and leave the rest unchanged."""
    notebook = nbformat.read(path, as_version=4)
    title = notebook.cells[0]
    heading, _, rest = title.source.partition("\n\n")
    link = colab_link(path.name, repository, version)
    rest = LINK.sub("", rest).lstrip()
    title.source = "\n\n".join(part for part in (heading, link, rest) if part)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = setup_cell(repository, version)
    with atomic_path(path) as scratch:
        nbformat.write(notebook, scratch)


if __name__ == "__main__":
    main()
