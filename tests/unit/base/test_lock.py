"""A folder is held by one run at a time, and by none when its process has ended."""

import concurrent.futures
import subprocess
import sys
import threading
import time

from edgetpu_lib.base import artifacts
from edgetpu_lib.base.lock import exclusive

HOLD = """
import sys
from edgetpu_lib.base.lock import exclusive
with exclusive(sys.argv[1], wait_s=0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_run_waits_and_a_killed_one_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with exclusive(tmp_path, wait_s=0.1) as is_held:
            assert not is_held
        other.kill()
    with exclusive(tmp_path, wait_s=1) as is_held:
        assert is_held
    assert list(tmp_path.iterdir()) == []


def test_same_thread_may_take_it_again_and_others_not(tmp_path):
    def take():
        with exclusive(tmp_path, wait_s=0) as is_held:
            return is_held

    with exclusive(tmp_path, wait_s=0) as first, exclusive(tmp_path, wait_s=0) as again:
        assert first and again
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert pool.submit(take).result() is False
    assert take()


def test_two_runs_with_one_output_leave_one_of_them_whole(tmp_path):
    target, together = tmp_path / "model", threading.Barrier(4)

    def write(number):
        together.wait()
        for _ in range(10):
            with (
                artifacts.one_writer(target),
                artifacts.atomic_path(target) as scratch,
            ):
                scratch.mkdir()
                (scratch / "weights").write_text(str(number))
                time.sleep(0.001)
            with artifacts.atomic_path(target) as scratch:
                scratch.mkdir()
                (scratch / "weights").write_text(str(number))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (target / "weights").read_text() in "0123"
    assert list(tmp_path.iterdir()) == [target]


def test_file_and_metadata_are_of_one_run(tmp_path):
    target, together = tmp_path / "model.tflite", threading.Barrier(4)

    def write(number):
        together.wait()
        for _ in range(5):
            with artifacts.one_writer(target):
                artifacts.write_file(target, str(number).encode())
                artifacts.save_metadata(target, number=number)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    metadata = artifacts.read_metadata(target)
    assert metadata["sha256"] == artifacts.sha256_of(target)
    assert str(metadata["number"]) == target.read_text()
