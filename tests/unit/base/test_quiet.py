"""Native chatter is silenced, what Python says is not, and everything is put back."""

import os
import subprocess
import sys

import pytest

from edgetpu_lib.base.quiet import quiet_native, start_tensorflow


def test_native_errors_are_silenced_and_come_back(capfd):
    with quiet_native():
        os.write(2, b"chatter")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_native_errors_come_back_after_a_failure(capfd):
    with pytest.raises(RuntimeError), quiet_native():
        os.write(2, b"chatter")
        raise RuntimeError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_output_is_not_silenced(capfd):
    with quiet_native():
        os.write(1, b"answer")
    assert capfd.readouterr().out == "answer"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_file_stays_open():
    with quiet_native():
        pass
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with quiet_native():
            pass
    assert sorted(os.listdir("/proc/self/fd")) == before


MIXED = """
import os, sys
from edgetpu_lib.base.quiet import quiet_native
print("one", file=sys.stderr)
with quiet_native():
    os.write(2, b"chatter")
    print("two", file=sys.stderr)
    with quiet_native():
        print("three", file=sys.stderr)
print("four", file=sys.stderr)
"""


def test_python_messages_pass_in_order(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MIXED], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr.split() == ["one", "two", "three", "four"]


LOGGED = """
import logging
from edgetpu_lib.base.quiet import quiet_native
for number in range(2):
    with quiet_native():
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        logging.error("during %d", number)
    logging.error("after %d", number)
    logging.getLogger().removeHandler(handler)
"""


def test_log_handlers_made_meanwhile_write_afterwards(tmp_path):
    """TensorFlow's own is made at the first import."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGED], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    lines = ["during 0", "after 0", "during 1", "after 1"]
    assert done.stderr.splitlines() == lines


def test_tensorflow_starts(capfd):
    tensorflow = start_tensorflow()
    assert tensorflow.__name__ == "tensorflow"
    assert capfd.readouterr() == ("", "")


def test_onednn_is_chosen_before_tensorflow_starts(tmp_path):
    """The choice is read once, when TensorFlow is imported."""
    code = (
        "import sys; from edgetpu_lib.base import quiet;"
        "from edgetpu_lib.commands import fine_tune, train; quiet.prefer_onednn();"
        "assert not {'keras', 'tensorflow'} & set(sys.modules);"
        "import os; assert os.environ['TF_ENABLE_ONEDNN_OPTS'] == '1'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
