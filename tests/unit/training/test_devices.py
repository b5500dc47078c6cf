"""Work that several processes divide comes out as if one had done it."""

import json
import os
import subprocess
import sys
import threading

import pytest

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import tfrecord
from edgetpu_lib.training import devices


@pytest.fixture
def together(monkeypatch):
    """Return a function that runs a task in threads that take themselves for processes.

    It returns what each returned or raised. Real ones run in `test_train.py`.
    """

    def run(task, count):
        places, told = threading.local(), {}
        barrier = threading.Barrier(count, timeout=10)

        def gather(own):
            told[places.index] = json.dumps(own)
            barrier.wait()
            all_told = [json.loads(told[index]) for index in range(count)]
            barrier.wait()
            return all_told

        monkeypatch.setattr(devices, "process", lambda: (places.index, count))
        monkeypatch.setattr(devices, "_gather", gather)
        results = [None] * count

        def play(index):
            places.index = index
            try:
                results[index] = task()
            except InputError as error:
                results[index] = str(error)

        threads = [threading.Thread(target=play, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    return run


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_item_is_done_once_and_told_to_all(together, count):
    done = []

    def square(number):
        done.append(number)
        return [number * number]

    results = together(lambda: devices.map_divided(square, range(5)), count)
    assert results == [[[0], [1], [4], [9], [16]]] * count
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_an_error_of_one_is_raised_by_all(together):
    def fail(number):
        if number == 3:
            raise InputError("shard 3 is damaged")
        if number == 1:
            raise FileNotFoundError(2, "No such file", "shard 1")
        return number

    results = together(lambda: devices.map_divided(fail, range(5)), 3)
    assert results == ["shard 3 is damaged"] * 3
    results = together(lambda: devices.map_divided(fail, range(3)), 3)
    assert results == ["[Errno 2] No such file: 'shard 1'"] * 3


def test_processes_index_their_own_shards_and_know_all(
    together, shards, images, monkeypatch
):
    scanned = []
    scan = tfrecord.scan_shard
    monkeypatch.setattr(
        tfrecord,
        "scan_shard",
        lambda shard, **keys: scanned.append(shard.name) or scan(shard, **keys),
    )

    def open_train():
        return data.open_splits(shards, map_shards=devices.map_divided)["train"]

    alone = data.open_splits(shards)["train"]
    scanned.clear()
    for found in together(open_train, 2):
        assert found.paths == alone.paths
        assert found.labels.tolist() == alone.labels.tolist()
    assert len(scanned) == len(set(scanned)) == 4


WAIT = """
import time
from edgetpu_lib.training import devices
devices.end_with_launcher()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("is_launched", [True, False])
def test_processes_end_with_their_launcher(is_launched):
    environment = {**os.environ, **({devices.LAUNCHED: "1"} if is_launched else {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", WAIT]
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout.readline() == b"ready\n"
        process.stdin.close()
        try:
            process.wait(20 if is_launched else 1)
        except subprocess.TimeoutExpired:
            process.kill()
            assert not is_launched
        else:
            assert is_launched
