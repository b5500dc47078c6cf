"""Open the workers of a search: processes on this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.search import proxy


@contextlib.contextmanager
def open_executor(
    workers: int | None = None, scheduler: str | None = None
) -> Iterator[Executor]:
    """Yield an executor for `evolution.search` and close it afterwards.

    It has `workers` processes on this machine (by default one per core), or those of
    the Dask scheduler at the address `scheduler`.

    Raises:
        InputError: Dask is not installed, or no scheduler answers.
    """
    if not scheduler:
        yield from _local_pool(workers)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs Dask; pip install 'edgetpu_lib[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`"
        ) from error
    with client, client.get_executor() as executor:
        yield executor


def _local_pool(workers: int | None) -> Iterator[Executor]:
    """Yield a pool; an exception of the caller ends its processes at once."""
    others = multiprocessing.active_children()
    pool = proxy.worker_pool(workers)
    try:
        yield pool
    except BaseException:
        # Pending candidates are dropped; a training under way takes minutes.
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()
        raise
    pool.shutdown()
