"""Measure the quantization error of every tensor on images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor.operator_pairs import layer_name, pair_operators
from edgetpu_lib.tflite import edit, interpreter
from edgetpu_lib.tflite.file import Tensor, read_tflite

INPUT = "INPUT"
# Stands for no error, as float32 itself has about 140 dB.
NO_ERROR_DB = 140.0


@dataclasses.dataclass(frozen=True)
class LayerError:
    """The quantization error of one tensor.

    Attributes:
        name: of the layer.
        kind: of the operator that computes it; "INPUT" for the network's input.
        tensor: name in the float model.
        snr_db: signal-to-noise ratio over all images, dB: 10 log10 of Σ float² by
            Σ (float − int8)². It includes the errors of all layers before. Six dB are
            one bit; 140 stands for no error.
        cosine: of the angle between float and dequantized values, −1..1.
        float_low: smallest float value.
        float_high: largest float value.
        int8_low: smallest representable value.
        int8_high: largest representable value.
        clipped: share of the float values outside the representable range, 0..1.
        operator: index in the int8 model; `None` for the input.
    """

    name: str
    kind: str
    tensor: str
    snr_db: float
    cosine: float
    float_low: float
    float_high: float
    int8_low: float
    int8_high: float
    clipped: float
    operator: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class LayerComparison:
    """The errors of all tensors, the input first, and both models' scores.

    Scores are float32 [images, classes]; the int8 model's are dequantized.
    """

    layers: tuple[LayerError, ...]
    float_scores: np.ndarray
    int8_scores: np.ndarray


def compare_layers(
    float_tflite: bytes,
    int8_tflite: bytes,
    images: Sequence[np.ndarray],
    *,
    workers: int | None = None,
    progress: str | None = "comparing layers",
    **preprocessing: Any,
) -> LayerComparison:
    """Run images through both models and compare every tensor.

    Only sums are kept of the tensors, so that memory does not grow with the images.

    Args:
        float_tflite: the float model.
        int8_tflite: the int8 model.
        images: uint8 [size, size, 3] each, RGB; each model gets them as it needs.
        workers: pairs of interpreters; `None` takes one a core.
        progress: title of the progress bar; `None` shows none.
        **preprocessing: `mean` and `stddev`, as `interpreter.quantize_input`.

    Raises:
        InputError: there is no image, or the files hold different networks.
    """
    pair = _Pair(float_tflite, int8_tflite, preprocessing)
    workers = workers or parallel.cores()
    compare = interpreter.pool(pair.open() for _ in range(workers))
    sums, scores = None, []
    for found, *both in tqdm(
        parallel.map_in_order(compare, images, workers=workers),
        progress,
        len(images),
        leave=False,
        unit="image",
        delay=0.5,
        disable=progress is None,
    ):
        sums = found if sums is None else _added(sums, found)
        scores.append(both)
    if sums is None:
        raise InputError("comparing layers needs at least one image; got none")
    return LayerComparison(pair.errors(sums), *map(np.stack, zip(*scores, strict=True)))


def representable(tensor: Tensor) -> tuple[float, float]:
    """Return the smallest and largest real value of an 8-bit tensor of one scale."""
    limits = np.iinfo(tensor.dtype)
    scale, zero_point = tensor.scales[0], tensor.zero_points[0]
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


class _Pair:
    """A float model, its int8 model, and their tensors that match."""

    def __init__(
        self, float_tflite: bytes, int8_tflite: bytes, preprocessing: dict[str, Any]
    ) -> None:
        self.preprocessing = preprocessing
        files = read_tflite(float_tflite), read_tflite(int8_tflite)
        pairs = pair_operators(*files)
        self.indices = [(a.outputs[0], b.outputs[0]) for a, b in pairs]
        tensors = [(files[0].inputs[0], files[1].inputs[0]), *self.indices]
        self.float_tensors = [files[0].tensors[a] for a, _ in tensors]
        self.int8_tensors = [files[1].tensors[b] for _, b in tensors]
        self.kinds = [INPUT, *(a.kind for a, _ in pairs)]
        self.operators = [None, *(b.index for _, b in pairs)]
        self.output = files[0].outputs[0], files[1].outputs[0]
        self.output_tensor = files[1].tensors[self.output[1]]
        self.contents = [
            edit.with_outputs(content, [index[side] for index in self.indices])
            for side, content in enumerate((float_tflite, int8_tflite))
        ]

    def open(self) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
        """Return a function: image → `_sums` of each tensor, and both scores."""
        opened = [interpreter.start(content) for content in self.contents]

        def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
            fed = [_feed(each, image, self.preprocessing) for each in opened]
            floats, integers = (each.get_tensor for each in opened)
            values = [fed, *((floats(a), integers(b)) for a, b in self.indices)]
            rows = [
                _sums(a.ravel(), b.ravel(), tensor)
                for (a, b), tensor in zip(values, self.int8_tensors, strict=True)
            ]
            scores = _real(integers(self.output[1]).ravel(), self.output_tensor)
            return np.array(rows), floats(self.output[0]).ravel(), scores

        return run

    def errors(self, sums: np.ndarray) -> tuple[LayerError, ...]:
        columns = self.kinds, self.float_tensors, self.int8_tensors, sums
        errors = (_error(*row) for row in zip(*columns, strict=True))
        return tuple(
            dataclasses.replace(error, operator=index)
            for error, index in zip(errors, self.operators, strict=True)
        )


def _feed(opened: Any, image: np.ndarray, preprocessing: dict[str, Any]) -> np.ndarray:
    """Run a file on an image and return what it was fed."""
    contract = interpreter.input_contract(opened)
    fed = interpreter.quantize_input(image, contract, **preprocessing)
    interpreter.invoke(opened, fed)
    return fed


def _real(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return float32 values of a tensor that may be quantized."""
    # Widened before the subtraction: integers of a byte would wrap around.
    real = values.astype(np.float32)
    if tensor.scales:
        real = (real - tensor.zero_points[0]) * np.float32(tensor.scales[0])
    return real


def _sums(floats: np.ndarray, stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return Σf², Σ(f−q)², Σfq, Σq², clipped values, all values, minimum, maximum."""
    floats, real = floats.astype(np.float32), _real(stored, tensor)
    noise = floats - real
    clipped = 0
    if tensor.scales:
        low, high = representable(tensor)
        # Half a step beyond is rounding, not clipping.
        half = tensor.scales[0] / 2
        clipped = np.count_nonzero((floats < low - half) | (floats > high + half))
    products = floats @ floats, noise @ noise, floats @ real, real @ real
    extremes = floats.min(), floats.max()
    return np.array([*products, clipped, floats.size, *extremes], np.float64)


def _added(sums: np.ndarray, found: np.ndarray) -> np.ndarray:
    lows = np.minimum(sums[:, 6], found[:, 6])
    highs = np.maximum(sums[:, 7], found[:, 7])
    return np.column_stack([sums[:, :6] + found[:, :6], lows, highs])


def _error(kind: str, tensor: Tensor, integers: Tensor, sums: np.ndarray) -> LayerError:
    signal, noise, product, integer_signal, clipped, count, low, high = sums.tolist()
    norms = math.sqrt(signal * integer_signal)
    limits = representable(integers) if integers.scales else (low, high)
    return LayerError(
        name=layer_name(tensor.name),
        kind=kind,
        tensor=tensor.name,
        snr_db=_decibels(signal, noise),
        cosine=product / norms if norms else float(signal == integer_signal),
        float_low=low,
        float_high=high,
        int8_low=limits[0],
        int8_high=limits[1],
        clipped=clipped / count,
    )


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return NO_ERROR_DB
    return min(10 * math.log10(signal / noise), NO_ERROR_DB) if signal else -NO_ERROR_DB
