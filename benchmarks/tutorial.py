"""Measure the tutorial: seconds of each notebook, peak memory of the largest process.

Times depend on the machine and on what else it does: compare runs on the same machine.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import nbformat
from rich.console import Console
from rich.table import Table

RUNNER = Path(__file__).resolve().parents[1] / "notebooks" / "run.py"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(options: tuple[str, ...]) -> None:
    """Run all notebooks in a temporary folder and print what it took.

    OPTIONS go to notebooks/run.py; its --help lists them.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, RUNNER, "--artifacts_dir", folder, *options]
        if code := subprocess.run(command).returncode:
            sys.exit(code)
        total = time.perf_counter() - start
        table = Table("notebook", "seconds", title="The tutorial, step by step")
        for path in sorted((Path(folder) / "executed").iterdir()):
            seconds = nbformat.read(path, as_version=4).metadata.papermill.duration
            table.add_row(path.stem, f"{seconds:.0f}")
    # The runner waits for its kernels, so the largest of them is among its children.
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    table.add_section()
    table.add_row("all", f"{total:.0f}")
    Console().print(table)
    Console().print(f"peak memory of the largest process: {peak_kib / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
