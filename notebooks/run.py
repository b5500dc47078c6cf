"""Run all notebooks in order with papermill, then print what was measured."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path

import click
import nbformat
import papermill
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image
from rich.console import Console
from rich.table import Table
from traitlets.config import Config

from edgetpu_lib.base.artifacts import InputError, atomic_path
from edgetpu_lib.commands import options
from edgetpu_lib.commands.main import EXIT_BAD_INPUT

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
# They lie beside this file, which tests import from elsewhere.
sys.path.insert(0, str(FOLDER))
import expected  # noqa: E402
import profiles  # noqa: E402
import progress  # noqa: E402


@click.command()
@click.option(
    "--profile",
    type=click.Choice(list(profiles.PROFILES)),
    default="default",
    show_default=True,
    help="Parameters from profiles.toml.",
)
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
@click.option(
    "--refresh_expected", is_flag=True, help="Refresh expected.json, durations.json."
)
@click.option("--check", is_flag=True, help="Fail if numbers are not as expected.")
@click.option("-p", "overrides", nargs=2, multiple=True, metavar="NAME VALUE")
def main(
    profile: str,
    data_dir: str | None,
    artifacts_dir: Path,
    in_place: bool,
    refresh_expected: bool,
    check: bool,
    overrides: tuple[tuple[str, str], ...],
) -> None:
    """Run the notebooks in order; each hands its artefacts to the next."""
    changed = options.typed(overrides)
    if data_dir and data_dir != "rendered_flowers":
        data_dir = os.path.expanduser(data_dir)
        if not Path(data_dir).is_dir():
            sys.exit(
                f"error: {data_dir} is not a folder; give a folder of class folders"
            )
        changed["data_dir"] = data_dir
    given = choose(profile, changed, artifacts_dir)
    # With other parameters the cells take another time.
    durations = {} if changed else progress.read().get(profile, {})
    line = progress.Progress(NOTEBOOKS, durations)
    for path in NOTEBOOKS:
        executed = artifacts_dir / "executed" / path.name
        parameters = profiles.parameters_for(path.stem, given, declared(path))
        run(path, executed, parameters, line)
        if in_place:
            refresh(path, executed)
    report(artifacts_dir)
    if changed:
        print("Other parameters than the profile's: no numbers to compare with.")
        return
    if refresh_expected:
        expected.refresh(profile, expected.measure(artifacts_dir))
        progress.refresh(profile, artifacts_dir / "executed")
    differ = compare(profile, artifacts_dir)
    sys.exit(1 if check and differ else 0)


def choose(profile: str, changed: dict, artifacts_dir: Path) -> dict:
    """Return the parameters of a run; exit with one line if they are unknown.

    Args:
        profile: a key of profiles.toml.
        changed: parameters from the command line, instead of the profile's.
        artifacts_dir: where results go.
    """
    given = profiles.merged(profile, changed)
    if artifacts_dir != FOLDER / "artifacts":
        given["artifacts_dir"] = str(artifacts_dir)
    known = {name for path in NOTEBOOKS for name in declared(path)}
    if unknown := profiles.names_in(given) - known:
        sys.exit(f"error: no notebook has a parameter {', '.join(sorted(unknown))}")
    try:
        return profiles.bring(given, artifacts_dir)
    except InputError as error:
        sys.exit(f"error: {error}")


def declared(path: Path) -> set[str]:
    """Return the names of the parameters that a notebook declares."""
    return set(papermill.inspect_notebook(str(path)))


def run(
    path: Path,
    executed: Path,
    parameters: dict,
    line: progress.Progress | None = None,
) -> None:
    """Execute one notebook; the executed copy is kept even if a cell fails.

    Papermill saves after every cell, in place. It writes into a folder beside the copy,
    which replaces an earlier one when the notebook has ended, whole.

    Args:
        path: the notebook.
        executed: where the copy with outputs goes.
        parameters: {parameter: value}, injected after the cell of parameters.
        line: shows the progress; without it, that of this notebook alone is shown.
    """
    line = line or progress.Progress([path], {})
    failed = None
    try:
        with atomic_path(executed) as scratch, line.follow(path.stem):
            try:
                _execute(path, scratch, parameters, line)
            except papermill.PapermillExecutionError as error:
                failed = error
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    if failed:
        sys.exit(
            f"error: {path.name}, cell {failed.exec_count}: {failed.ename}:"
            f" {failed.evalue}\n       the notebook as it stands: {executed}"
        )


def _execute(
    path: Path, output: Path, parameters: dict, line: progress.Progress
) -> None:
    """Let papermill execute a notebook and write its copy."""
    papermill.execute_notebook(
        str(path),
        str(output),
        parameters=parameters,
        cwd=str(FOLDER),
        kernel_name="python3",
        # Local sockets instead of unencrypted TCP, about which kernels warn.
        config=Config(KernelManager={"transport": "ipc"}),
        progress_bar=False,
        on_cell_start=line.cell_started,
        stdout_file=line,
        stderr_file=line,
    )


def refresh(path: Path, executed: Path) -> None:
    """Replace a committed notebook by its executed copy, without run details."""
    notebook = nbformat.read(executed, as_version=4)
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    source = nbformat.read(path, as_version=4)
    notebook.metadata = source.metadata
    for old, cell in zip(source.cells, notebook.cells, strict=True):
        cell.id, cell.metadata = old.id, old.metadata
        if cell.cell_type == "code":
            # What a finished progress bar leaves behind.
            cell.outputs = [out for out in cell.outputs if out.get("text", "-").strip()]
            for figure in (out.get("data", {}) for out in cell.outputs):
                if "image/png" in figure:
                    figure["image/png"] = without_alpha(figure["image/png"])
    with atomic_path(path) as scratch:
        nbformat.write(notebook, scratch)


def without_alpha(png_base64: str) -> str:
    """Drop the alpha channel of an opaque figure: an eighth of its bytes."""
    image = Image.open(io.BytesIO(base64.b64decode(png_base64)))
    if image.mode != "RGBA" or image.getextrema()[3] != (255, 255):
        return png_base64
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def compare(profile: str, artifacts_dir: Path) -> list[str]:
    """Print and return the numbers that differ from those expected of a profile."""
    differ = expected.differences(profile, expected.measure(artifacts_dir))
    console = Console(stderr=True)
    if profile not in expected.read():
        console.print(f"Nothing to compare with: {profile} was never measured.")
    elif differ:
        console.print("[yellow]Not as in notebooks/expected.json:")
        for line in differ:
            console.print(f"  {line}", soft_wrap=True, highlight=False)
    else:
        console.print(f"All numbers are as expected of the profile {profile}.")
    return differ


def report(artifacts_dir: Path) -> None:
    """Print the table of results and where everything lies."""
    metrics = json.loads((artifacts_dir / "metrics.json").read_text())
    table = Table(
        title=f"{metrics['model_name']} on {metrics['test_photos']} test images"
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
