"""A pipeline keeps the order, ends with the first error, and can be interrupted."""

import itertools
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.tflite import cut, pipeline

SMALL = data_file("quickstart_quant.tflite")


def test_results_come_in_order_whatever_each_stage_takes():
    rng = np.random.default_rng(0)
    pauses = rng.uniform(0, 0.003, (30, 3))

    def stage(position):
        def call(thing):
            time.sleep(pauses[thing[0], position])
            return (*thing, position)

        return call

    found = pipeline.run_pipeline(
        [stage(p) for p in range(3)], [(n,) for n in range(30)]
    )
    assert list(found) == [(n, 0, 1, 2) for n in range(30)]


def test_stages_work_at_the_same_time():
    # The first stage with 1 and the second with 0 wait for each other.
    meeting = threading.Barrier(2, timeout=10)

    def stage(number):
        def call(thing):
            if thing == number:
                meeting.wait()
            return thing

        return call

    assert list(pipeline.run_pipeline([stage(1), stage(0)], range(3))) == [0, 1, 2]


def test_an_error_of_a_stage_ends_the_pipeline_in_its_place():
    seen = []

    def stage(thing):
        seen.append(thing)
        if thing == 3:
            raise InputError("three")
        return thing

    results = pipeline.run_pipeline(
        [lambda t: t, stage, lambda t: t], itertools.count()
    )
    found = []
    with pytest.raises(InputError, match="three"):
        for thing in results:
            found.append(thing)
    assert found == [0, 1, 2]
    assert len(seen) < 20


def test_an_error_of_the_source_ends_the_pipeline():
    def source():
        yield 1
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        list(pipeline.run_pipeline([lambda t: t], source()))


def test_no_thread_is_left():
    before = threading.active_count()
    results = pipeline.run_pipeline([lambda t: t] * 3, itertools.count())
    assert next(results) == 0
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


ENDLESS = """
import itertools, time
from edgetpu_lib.tflite import pipeline

def slow(thing):
    time.sleep(0.01)
    return thing

for thing in pipeline.run_pipeline([slow, slow], itertools.count()):
    print(thing, flush=True)
"""


def test_an_interrupt_ends_the_pipeline(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert program.stdout.readline() == "0\n"
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    assert program.returncode != 0


def test_segments_in_threads_equal_the_whole():
    content = SMALL.read_bytes()
    whole = pipeline.open_stage(SMALL)
    stages = [pipeline.open_stage(part) for part in cut.cut(content, [13, 40])]
    noise = [pipeline.noise_for(whole, seed=seed) for seed in range(8)]
    (output,) = whole.outputs
    expected = [whole(each)[output] for each in noise]
    found = pipeline.run_pipeline(stages, noise)
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one, other[output])
    assert len({values.tobytes() for values in expected}) > 1


def test_segments_in_the_wrong_order_are_named(tmp_path):
    first, second = cut.cut(SMALL.read_bytes(), [31])
    stages = [pipeline.open_stage(each) for each in (second, first)]
    noise = pipeline.noise_for(pipeline.open_stage(SMALL))
    with pytest.raises(InputError, match="in order"):
        pipeline.run_in_turn(stages, noise)


def test_values_that_do_not_fit_are_refused():
    stage = pipeline.open_stage(SMALL)
    (name,) = stage.inputs
    with pytest.raises(InputError, match="cannot be run"):
        stage({name: np.zeros((1, 5, 5, 3), np.uint8)})


def test_a_difference_to_the_whole_is_found():
    content = SMALL.read_bytes()
    pipeline.require_equal(content, cut.cut(content, [31]))
    first, second = cut.cut(content, [31])
    damaged = bytearray(second)
    # In the middle of the weights.
    damaged[len(second) // 2 : len(second) // 2 + 20_000] = bytes(20_000)
    with pytest.raises(InputError):
        pipeline.require_equal(content, [first, bytes(damaged)])
