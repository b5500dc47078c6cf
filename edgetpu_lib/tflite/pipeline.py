"""Run the segments of a model one after another, or each in a thread of its own."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.tflite.compiled import is_compiled
from edgetpu_lib.tflite.file import read_bytes
from edgetpu_lib.tflite.trial import require_running

Thing = TypeVar("Thing")
# Name of a tensor → its values.
Tensors = dict

# Things between two stages: a stage that is done finds the next one waiting.
_WAITING = 2


class Stage:
    """An opened segment: calling it adds its outputs to the tensors it is given."""

    def __init__(self, opened: Any, name: str) -> None:
        """Take an interpreter, and the name of its file for messages."""
        self.opened, self.name = opened, name
        self.inputs = {t["name"]: t["index"] for t in opened.get_input_details()}
        self.outputs = {t["name"]: t["index"] for t in opened.get_output_details()}

    def __call__(self, tensors: Tensors) -> Tensors:
        """Return the given tensors and the outputs of this segment, by name.

        Raises:
            InputError: a tensor is missing or of another shape or type, or the runtime
                fails.
        """
        if missing := self.inputs.keys() - tensors.keys():
            raise InputError(
                f"{self.name} takes {', '.join(sorted(missing))}, which is not there;"
                " give all segments of one model, in order"
            )
        try:
            for name, index in self.inputs.items():
                self.opened.set_tensor(index, tensors[name])
            self.opened.invoke()
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{self.name} cannot be run ({reason}); split the model again"
            ) from error
        made = {n: self.opened.get_tensor(i) for n, i in self.outputs.items()}
        return {**tensors, **made}


def open_stage(
    model: str | Path | bytes,
    *,
    threads: int | None = 1,
    device: DeviceOptions = interpreter.ANY_DEVICE,
) -> Stage:
    """Open a TFLite file of any inputs and outputs as a stage of a pipeline.

    Call it in the main thread only, as `interpreter.start`.

    Args:
        model: path or bytes of a `.tflite` file; bytes are trusted not to crash.
        threads: CPU threads; `None` leaves the choice to the runtime.
        device: the Edge TPU that runs a compiled file; in a pipeline each has its own,
            such as usb:0 and usb:1.

    Raises:
        InputError: the file cannot be read or run.
    """
    name, content = read_bytes(model)
    if not isinstance(model, bytes) and not is_compiled(content):
        require_running(model, content)
    opened = interpreter.start(content, name=name, threads=threads, device=device)
    return Stage(opened, name)


def run_in_turn(stages: Iterable[Callable[[Thing], Thing]], thing: Thing) -> Thing:
    """Pass one thing through all stages."""
    for stage in stages:
        thing = stage(thing)
    return thing


def run_pipeline(
    stages: Sequence[Callable[[Thing], Thing]], things: Iterable[Thing]
) -> Iterator[Thing]:
    """Yield each thing after all stages, in order; every stage has a thread.

    While one stage works on a thing, the stage before works on the next. An exception
    of a stage is raised in the place of its result; it ends the pipeline, and so do an
    exception of `things` and Ctrl-C: what waits is dropped, running stages end first.

    Args:
        stages: functions; each is called by one thread only.
        things: taken a few at a time, so that they may be endless.
    """
    workers = [ThreadPoolExecutor(1) for _ in stages]
    waiting: collections.deque[Future] = collections.deque()
    try:
        for thing in things:
            waiting.append(_send(thing, stages, workers))
            if len(waiting) > _WAITING * len(stages):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for worker in workers:
            worker.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.shutdown()


def _send(
    thing: Thing,
    stages: Sequence[Callable[[Thing], Thing]],
    workers: Sequence[ThreadPoolExecutor],
) -> Future:
    """Queue a thing at all stages and return what the last will give."""
    done: Future = Future()
    done.set_result(thing)
    for position, stage in enumerate(stages):
        done = workers[position].submit(_after, stage, done)
    return done


def _after(stage: Callable[[Thing], Thing], before: Future) -> Thing:
    return stage(before.result())


def noise_for(stage: Stage, *, seed: int = 0) -> Tensors:
    """Return random values for each input of a stage, of its shape and type.

    All values of a type of 8 bits, 0..1 of floats, zeros of other types.
    """
    rng = np.random.default_rng(seed)
    return {
        details["name"]: _noise(rng, details["shape"], np.dtype(details["dtype"]))
        for details in stage.opened.get_input_details()
    }


def _noise(
    rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype
) -> np.ndarray:
    if dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max + 1, shape, dtype)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return np.zeros(shape, dtype)


def require_equal(model: str | Path | bytes, segments: Iterable[bytes]) -> None:
    """Run a model and its segments on the same noise, on this CPU.

    Raises:
        InputError: the model cannot be run, or an output differs in a bit.
    """
    whole = open_stage(model)
    noise = noise_for(whole)
    expected = whole(noise)
    found = run_in_turn(map(open_stage, segments), noise)
    for name in whole.outputs:
        if not np.array_equal(expected[name], found.get(name)):
            raise InputError(
                f"the segments of {whole.name} give another {name} than the whole;"
                " please report this, and use the compiler's --num_segments"
            )
