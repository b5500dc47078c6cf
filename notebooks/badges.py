"""Write the repository's address into the first cells of all notebooks.

`make badges REPO=owner/name` records the address in pyproject.toml, builds the wheel,
records its digest there too, and stamps both; so does `make badges` alone after a
change of the version. The wheel in `dist/` is published with the tag of its version.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import click
import nbformat

from edgetpu_lib.base.artifacts import atomic_path, sha256_of, write_file

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent / "pyproject.toml"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
# They are handed out alone, and have no link.
EXERCISES = sorted((FOLDER / "exercises").rglob("*.ipynb"))
LINK = re.compile(r"\[Open in Colab\]\([^)]*\)")
# The line of pyproject.toml with the address.
ADDRESS = re.compile(r'(?m)^(repository = ")[^"]*(")')
DIGEST = re.compile(r'(?m)^(wheel_sha256 = ")[^"]*(")')
# An address that is nobody's yet: whoever took that name could publish anything.
PLACEHOLDER = "/OWNER/"


@click.command()
@click.option("--repo", metavar="OWNER/NAME", help="Where the repository now lies.")
def main(repo: str | None) -> None:
    """Stamp the address of pyproject.toml, or a new one, into every notebook."""
    if repo is not None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            sys.exit(f"error: {repo!r} is no repository; give REPO=owner/name")
        record(ADDRESS, f"https://github.com/{repo}")
    repository, version = address()
    digest = digest_of_wheel(repository)
    if digest or repo is not None:
        record(DIGEST, digest)
    for path in NOTEBOOKS:
        stamp(path, repository, version)
        print(colab_link(path.name, repository, version))
    for path in EXERCISES:
        stamp(path, repository, version, link=False)


def record(line: re.Pattern[str], value: str) -> None:
    """Write a value into its line of pyproject.toml."""
    text = line.sub(rf"\g<1>{value}\g<2>", PROJECT.read_text("utf-8"))
    write_file(PROJECT, text.encode())


def digest_of_wheel(repository: str) -> str:
    """Build the wheel into `dist/` and return its SHA-256.

    It is empty, and nothing is built, while there is nowhere to publish the wheel, or
    if the library is not beside the notebooks.
    """
    root = PROJECT.parent
    if PLACEHOLDER in f"{repository}/" or not (root / "edgetpu_lib").is_dir():
        return ""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--no-build-isolation", "--wheel-dir", folder, str(root)]
        if subprocess.run(command).returncode:
            sys.exit("error: the wheel cannot be built; see above")
        (wheel,) = Path(folder).glob("*.whl")
        built = write_file(root / "dist" / wheel.name, wheel.read_bytes())
    return sha256_of(built)


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
    """Return the first code cell, which installs the library where it is missing.

    It installs the published wheel of the recorded digest, which pip compares, and
    nothing while no wheel is published.
    """
    tool = tomllib.loads(PROJECT.read_text("utf-8"))["tool"]
    return f"""try:
    import edgetpu_lib  # noqa: F401
except ImportError:  # in Colab; its NumPy and TensorFlow stay
    where = "edgetpu_lib is not published; open this notebook in a clone, by make lab"
    repository = "{repository}"
    sha256 = "{tool["badges"]["wheel_sha256"]}"
    assert sha256 and "{PLACEHOLDER}" not in repository, where
    wheel = "v{version}/edgetpu_lib-{version}-py3-none-any.whl"
    %pip install -q {{repository}}/releases/download/{{wheel}}#sha256={{sha256}}
from edgetpu_lib.base import artifacts

print(artifacts.check_environment())"""


def stamp(path: Path, repository: str, version: str, *, link: bool = True) -> None:
    """Write link and set-up cell into a notebook, and leave the rest unchanged."""
    notebook = nbformat.read(path, as_version=4)
    title = notebook.cells[0]
    heading, _, rest = title.source.partition("\n\n")
    address = colab_link(path.name, repository, version) if link else ""
    rest = LINK.sub("", rest).lstrip()
    title.source = "\n\n".join(part for part in (heading, address, rest) if part)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = setup_cell(repository, version)
    with atomic_path(path) as scratch:
        nbformat.write(notebook, scratch)


if __name__ == "__main__":
    main()
