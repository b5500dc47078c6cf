"""Run TFLite files with whichever runtime is installed; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import queue
import re
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.board.runtime import RUNTIMES, cannot_start, import_runtime
from edgetpu_lib.tflite.compiled import before_compilation, is_compiled, needed_runtime
from edgetpu_lib.tflite.contract import TensorContract, takes_raw_pixels
from edgetpu_lib.tflite.feed import dequantize, quantize_input
from edgetpu_lib.tflite.file import read_bytes
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR
from edgetpu_lib.tflite.trial import require_running

# What is called as `interpreter.…`.
__all__ = ["TensorContract", "quantize_input", "takes_raw_pixels"]

Thing, Result = TypeVar("Thing"), TypeVar("Result")

ANY_DEVICE = DeviceOptions()
# Interpreters of compiled files: opening a device again takes seconds, or fails.
_OPENED: dict[tuple, Any] = {}


@dataclasses.dataclass(frozen=True)
class Latency:
    """Percentiles of the duration of one inference, milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


def open_interpreter(
    model: str | Path | bytes,
    *,
    threads: int | None = None,
    device: DeviceOptions = ANY_DEVICE,
) -> Any:
    """Return an interpreter of a classifier: one image in, scores out.

    Args:
        model: path or bytes of a `.tflite` file.
        threads: CPU threads; `None` leaves the choice to the runtime.
        device: the Edge TPU that runs a compiled file.

    Raises:
        InputError: no runtime is installed, or the model cannot be used. A file that
            would crash the runtime is refused; bytes are trusted not to.
    """
    # The runtime crashes on some files that are not FlatBuffers at all.
    name, content = read_bytes(model)
    if not isinstance(model, bytes) and not is_compiled(content):
        require_running(model, content)
    interpreter = start(content, name=name, threads=threads, device=device)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [[int(n) for n in tensor["shape"]] for tensor in (*inputs, *outputs)]
    kinds = [np.dtype(tensor["dtype"]) for tensor in (*inputs, *outputs)]
    one_image_in = len(inputs) == 1 and len(shapes[0]) == 4 and shapes[0][3] == 3
    one_image_in = one_image_in and kinds[0].kind in "iuf"
    # All but the last axis of the scores hold one entry; larger integers are classes.
    scores_out = len(outputs) == 1 and max(shapes[-1][:-1], default=1) == 1
    is_quantized = kinds[-1].kind in "iu" and kinds[-1].itemsize <= 2
    scores_out = scores_out and (is_quantized or kinds[-1].kind == "f")
    if not (one_image_in and scores_out):
        raise InputError(
            f"{name} is not an image classifier: its tensors are {shapes} of"
            f" {', '.join(map(str, kinds))}; give a"
            " model with one RGB image in and scores out"
        )
    return interpreter


def start(
    content: bytes,
    *,
    name: str = "the model",
    threads: int | None = 1,
    keep_tensors: bool = False,
    device: DeviceOptions = ANY_DEVICE,
) -> Any:
    """Return an interpreter of any file with its tensors allocated.

    Call it in the main thread only: the runtime is silenced for the whole process.

    Args:
        content: bytes of a `.tflite` file; compiled for the Edge TPU, it runs there.
        name: for messages.
        threads: CPU threads; `None` leaves the choice to the runtime.
        keep_tensors: keep what all operators compute, to be read after a run.
        device: the Edge TPU that runs a compiled file. Such a file has one interpreter
            in this process, as opening a device takes seconds.

    Raises:
        InputError: no runtime is installed, no device answers, or the runtime refuses
            the file.
    """
    if is_compiled(content):
        return _on_edge_tpu(content, name, threads, keep_tensors, device)
    if device.given():
        raise InputError(
            f"{name} is not compiled for the Edge TPU, so that it cannot run on"
            f" {device.device}; run `python -m edgetpu_lib compile` first"
        )
    return _start(content, name, threads, keep_tensors, None)


def _on_edge_tpu(
    content: bytes, name: str, threads: int | None, keep: bool, device: DeviceOptions
) -> Any:
    """Return the interpreter of a compiled file, opened once."""
    # Imported here: other files start without it.
    from edgetpu_lib.board import delegate

    import_runtime()  # Without one, the file before compilation is no remedy.
    wanted = (content, threads, keep, device)
    if wanted not in _OPENED:
        try:
            opened = delegate.load_delegate(device, needed=needed_runtime(content))
        except InputError as error:
            raise InputError(
                f"{name} is compiled for the Edge TPU and cannot run on this CPU:"
                f" {error}; or give {before_compilation(name)}"
            ) from error
        _OPENED[wanted] = _start(content, name, threads, keep, [opened])
    return _OPENED[wanted]


def _start(
    content: bytes, name: str, threads: int | None, keep: bool, delegates: list | None
) -> Any:
    runtime = import_runtime()
    try:
        with quiet_native(), warnings.catch_warnings():
            # Of the memory that kept tensors take.
            warnings.simplefilter("ignore", UserWarning)
            interpreter = runtime.Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_delegates=delegates,
                # Runtimes of a board may be too old for it.
                **({"experimental_preserve_all_tensors": True} if keep else {}),
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} cannot be run ({_first_line(error)}); {_remedy(error)}"
        ) from error
    # A NumPy of another binary interface.
    except SystemError as error:
        raise cannot_start(RUNTIMES[runtime.__name__][0], error) from error
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


def invoke(interpreter: Any, fed: np.ndarray) -> None:
    """Run an interpreter on what `quantize_input` returns.

    Raises:
        InputError: the runtime fails.
    """
    try:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed)
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the model cannot be run ({_first_line(error)}); {_remedy(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _remedy(error: Exception) -> str:
    # Source: google-coral/libedgetpu api/package_registry.cc.
    if "requires runtime version" in str(error):
        return "compile it with a lower --min_runtime_version, or update libedgetpu"
    if COMPILED_OPERATOR in str(error):
        return "compile it again, or give the file before compilation"
    # What libedgetpu says of a device that was unplugged, or of a weak port or cable.
    if re.search("usb|transfer|deadline|apex|edge ?tpu", str(error), re.I):
        return "replug the device; `python -m edgetpu_lib device` looks further"
    return "convert the model again"


def run(interpreter: Any, pixels: np.ndarray, **preprocessing: Any) -> np.ndarray:
    """Classify one image.

    Args:
        interpreter: from `open_interpreter`.
        pixels: [height, width, 3], RGB, 0..255, as `quantize_input` takes them.
        **preprocessing: `mean` and `stddev`, as `quantize_input`.

    Returns:
        Dequantized scores: float32 [classes].

    Raises:
        InputError: the runtime fails.
    """
    details_out = interpreter.get_output_details()[0]
    invoke(
        interpreter,
        quantize_input(pixels, input_contract(interpreter), **preprocessing),
    )
    scores = interpreter.get_tensor(details_out["index"]).ravel()
    return dequantize(scores, _contract(details_out))


def run_noise(content: bytes, *, device: DeviceOptions = ANY_DEVICE) -> None:
    """Run a file once, whatever its inputs: images get noise, other inputs zeros.

    `device` is the Edge TPU that runs a compiled file.
    """
    interpreter = start(content, device=device)
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        values = np.zeros(details["shape"], details["dtype"])
        if values.dtype in (np.uint8, np.int8, np.float32):
            values += rng.integers(0, 128, values.shape).astype(values.dtype)
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()


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
