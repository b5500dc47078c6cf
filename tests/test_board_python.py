"""What runs on a board runs there: old and new Pythons, three packages, no more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_a_board_classifies_with_three_packages(board_python, tmp_path, which):
    model, image = ROOT / "data/quickstart_quant.tflite", "data/samples/tulip_1.jpg"
    done = subprocess.run(
        [board_python(which), "-c", CLASSIFY, model, ROOT / image],
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
