"""`check` and `estimate` run where there is no NumPy, as in a browser."""

import os
import subprocess
import sys

import pytest
import zoo

from edgetpu_lib.commands import main as cli

# A finder that comes first, and finds none of what is forbidden.
WITHOUT_NUMPY = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "flatbuffers", "ai_edge_litert"):
            raise ImportError(f"{name} is forbidden")

sys.meta_path.insert(0, Forbidden())
from edgetpu_lib.commands import main
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("build", [zoo.ready, zoo.not_raw_pixels, zoo.hard_swish])
@pytest.mark.parametrize("command", [["check", "--json"], ["estimate", "--json"]])
def test_same_result_without_numpy(build, command, tmp_path, capsys):
    path = tmp_path / "model.tflite"
    path.write_bytes(build())
    code = cli.main([*command, str(path)])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY, *command, str(path)],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONIOENCODING="utf-8"),
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == capsys.readouterr().out
