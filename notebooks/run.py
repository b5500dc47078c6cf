"""Run all notebooks in order with papermill, then print what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import nbformat
import papermill
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from rich.console import Console
from rich.table import Table
from traitlets.config import Config

from edgetpu_lib.artifacts import atomic_path

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))


@click.command()
@click.option(
    "--data_dir", help="Folder of class folders.  [default: rendered_flowers]"
)
@click.option(
    "--artifacts_dir",
    default=FOLDER / "artifacts",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Where results go.  [default: notebooks/artifacts]",
)
@click.option("--in_place", is_flag=True, help="Refresh the committed notebooks.")
@click.option("-p", "overrides", nargs=2, multiple=True, metavar="NAME VALUE")
def main(
    data_dir: str | None,
    artifacts_dir: Path,
    in_place: bool,
    overrides: tuple[tuple[str, str], ...],
) -> None:
    """Run the notebooks one after another; each hands its artefacts to the next."""
    given = dict(overrides)
    if data_dir:
        given["data_dir"] = data_dir
    if artifacts_dir != FOLDER / "artifacts":
        given["artifacts_dir"] = str(artifacts_dir)
    unknown = set(given) - {name for path in NOTEBOOKS for name in declared(path)}
    if unknown:
        sys.exit(f"error: no notebook has a parameter {', '.join(sorted(unknown))}")
    for path in NOTEBOOKS:
        executed = artifacts_dir / "executed" / path.name
        chosen = {name: given[name] for name in given if name in declared(path)}
        run(path, executed, chosen)
        if in_place:
            refresh(path, executed)
    report(artifacts_dir)


def declared(path: Path) -> dict:
    """Return the parameters that a notebook declares."""
    return papermill.inspect_notebook(str(path))


def run(path: Path, executed: Path, parameters: dict) -> None:
    """Execute one notebook; its copy with outputs is kept also when a cell fails."""
    executed.parent.mkdir(parents=True, exist_ok=True)
    print(f"\n{path.name}", file=sys.stderr)
    try:
        papermill.execute_notebook(
            str(path),
            str(executed),
            parameters=typed(parameters),
            cwd=str(FOLDER),
            kernel_name="python3",
            # Local sockets instead of unencrypted TCP, about which kernels warn.
            config=Config(KernelManager={"transport": "ipc"}),
        )
    except papermill.PapermillExecutionError as error:
        sys.exit(
            f"error: {path.name}, cell {error.exec_count}: {error.ename}:"
            f" {error.evalue}\n       the notebook as it stands: {executed}"
        )


def typed(parameters: dict[str, str]) -> dict:
    """Read numbers and booleans out of command-line text."""
    values = {}
    for name, text in parameters.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def refresh(path: Path, executed: Path) -> None:
    """Replace a committed notebook by its executed copy, freed of run details."""
    notebook = nbformat.read(executed, as_version=4)
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    source = nbformat.read(path, as_version=4)
    notebook.metadata = source.metadata
    for old, cell in zip(source.cells, notebook.cells, strict=True):
        cell.id, cell.metadata = old.id, old.metadata
        if cell.cell_type == "code":
            # What a finished progress bar leaves behind.
            cell.outputs = [out for out in cell.outputs if out.get("text", "-").strip()]
    with atomic_path(path) as scratch:
        nbformat.write(notebook, scratch)


def report(artifacts_dir: Path) -> None:
    """Print the table of results and where everything lies."""
    metrics = json.loads((artifacts_dir / "metrics.json").read_text())
    table = Table(
        title=f"{metrics['model_name']} on {metrics['test_photos']} test photos"
    )
    for name in ("", "top-1", "agreement with float", "size", "CPU time"):
        table.add_column(name, justify="left" if not name else "right")
    for row in metrics["models"]:
        table.add_row(
            row["name"],
            f"{row['top1']:.1%}",
            f"{row['agreement']:.1%}",
            f"{row['size_bytes'] / 1e6:.1f} MB",
            f"{row['latency_ms']:.1f} ms" if row["latency_ms"] else "",
        )
    console = Console()
    console.print(table)
    console.print(metrics["start"])
    for name in metrics["files"]:
        console.print(artifacts_dir / name, soft_wrap=True)
    for path in NOTEBOOKS:
        console.print(artifacts_dir / "executed" / path.name, soft_wrap=True)


if __name__ == "__main__":
    main()
