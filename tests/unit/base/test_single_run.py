"""Two runs do not write one output at the same time."""

import subprocess
import sys

import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.single_run import only_run

HOLD = """
import sys, time
from edgetpu_lib.base.single_run import only_run
with only_run(sys.argv[1]):
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


def test_second_run_names_the_first(holder, tmp_path):
    with pytest.raises(InputError) as caught, only_run(tmp_path / "out"):
        pass
    assert str(tmp_path / "out") in str(caught.value)
    assert f"process {holder.pid}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_killed_run_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    with only_run(tmp_path / "out"):
        pass


def test_folder_without_results_is_not_left(tmp_path):
    with only_run(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_results_and_earlier_folders_stay(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with pytest.raises(KeyError), only_run(tmp_path / name):
            (tmp_path / name / "result").touch()
            raise KeyError
        assert [path.name for path in (tmp_path / name).iterdir()] == ["result"]


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"), only_run(tmp_path / "file"):
        pass
