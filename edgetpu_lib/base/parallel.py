"""Apply a function to many items by threads, in order and in constant memory."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Thing, Result = TypeVar("Thing"), TypeVar("Result")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Thing], Result],
    things: Iterable[Thing],
    *,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yield `function(thing)` for each thing, computed by threads.

    Threads suffice: decoders and networks release Python's global lock. An exception of
    `function` or `things` is raised after all results before it.

    Args:
        function: thread-safe.
        things: taken a few at a time.
        workers: number of threads; `None` takes one a core.
        ahead: results that may wait; `None` takes four a thread.
    """
    workers = workers or cores()
    waiting: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for thing in things:
                waiting.append(pool.submit(function, thing))
                if len(waiting) > (ahead or 4 * workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
