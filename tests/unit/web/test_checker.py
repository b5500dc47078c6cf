"""The checker's folder: its Python sources are enough, and it is whole or not there."""

import io
import json
import re
import subprocess
import sys
import zipfile

import pytest

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.commands.main import main
from edgetpu_lib.costs.constants import DEVICES
from edgetpu_lib.hardware import operator_rules
from edgetpu_lib.web import checker

MODEL = data_file("quickstart_quant.tflite")
# As in a browser: without threads.
RUN = """
import sys, threading

def start(_):
    raise RuntimeError("can't start new thread")

sys.platform, threading.Thread.start = "emscripten", start
sys.path.insert(0, sys.argv[1])
from edgetpu_lib.commands.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    with zipfile.ZipFile(io.BytesIO(checker.packed_sources())) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def without_npm(tmp_path, monkeypatch):
    """Stand in for Pyodide."""
    package = tmp_path / "package"
    package.mkdir()
    for name in checker.PYODIDE_FILES:
        (package / name).write_bytes(name.encode())
    monkeypatch.setattr(checker, "npm_package", lambda *_: package)


@pytest.mark.parametrize(
    "words", [("check",), *(("estimate", f"--device={name}") for name in DEVICES)]
)
def test_the_packed_sources_need_the_standard_library_alone(sources, words, capsys):
    words = [*words, "--json", str(MODEL)]
    # Isolated, and without installed packages: as in the browser.
    alone = [sys.executable, "-I", "-S", "-c", RUN, str(sources), *words]
    done = subprocess.run(alone, capture_output=True, text=True)
    assert done.stderr == ""
    assert main(words) == done.returncode
    assert json.loads(done.stdout) == json.loads(capsys.readouterr().out)


def test_the_same_sources_give_the_same_archive():
    assert checker.packed_sources() == checker.packed_sources()


def test_every_code_of_a_rule_has_one_explanation():
    found = re.findall(r'<h2 id="([\w-]+)">', checker.explanations())
    assert sorted(found) == sorted({rule.code for rule in operator_rules.rules()})


def test_the_folder_is_whole(without_npm, tmp_path):
    folder = tmp_path / "site" / "checker"
    written = checker.write_checker(folder)
    assert set(written) == {path for path in folder.rglob("*") if path.is_file()}
    names = {path.relative_to(folder).as_posix() for path in written}
    for path in (folder / "index.html", folder / "explanations.html"):
        linked = re.findall(r'(?:src|href)="([\w.]+)"', path.read_text("utf-8"))
        assert linked
        assert set(linked) <= names


def test_the_page_knows_devices_and_bytes_to_load(without_npm, tmp_path):
    folder = tmp_path / "checker"
    checker.write_checker(folder)
    text = (folder / "settings.js").read_text("utf-8")
    settings = json.loads(text.removeprefix("export default ").removesuffix(";\n"))
    assert settings["devices"].keys() == DEVICES.keys()
    counted = ("python.zip", *checker.PYODIDE_FILES)
    counted = [name for name in counted if not name.endswith(".mjs")]
    sizes = [(folder / name).stat().st_size for name in counted]
    assert settings["load_bytes"] == sum(sizes)


def test_the_command_writes_the_folder(without_npm, tmp_path, capsys):
    folder = tmp_path / "checker"
    assert main(["page", "--checker", f"--output={folder}"]) == 0
    assert str(folder) in capsys.readouterr().out
    assert (folder / "index.html").is_file()


def test_without_pyodide_nothing_is_written(tmp_path, monkeypatch):
    def fail(*_):
        raise InputError("no npm")

    monkeypatch.setattr(checker, "npm_package", fail)
    with pytest.raises(InputError, match="no npm"):
        checker.write_checker(tmp_path / "checker")
    assert not (tmp_path / "checker").exists()
