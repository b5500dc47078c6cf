"""Run one TFLite file, whatever runtime is installed.

Takes a `.tflite` path or bytes; gives an interpreter and its answers as floats.
Used by `evaluate` and `deploy`; runs where there is no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import importlib
import statistics
import time
from pathlib import Path

import numpy as np

from edgetpu_lib.artifacts import InputError
from edgetpu_lib.pixels import normalize
from edgetpu_lib.quiet import quiet_native

_RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


@dataclasses.dataclass(frozen=True)
class TensorContract:
    """What one input or output tensor wants or gives.

    Attributes:
        dtype: "uint8", "int8" or "float32".
        shape: with the batch first.
        scale: real value a quantized step; 0 for float tensors.
        zero_point: the quantized value of real 0.
    """

    dtype: str
    shape: tuple
    scale: float
    zero_point: int


def open_interpreter(model: str | Path | bytes, *, threads: int | None = None):
    """Open a classifier file and allocate its tensors.

    Args:
        model: path of a `.tflite` file, or its bytes.
        threads: CPU threads; `None` leaves the choice to the runtime.

    Returns:
        An `Interpreter` with one picture input and one score output.

    Raises:
        InputError: no runtime is installed, or the model cannot be used.
    """
    name = "the model" if isinstance(model, bytes) else model
    content = model if isinstance(model, bytes) else _read_model(Path(model))
    # The runtime crashes on some files that are not FlatBuffers at all.
    if content[4:8] != b"TFL3":
        raise InputError(f"{name} is not a TFLite file; give a .tflite file")
    if b"edgetpu-custom-op" in content:
        raise InputError(
            f"{name} is compiled for the Edge TPU and cannot run on this CPU;"
            " give the file before compilation (without `_edgetpu` in its name)"
        )
    try:
        with quiet_native():
            runtime = _runtime()
            interpreter = runtime.Interpreter(
                model_content=content, num_threads=threads
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(
            f"{name} cannot be run ({first_line}); convert the model again"
        ) from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
        raise InputError(
            f"{name} is not a picture classifier: it has {len(inputs)} inputs and"
            f" {len(outputs)} outputs; give a model with one picture in, scores out"
        )
    return interpreter


def _read_model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; give a .tflite file"
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


def input_contract(interpreter) -> TensorContract:
    """Return what the model wants to be fed."""
    return _contract(interpreter.get_input_details()[0])


def output_contract(interpreter) -> TensorContract:
    """Return how the model's scores are to be read."""
    return _contract(interpreter.get_output_details()[0])


def _contract(details: dict) -> TensorContract:
    scale, zero_point = details["quantization"]
    return TensorContract(
        dtype=np.dtype(details["dtype"]).name,
        shape=tuple(int(n) for n in details["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def quantize_input(pixels: np.ndarray, contract: TensorContract) -> np.ndarray:
    """Turn pixels into exactly what the input tensor wants.

    Args:
        pixels: [size, size, 3], RGB, 0..255, bicubic overshoot allowed.
        contract: of the model's input. With scale 1/128 and zero point 127 the raw
            pixels are the quantized input.

    Returns:
        [1, size, size, 3] of the contract's dtype.
    """
    real = normalize(pixels)[None]
    if not contract.scale:
        return real
    limits = np.iinfo(contract.dtype)
    steps = np.rint(real / np.float32(contract.scale)) + contract.zero_point
    return np.clip(steps, limits.min, limits.max).astype(contract.dtype)


def run(interpreter, pixels: np.ndarray) -> np.ndarray:
    """Classify one picture.

    Args:
        interpreter: from `open_interpreter`.
        pixels: [size, size, 3], RGB, 0..255, of the model's size.

    Returns:
        float32 [classes]: the output tensor, dequantized.
    """
    details_in = interpreter.get_input_details()[0]
    details_out = interpreter.get_output_details()[0]
    fed = quantize_input(pixels, _contract(details_in))
    interpreter.set_tensor(details_in["index"], fed)
    interpreter.invoke()
    scores = interpreter.get_tensor(details_out["index"])[0].astype(np.float32)
    contract = _contract(details_out)
    if contract.scale:
        # Widened to float before the subtraction: uint8 would wrap around.
        scores = (scores - contract.zero_point) * np.float32(contract.scale)
    return scores


def measure_latency_ms(interpreter, *, runs: int = 30) -> float:
    """Return the median milliseconds of one inference on this CPU.

    Args:
        interpreter: from `open_interpreter`.
        runs: inferences that count; a few before them do not.
    """
    size = input_contract(interpreter).shape[1:3]
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*size, 3), np.uint8)
    run(interpreter, picture)
    times = []
    for index in range(runs + 3):
        start = time.perf_counter()
        interpreter.invoke()
        if index >= 3:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
