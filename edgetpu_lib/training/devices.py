"""Train on several devices and machines: data parallel, by Keras on JAX.

Batch normalisation is over the global batch, so that the number of devices changes
nothing but rounding.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from edgetpu_lib.base.artifacts import InputError

# In the environment of processes that `start_processes` started.
LAUNCHED = "EDGETPU_LIB_LAUNCHED"


def process() -> tuple[int, int]:
    """Return this process's index and the number of processes that train together."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def distribute(
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> int:
    """Join the other processes and use all devices; return the number of devices.

    Every model built afterwards has a copy on each device.

    Args:
        coordinator: address and port of the first process, "10.0.0.2:8476"; "auto" on
            a TPU pod slice, where JAX finds all three; `None` for a single process.
        processes: number of processes.
        process_id: of this process, from 0.

    Raises:
        InputError: Keras runs on another backend than JAX.
    """
    if keras.backend.backend() != "jax":
        raise InputError(
            f"several devices need JAX, Keras runs on {keras.backend.backend()}; set"
            " KERAS_BACKEND=jax and install jax for your devices"
        )
    if coordinator == "auto":
        keras.distribution.initialize()
    elif coordinator:
        keras.distribution.initialize(coordinator, processes, process_id)
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    return int(distribution.device_mesh.devices.size)


def map_divided(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Apply a function to items that the processes divide; return all results in order.

    Every process must call it with the same items, gets all results, and raises the
    error of any. Results must be serializable as JSON.

    Raises:
        InputError: a process failed with an `InputError` or `OSError`.
    """
    index, count = process()
    if count == 1:
        return list(map(function, items))
    own: dict[str, Any] = {"results": [], "error": None}
    try:
        for item in itertools.islice(items, index, None, count):
            own["results"].append(function(item))
    except (InputError, OSError) as error:
        # Raised now, it would leave the others waiting.
        own["error"] = str(error)
    told = _gather(own)
    for share in told:
        if share["error"]:
            raise InputError(share["error"])
    total = sum(len(share["results"]) for share in told)
    return [told[n % count]["results"][n // count] for n in range(total)]


def _gather(own: Any) -> list[Any]:
    """Return the JSON values of all processes, in their order."""
    from jax.experimental import multihost_utils

    encoded = np.frombuffer(json.dumps(own).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(encoded)))
    # All must give arrays of one shape.
    padded = np.pad(encoded, (0, sizes.max() - len(encoded)))
    rows = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)
    ]


def end_with_launcher() -> None:
    """End this process, if `start_processes` started it, when the launcher has ended.

    The launcher holds the other end of the standard input, and writes nothing.
    """

    def wait() -> None:
        # Not `sys.stdin`: at the end, Python fails on its lock.
        while os.read(0, 1024):
            pass
        os._exit(1)

    if os.environ.pop(LAUNCHED, ""):
        threading.Thread(target=wait, daemon=True).start()


def start_processes(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m edgetpu_lib` in several processes that train together.

    Each gets `--coordinator` and `--process_id`. Only the first one's output is shown;
    if one fails the others are stopped, and if this process is killed, all are.

    Returns:
        The exit code of the first that failed, or 0.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "edgetpu_lib", *arguments]
    command.append(f"--coordinator={coordinator}")
    hidden = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [*command, f"--process_id={number}"],
            env={**os.environ, "KERAS_BACKEND": "jax", LAUNCHED: "1"},
            stdin=subprocess.PIPE,
            **(hidden if number else {}),
        )
        for number in range(processes)
    ]
    pool = concurrent.futures.ThreadPoolExecutor(processes)
    try:
        ends = [pool.submit(child.wait) for child in started]
        codes = (end.result() for end in concurrent.futures.as_completed(ends))
        return next(filter(None, codes), 0)
    finally:
        for child in started:
            child.terminate()
        pool.shutdown()
