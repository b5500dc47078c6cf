"""Start the runner of the notebooks, with a network or without."""

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "notebooks" / "run.py"
# A network of its own, in which there is nothing.
CUT_OFF = ["unshare", "--map-root-user", "--net"]


@dataclasses.dataclass(frozen=True)
class Chain:
    """What is left of the run: the artefacts, and what it wrote to its streams."""

    folder: Path
    stdout: str
    stderr: str
    cut_off: bool


@functools.cache
def can_cut_off():
    """Return whether this system lets a process give up its network."""
    try:
        return subprocess.run([*CUT_OFF, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def start_runner(*arguments, before=(), **settings):
    return subprocess.run(
        [*before, sys.executable, RUNNER, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1200,
        **settings,
    )
