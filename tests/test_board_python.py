"""What runs on a board runs there: old and new Pythons, three packages, no more."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MINORS = range(9, 14)
PACKAGES = ["numpy", "pillow", "ai-edge-litert"]
MODULES = {"numpy", "PIL", "ai_edge_litert", "edgetpu_lib"}
CLASSIFY = f"""
import json, sys
from edgetpu_lib import deploy
from edgetpu_lib.board import diagnosis, options, system
(best,) = deploy.classify(*sys.argv[1:], top=1)
software = diagnosis.look_at_software(system.System())
diagnosis.look_at_devices(system.System(), options.DeviceOptions())
outside = {{
    name.split(".")[0]
    for name, module in list(sys.modules.items())
    if any(each in (getattr(module, "__file__", None) or "")
           for each in ("site-packages", {str(ROOT)!r}))
}}
print(json.dumps([best.label, software.findings[0].state, sorted(outside)]))
"""
IMPORT = "import sys; import edgetpu_lib.deploy; print(*sys.modules)"


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


@pytest.fixture(scope="module", params=["oldest", "newest"])
def board_python(request, tmp_path_factory):
    """Return a Python that has nothing but what a board has."""
    if not pythons():
        pytest.skip("there is no Python from 3.9 to 3.13")
    minor = (min if request.param == "oldest" else max)(pythons())
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


def test_a_board_classifies_with_three_packages(board_python, tmp_path):
    model, image = ROOT / "data/quickstart_quant.tflite", "data/samples/tulip_1.jpg"
    done = subprocess.run(
        [board_python, "-c", CLASSIFY, model, ROOT / image],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    label, runtime, outside = json.loads(done.stdout.splitlines()[-1])
    assert (label, runtime) == ("tulip", "right")
    # Pillow needs the last on Python 3.9.
    ours = {name for name in outside if not name.startswith("_")}
    assert ours - {"typing_extensions"} == MODULES


def test_deploy_starts_with_little():
    """Processor time varies; what is imported at the start does not."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    slow = "click tqdm keras tensorflow matplotlib ai_edge_litert importlib.metadata"
    slow += " asyncio multiprocessing unittest email http ssl"
    slow += " edgetpu_lib.board.delegate"
    assert not set(slow.split()) & set(done.stdout.split())
