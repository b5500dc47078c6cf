"""Run TFLite files with whichever runtime is installed; needs no TensorFlow."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import queue
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.images.normalization import MEAN, STDDEV
from edgetpu_lib.images.pixels import normalize
from edgetpu_lib.tflite.contract import TensorContract, takes_raw_pixels
from edgetpu_lib.tflite.file import read_bytes
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR

Thing, Result = TypeVar("Thing"), TypeVar("Result")

_RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
# Source: google-coral/pycoral, pycoral/utils/edgetpu.py.
_EDGE_TPU_LIBRARIES = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}


@dataclasses.dataclass(frozen=True)
class Latency:
    """Percentiles of the duration of one inference, milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


def open_interpreter(model: str | Path | bytes, *, threads: int | None = None) -> Any:
    """Return an interpreter of a classifier: one image in, scores out.

    Args:
        model: path or bytes of a `.tflite` file.
        threads: CPU threads; `None` leaves the choice to the runtime.

    Raises:
        InputError: no runtime is installed, or the model cannot be used.
    """
    # The runtime crashes on some files that are not FlatBuffers at all.
    name, content = read_bytes(model)
    interpreter = start(content, name=name, threads=threads)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [[int(n) for n in tensor["shape"]] for tensor in (*inputs, *outputs)]
    one_image_in = len(inputs) == 1 and len(shapes[0]) == 4 and shapes[0][3] == 3
    # All but the last axis of the scores hold one entry.
    scores_out = len(outputs) == 1 and max(shapes[-1][:-1], default=1) == 1
    if not (one_image_in and scores_out):
        raise InputError(
            f"{name} is not an image classifier: its tensors are {shapes}; give a"
            " model with one RGB image in and scores out"
        )
    return interpreter


def start(content: bytes, *, name: str = "the model", threads: int | None = 1) -> Any:
    """Return an interpreter of any file with its tensors allocated.

    Call it in the main thread only: the runtime is silenced for the whole process.

    Args:
        content: bytes of a `.tflite` file; compiled for the Edge TPU, it runs there.
        name: for messages.
        threads: CPU threads; `None` leaves the choice to the runtime.

    Raises:
        InputError: no runtime is installed, no device answers, or the runtime refuses
            the file.
    """
    runtime = _runtime()
    delegates = _edge_tpu(runtime, name) if is_compiled(content) else None
    try:
        with quiet_native():
            interpreter = runtime.Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_delegates=delegates,
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(
            f"{name} cannot be run ({first_line}); convert the model again"
        ) from error
    return interpreter


def pool(runners: Iterable[Callable[[Thing], Result]]) -> Callable[[Thing], Result]:
    """Return a function that threads may call at the same time.

    Each call borrows one of the runners, or waits for one: an interpreter works on one
    image at a time. The runners, one for each interpreter, are opened in this thread,
    because silencing the runtime is not thread-safe.
    """
    idle = queue.SimpleQueue()
    for runner in runners:
        idle.put(runner)

    def run(thing: Thing) -> Result:
        borrowed = idle.get()
        try:
            return borrowed(thing)
        finally:
            idle.put(borrowed)

    return run


def is_compiled(content: bytes) -> bool:
    """Return whether a file is compiled for the Edge TPU."""
    return COMPILED_OPERATOR.encode() in content


def _edge_tpu(runtime: Any, name: str) -> list:
    """Return the delegate that runs a compiled file on an attached Edge TPU."""
    library = _EDGE_TPU_LIBRARIES.get(sys.platform, "libedgetpu.so.1")
    try:
        # Loaded first, as a delegate without its library raises again when deleted.
        ctypes.CDLL(library)
        with quiet_native():
            return [runtime.load_delegate(library)]
    except (ValueError, OSError) as error:
        raise InputError(
            f"{name} is compiled for the Edge TPU and cannot run on this CPU: no"
            f" device answers through {library}; attach one and install its runtime,"
            " or give the file before compilation (without `_edgetpu` in its name)"
        ) from error


def _runtime():
    for name in _RUNTIMES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise InputError(
        "no TFLite runtime is installed; run `pip install ai-edge-litert`, or on a"
        " board `pip install tflite-runtime`"
    )


def input_contract(interpreter: Any) -> TensorContract:
    """Return type, shape and quantization of the model's input."""
    return _contract(interpreter.get_input_details()[0])


def output_contract(interpreter: Any) -> TensorContract:
    """Return type, shape and quantization of the model's scores."""
    return _contract(interpreter.get_output_details()[0])


def _contract(details: dict) -> TensorContract:
    scale, zero_point = details["quantization"]
    return TensorContract(
        dtype=np.dtype(details["dtype"]).name,
        shape=tuple(int(n) for n in details["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def quantize_input(
    pixels: np.ndarray,
    contract: TensorContract,
    *,
    mean: float | Sequence[float] = MEAN,
    stddev: float | Sequence[float] = STDDEV,
) -> np.ndarray:
    """Convert pixels to the type and quantization of the input tensor.

    Args:
        pixels: [size, size, 3], RGB, 0..255, bicubic overshoot allowed.
        contract: of the model's input. With scale 1/128 and zero point 127 the raw
            pixels are the quantized input.
        mean: of the model's training, as `pixels.normalize` takes it.
        stddev: likewise.

    Returns:
        [1, size, size, 3] of the contract's dtype.
    """
    if not contract.scale:
        return normalize(pixels, mean, stddev)[None].astype(contract.dtype)
    limits = np.iinfo(contract.dtype)
    if takes_raw_pixels(contract, mean=mean, stddev=stddev):
        steps = np.rint(pixels) + limits.min
    else:
        reals = normalize(pixels, mean, stddev)
        steps = np.rint(reals / np.float32(contract.scale)) + contract.zero_point
    return np.clip(steps, limits.min, limits.max).astype(contract.dtype)[None]


def run(interpreter: Any, pixels: np.ndarray, **preprocessing: Any) -> np.ndarray:
    """Classify one image.

    Args:
        interpreter: from `open_interpreter`.
        pixels: [size, size, 3], RGB, 0..255, of the model's size.
        **preprocessing: `mean` and `stddev`, as `quantize_input`.

    Returns:
        Dequantized scores: float32 [classes].
    """
    details_in = interpreter.get_input_details()[0]
    details_out = interpreter.get_output_details()[0]
    fed = quantize_input(pixels, _contract(details_in), **preprocessing)
    interpreter.set_tensor(details_in["index"], fed)
    interpreter.invoke()
    scores = interpreter.get_tensor(details_out["index"]).ravel().astype(np.float32)
    contract = _contract(details_out)
    if contract.scale:
        # Widened to float before the subtraction: uint8 would wrap around.
        scores = (scores - contract.zero_point) * np.float32(contract.scale)
    return scores


def measure_latency(interpreter: Any, *, runs: int = 30) -> Latency:
    """Time the inference of an interpreter from `open_interpreter` on this CPU."""
    size = input_contract(interpreter).shape[1:3]
    rng = np.random.default_rng(0)
    run(interpreter, rng.integers(0, 256, (*size, 3), np.uint8))
    return time_calls(interpreter.invoke, runs=runs)


def time_calls(call: Callable[[], Any], *, runs: int = 30) -> Latency:
    """Time `runs` calls of a function after three calls that warm it up."""
    times_ms = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        call()
        times_ms.append(1000 * (time.perf_counter() - start))
    return Latency(*map(float, np.percentile(times_ms[3:], [50, 90, 99])))
