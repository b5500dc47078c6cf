"""What keeps a notebook from running is named, with a remedy; nothing else is."""

import subprocess
import sys
import types

import pytest

from edgetpu_lib.base import environment

NEEDED = ["tensorflow>=2.19,<3", "keras>=3.10,<4", 'sphinx==9.0.4; extra == "site"']
GOOD = {"tensorflow": "2.19.0", "keras": "3.10.0"}


def test_nothing_is_wrong_here():
    assert environment.find_problems() == []


def test_fitting_versions_are_no_trouble_and_extras_are_not_needed():
    assert environment.version_problems(NEEDED, GOOD) == []


def test_all_missing_libraries_are_named_in_one_sentence():
    (found,) = environment.version_problems(NEEDED, {})
    # The order of a range's two halves is nobody's business.
    assert '"tensorflow' in found
    assert '"keras' in found
    assert "sphinx" not in found


@pytest.mark.parametrize(
    ("name", "version"),
    [("tensorflow", "2.15.1"), ("keras", "2.15.0"), ("tensorflow", "3.0.0")],
    ids=["old TensorFlow", "Keras 2", "next TensorFlow"],
)
def test_an_unfit_version_is_named_with_the_range(name, version):
    (found,) = environment.version_problems(NEEDED, GOOD | {name: version})
    assert found.startswith(f"{name} {version}")
    assert "pip install" in found
    assert "restart" in found


def test_a_nightly_version_within_the_range_is_let_pass():
    installed = GOOD | {"tensorflow": "2.22.0.dev20261101"}
    assert environment.version_problems(NEEDED, installed) == []


@pytest.mark.parametrize("running", ["3.10.14", "3.14.0", "3.9.2"])
def test_another_python_is_named_with_the_range(running):
    (found,) = environment.python_problems(">=3.11,<3.14", running)
    assert running in found
    assert "3.11" in found


@pytest.mark.parametrize("running", ["3.11.0", "3.12.7", "3.13.1"])
def test_a_fitting_python_is_no_trouble(running):
    assert environment.python_problems(">=3.11,<3.14", running) == []


def test_a_library_that_was_replaced_after_its_import_asks_for_a_restart():
    loaded = {"numpy": "2.0.2", "keras": "3.15.1"}
    installed = {"numpy": "2.4.6", "keras": "3.15.1", "scipy": "1.17.1"}
    (found,) = environment.restart_problems(installed, loaded)
    assert found.startswith("numpy 2.0.2")
    assert "2.4.6" in found
    assert "restart the kernel" in found


def test_builds_of_one_version_are_one_version():
    installed, loaded = {"tensorflow": "2.19.0+nv25.1"}, {"tensorflow": "2.19.0"}
    assert environment.restart_problems(installed, loaded) == []


def test_loaded_versions_are_those_of_imported_modules(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", types.SimpleNamespace(__version__="9.9.9"))
    monkeypatch.setitem(sys.modules, "strange", types.SimpleNamespace(__version__=7))
    monkeypatch.delitem(sys.modules, "distributed", raising=False)
    names = ["pillow", "strange", "distributed"]
    assert environment.loaded_versions(names) == {"pillow": "9.9.9"}


@pytest.mark.parametrize(
    ("version", "expected"), [("2.22.0", 1), ("2.21.9", 0), ("2.20.0", 0)]
)
def test_only_a_newer_second_number_is_remarked(monkeypatch, version, expected):
    monkeypatch.setattr(environment, "TESTED", {"tensorflow": "2.21.0"})
    found = environment.newer_than_tested({"tensorflow": version, "numpy": "9.0.0"})
    assert len(found) == expected
    assert all(version in remark for remark in found)


def test_a_clone_that_is_only_on_the_path_is_let_pass(tmp_path):
    # Nothing of the environment, so that no record of an installation is found.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from edgetpu_lib.base import environment; print(environment.find_problems())"
    )
    root = environment.__file__.split("edgetpu_lib")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, root],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "[]", done.stderr
