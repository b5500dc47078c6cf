"""Results come in order, whatever finishes first, and no more wait than may."""

import threading
import time

import pytest

from edgetpu_lib.base import parallel


def test_results_keep_the_order_of_the_things():
    def slow_first(number):
        time.sleep(0.02 if number % 4 == 0 else 0)
        return number * number

    for workers in (1, 3):
        found = parallel.map_in_order(slow_first, range(20), workers=workers)
        assert list(found) == [number * number for number in range(20)]


def test_only_a_few_results_wait():
    taken = []

    def things():
        for number in range(100):
            taken.append(number)
            yield number

    stream = parallel.map_in_order(abs, things(), workers=2, ahead=5)
    next(stream)
    assert len(taken) <= 6
    stream.close()
    assert len(taken) <= 6


def test_several_threads_work_at_a_time():
    together = threading.Barrier(2, timeout=10)

    def wait(_):
        return together.wait()

    assert sorted(parallel.map_in_order(wait, range(2), workers=2)) == [0, 1]


def test_an_error_comes_after_the_results_before_it():
    stream = parallel.map_in_order(lambda n: 1 / n, [4, 2, 0, 1], workers=2)
    assert [next(stream), next(stream)] == [0.25, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_there_is_a_core():
    assert parallel.cores() >= 1
