"""Pythons as a board has them, each made once for all tests."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MINORS = range(9, 14)
PACKAGES = ["numpy", "pillow", "ai-edge-litert"]


@functools.cache
def pythons():
    """Return {minor version: path} of the Pythons 3.9 to 3.13 at hand."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for minor in MINORS:
        name = f"python3.{minor}"
        places = [*root.glob(f"3.{minor}.*/bin/{name}"), shutil.which(name)]
        for path in filter(None, places):
            asked = [str(path), "-c", "import sys, venv; print(sys.version_info[1])"]
            told = subprocess.run(asked, capture_output=True, text=True)
            # A stand-in of pyenv's may be there without its Python.
            if told.stdout.strip() == str(minor):
                found.setdefault(minor, str(path))
    return found


@pytest.fixture(scope="session")
def board_python(tmp_path_factory):
    """Return a function: "oldest" or "newest" to a Python with three packages alone."""

    @functools.cache
    def make(which):
        if not pythons():
            pytest.skip("there is no Python from 3.9 to 3.13")
        minor = {"oldest": min, "newest": max}[which](pythons())
        folder = tmp_path_factory.mktemp("board") / f"3.{minor}"
        made = [pythons()[minor], "-m", "venv", "--without-pip", folder]
        subprocess.run(made, check=True)
        python = folder / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        installed = subprocess.run(
            [*pip, "--python", python, "install", "--no-compile", *PACKAGES],
            capture_output=True,
            text=True,
            timeout=300,
        )
        if installed.returncode and "(from versions: none)" in installed.stderr:
            pytest.skip(f"no package index answers: {installed.stderr.strip()[-200:]}")
        assert installed.returncode == 0, installed.stderr[-1000:]
        return python

    return make
