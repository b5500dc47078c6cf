"""Type, shape and quantization of a tensor, and the pixels that an input takes."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Union

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images.normalization import MEAN, STDDEV
from edgetpu_lib.tflite.parts import TfliteFile

# The lowest value of each type of a quantized image.
_LOWEST = {"uint8": 0, "int8": -128}

# What is subtracted from pixels, 0..255, and what the difference is divided by: one
# number each, or three.
Channels = Union[float, Sequence[float]]  # noqa: UP007 (evaluated on Python 3.9)
PixelScale = tuple[Channels, Channels]
OWN: PixelScale = (MEAN, STDDEV)
SIGNED_UNIT: PixelScale = (127.5, 127.5)
UNIT: PixelScale = (0.0, 255.0)
RAW: PixelScale = (0.0, 1.0)
# How models are trained, where the scale of a quantized input tells it: −1..1, 0..1 and
# the bytes themselves. Sources: tensorflow/tpu efficientnet, Keras' preprocess_input of
# MobileNet, TensorFlow's tutorials, and models with a Rescaling layer.
CONVENTIONS = (OWN, SIGNED_UNIT, UNIT, RAW)
# Networks compute with numbers of about −5..5; a first layer that makes more of bytes
# was made for inputs of 0..1.
_MAX_SPREAD = 10

UNKNOWN = "contract unknown, give --mean and --std as in the model's training"


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


def of_tensor(file: TfliteFile, index: int) -> TensorContract:
    """Return type, shape and quantization of a tensor of a file."""
    tensor = file.tensors[index]
    return TensorContract(
        dtype=tensor.dtype,
        shape=tensor.shape,
        scale=tensor.scales[0] if tensor.scales else 0.0,
        zero_point=tensor.zero_points[0] if tensor.zero_points else 0,
    )


def require_known(pixel_scale: PixelScale | None, name: str) -> PixelScale:
    """Return the pixels that a model takes; raise `InputError` if nothing tells."""
    if pixel_scale is None:
        raise InputError(f"{name}: {UNKNOWN}")
    return pixel_scale


def takes_raw_pixels(
    contract: TensorContract, *, mean: Channels = MEAN, stddev: Channels = STDDEV
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


def _channels(value: Channels) -> list[float]:
    """Return one number a channel."""
    values = [value] if isinstance(value, numbers.Real) else list(value)
    return values * 3 if len(values) == 1 else values


def convention_of(contract: TensorContract) -> PixelScale | None:
    """Return the pixels that a quantized image input was made for.

    Returns:
        One of `CONVENTIONS` under which the bytes are the quantized input, `RAW` for
        uint8 without a scale, or `None` if scale and zero point are of none.
    """
    if contract.dtype == "uint8" and not contract.scale:
        return RAW
    possible = [
        (mean, stddev)
        for mean, stddev in CONVENTIONS
        if takes_raw_pixels(contract, mean=mean, stddev=stddev)
    ]
    nearest = sorted(possible, key=lambda pair: abs(1 - pair[1] * contract.scale))
    return nearest[0] if nearest else None


def convention_before(factor: float, offset: float) -> PixelScale | None:
    """Return the pixels for a model that first computes factor · x + offset.

    `RAW`, `UNIT` or `SIGNED_UNIT`: what x must be for a network to get numbers of the
    usual size. `None` if it is none of them.
    """
    if not factor:
        return None
    becomes_zero = -offset / factor
    if becomes_zero > 1.5:
        return RAW
    if becomes_zero < -0.5:
        return SIGNED_UNIT if becomes_zero > -1.5 else None
    return RAW if 255 * abs(factor) <= _MAX_SPREAD else UNIT
