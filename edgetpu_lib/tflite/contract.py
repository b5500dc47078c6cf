"""Type, shape and quantization of a model's input or output tensor."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence

from edgetpu_lib.images.normalization import MEAN, STDDEV

# The lowest value of each type of a quantized image.
_LOWEST = {"uint8": 0, "int8": -128}


@dataclasses.dataclass(frozen=True)
class TensorContract:
    """Type, shape and quantization of one tensor.

    Attributes:
        dtype: "uint8", "int8" or "float32".
        shape: sizes, the batch first.
        scale: real value of one quantized step; 0 for float tensors.
        zero_point: quantized value of real 0.
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
    """Return whether a quantized input takes the image's bytes unchanged.

    True also where the arithmetic differs from the bytes by one step at most: files
    from elsewhere, made for (pixel − 127.5) / 127.5 or (pixel − 128) / 128, were
    trained and measured on raw bytes.

    Args:
        contract: of the input.
        mean: subtracted from pixels, 0..255; one number or three.
        stddev: that pixels are divided by; one number or three.
    """
    if not contract.scale or contract.dtype not in _LOWEST:
        return False
    lowest = _LOWEST[contract.dtype] - contract.zero_point
    means, stddevs = _channels(mean), _channels(stddev)
    return all(
        # The difference grows evenly with the pixel, so that the ends are the worst.
        abs(round((pixel - means[c]) / stddevs[c] / contract.scale) - lowest - pixel)
        <= 1
        for c in range(3)
        for pixel in (0, 255)
    )


def _channels(value: float | Sequence[float]) -> list[float]:
    """Return one number a channel."""
    values = [value] if isinstance(value, numbers.Real) else list(value)
    return values * 3 if len(values) == 1 else values
