"""Compare the weights and paddings that a float model and its int8 model store."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from edgetpu_lib.doctor.operator_pairs import (
    WEIGHTED,
    layer_name,
    output_of,
    pair_operators,
)
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile, read_tflite

# Standard deviation of a rounding error, which is uniform over one step.
_ROUNDING = 1 / math.sqrt(12)
# A channel's factor differs from 1 by chance by more than so many standard deviations
# of the rounding error once in 16,000 channels; S has 11,000.
_SIGMAS = 4.0
# A factor closer to 1 has no effect worth naming.
_SMALLEST_CHANGE = 1e-3
_VALID = 1  # padding, as in the schema
_PADDED = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")


@dataclasses.dataclass(frozen=True)
class WeightError:
    """How far one layer's integer weights are from the float weights.

    Attributes:
        name: of the layer.
        kind: of its operator.
        channels: number of output channels.
        scales: number of scales of the integer weights: 1, or one a channel.
        factor_low: 1 % quantile over channels of the ratio of integer to float weights;
            1 for rounding alone.
        factor_high: 99 % quantile of the same.
        larger: share of channels whose factor is above 1 beyond rounding, 0..1.
        smaller: share of channels whose factor is below 1 beyond rounding, 0..1.
        noise: remaining difference once each channel's factor is taken out, in units
            of the rounding error: about 1 for the same weights.
        bias_changed: share of channels whose bias differs beyond rounding, 0..1.
        dominance: weight range of the widest channel by that of the median channel.
            With one scale, the others lose log2 of it in bits.
    """

    name: str
    kind: str
    channels: int
    scales: int
    factor_low: float
    factor_high: float
    larger: float
    smaller: float
    noise: float
    bias_changed: float
    dominance: float


@dataclasses.dataclass(frozen=True)
class PaddingDifference:
    """A layer with two paddings, each (top, bottom, left, right) in pixels."""

    name: str
    float_padding: tuple[int, int, int, int]
    int8_padding: tuple[int, int, int, int]


def compare_stored(
    float_tflite: bytes, int8_tflite: bytes
) -> tuple[tuple[WeightError, ...], tuple[PaddingDifference, ...]]:
    """Return the errors of all weights and the paddings that differ.

    A PAD before an operator counts as the operator's own padding.

    Raises:
        InputError: the files hold different networks.
    """
    files = read_tflite(float_tflite), read_tflite(int8_tflite)
    weights, paddings = [], []
    for pair in pair_operators(*files):
        kind, name = pair[0].kind, layer_name(output_of(files[0], pair[0]).name)
        both = list(zip(files, pair, strict=True))
        if kind in WEIGHTED:
            tensors = [file.tensors[operator.inputs[1]] for file, operator in both]
            if tensors[0].is_float and tensors[1].scales:
                bias_changed = _bias_changed(*(_bias(*each) for each in both))
                weights.append(_compare(name, kind, *tensors, bias_changed))
        if kind in _PADDED:
            found = [_padding(*each) for each in both]
            if found[0] != found[1]:
                paddings.append(PaddingDifference(name, *found))
    return tuple(weights), tuple(paddings)


def _by_channel(tensor: Tensor, kind: str) -> np.ndarray:
    """Return real weights: float64 [channels, weights a channel]."""
    values = np.frombuffer(tensor.stored.data, tensor.dtype).reshape(tensor.shape)
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    rows = np.moveaxis(values, axis, 0).reshape(tensor.shape[axis], -1)
    rows = rows.astype(np.float64)
    if not tensor.scales:
        return rows
    scales, zero_points = np.array(tensor.scales), np.array(tensor.zero_points)
    return scales[:, None] * (rows - zero_points[:, None])


def _bias(file: TfliteFile, operator: Operator) -> tuple | None:
    """Return the real bias, [channels], and its step; None where there is none."""
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return None
    tensor = file.tensors[operator.inputs[2]]
    values = np.frombuffer(tensor.stored.data, tensor.dtype).astype(np.float64)
    steps = np.array(tensor.scales)
    return (values * steps, steps) if tensor.scales else (values, np.zeros(1))


def _compare(
    name: str,
    kind: str,
    float_tensor: Tensor,
    int8_tensor: Tensor,
    bias_changed: float,
) -> WeightError:
    floats, integers = _by_channel(float_tensor, kind), _by_channel(int8_tensor, kind)
    reach = np.abs(floats).max(axis=1)
    steps = np.broadcast_to(np.array(int8_tensor.scales), len(floats))
    alive = reach > steps / 2  # A channel that rounds to zeros has no factor.
    if not alive.any():
        alive = ~alive
    steps = steps[alive]
    floats, integers = floats[alive], integers[alive]
    energy = np.maximum((floats**2).sum(axis=1), np.finfo(float).tiny)
    factor = (floats * integers).sum(axis=1) / energy
    off = factor - 1
    rounding = _ROUNDING * steps
    by_chance = np.maximum(_SIGMAS * rounding / np.sqrt(energy), _SMALLEST_CHANGE)
    rest = integers - factor[:, None] * floats
    return WeightError(
        name=name,
        kind=kind,
        channels=len(reach),
        scales=len(int8_tensor.scales),
        factor_low=float(np.quantile(factor, 0.01)),
        factor_high=float(np.quantile(factor, 0.99)),
        larger=float(np.mean(off > by_chance)),
        smaller=float(np.mean(off < -by_chance)),
        noise=float(np.sqrt(np.mean(rest**2) / np.mean(rounding**2))),
        bias_changed=bias_changed,
        dominance=float(reach.max() / (np.median(reach[alive]) or 1.0)),
    )


def _bias_changed(floats: tuple | None, integers: tuple | None) -> float:
    if floats is None or integers is None:
        return float((floats is None) != (integers is None))
    # The 32-bit step matters only if ranges are far too wide; else a hundredth of the
    # root mean square is a change.
    usual = np.sqrt(np.mean(floats[0] ** 2))
    tolerance = np.maximum(0.01 * usual, integers[1])
    return float(np.mean(np.abs(integers[0] - floats[0]) > tolerance))


def _padding(file: TfliteFile, operator: Operator) -> tuple[int, int, int, int]:
    """Return the pixels around an operator's input: (top, bottom, left, right).

    Source: tensorflow/lite/kernels/padding.h, ComputePaddingHeightWidth.
    """
    source = operator.inputs[0]
    before = next((o for o in file.operators if source in o.outputs), None)
    explicit = [0, 0, 0, 0]
    if before is not None and before.kind in ("PAD", "PADV2"):
        explicit = (file.tensors[before.inputs[1]].values() + explicit)[2:6]
    options = operator.options
    if options["Padding"] == _VALID:
        return tuple(explicit)
    if "FilterHeight" in options:
        kernel = options["FilterHeight"], options["FilterWidth"]
    else:
        kernel = file.tensors[operator.inputs[1]].shape[1:3]
    implicit = []
    sizes = file.tensors[source].shape[1:3]
    for size, weights, axis in zip(sizes, kernel, "HW", strict=True):
        stride = options[f"Stride{axis}"]
        reach = (weights - 1) * options.get(f"Dilation{axis}Factor", 1) + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        implicit += [total // 2, total - total // 2]
    return tuple(a + b for a, b in zip(explicit, implicit, strict=True))
