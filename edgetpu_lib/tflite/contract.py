"""What a model's input or output tensor holds: type, shape and quantization."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgetpu_lib.images.normalization import MEAN, STDDEV

# The lowest value of each type of a quantized image.
_LOWEST = {"uint8": 0, "int8": -128}


@dataclasses.dataclass(frozen=True)
class TensorContract:
    """What one input or output tensor holds.

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


def takes_raw_pixels(
    contract: TensorContract,
    *,
    mean: float | Sequence[float] = MEAN,
    stddev: float | Sequence[float] = STDDEV,
) -> bool:
    """Return whether a quantized input is the image's bytes as they are.

    True also where the arithmetic differs from the bytes by one step at most: files
    from elsewhere, made for (pixel − 127.5) / 127.5 or (pixel − 128) / 128, were
    trained and measured on raw bytes.

    Args:
        contract: of the input.
        mean: taken from the pixels, 0..255; one number, or three.
        stddev: by which they are divided; likewise.
    """
    if not contract.scale or contract.dtype not in _LOWEST:
        return False
    means, stddevs = _channels(mean), _channels(stddev)
    return all(
        # The difference grows evenly with the pixel: the ends are the worst.
        abs(_step(pixel, contract, means[channel], stddevs[channel]) - pixel) <= 1
        for channel in range(3)
        for pixel in (0, 255)
    )


def _step(pixel: int, contract: TensorContract, mean: float, stddev: float) -> int:
    """Return the quantized value of a pixel, counted from the lowest."""
    steps = round((pixel - mean) / stddev / contract.scale)
    return steps + contract.zero_point - _LOWEST[contract.dtype]


def _channels(value: float | Sequence[float]) -> list[float]:
    """Return one number a channel."""
    try:
        values = [float(one) for one in value]
    except TypeError:
        values = [float(value)]
    return values * 3 if len(values) == 1 else values
