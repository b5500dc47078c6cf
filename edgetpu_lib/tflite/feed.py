"""Convert pixels to what a TFLite file takes, and what it gives to real numbers."""

from __future__ import annotations

import numpy as np

from edgetpu_lib.images.pixels import normalize
from edgetpu_lib.tflite.contract import (
    OWN,
    Channels,
    TensorContract,
    convention_of,
    takes_raw_pixels,
)


def quantize_input(
    pixels: np.ndarray,
    contract: TensorContract,
    *,
    mean: Channels | None = None,
    stddev: Channels | None = None,
) -> np.ndarray:
    """Convert pixels to the type and quantization of the input tensor.

    Args:
        pixels: [height, width, 3], RGB, 0..255, bicubic overshoot allowed; of the
            input's size or larger, in which case the middle is taken.
        contract: of the model's input. With scale 1/128 and zero point 127 the raw
            pixels are the quantized input.
        mean: of the model's training, as `pixels.normalize` takes it; `None` takes what
            scale and zero point tell, or else what this library trains with.
        stddev: likewise.

    Returns:
        [1, height, width, 3] of the contract's dtype.
    """
    if mean is None or stddev is None:
        mean, stddev = convention_of(contract) or OWN
    pixels = middle_of(pixels, contract.shape[1:3])
    if contract.dtype.startswith("float"):
        return normalize(pixels, mean, stddev)[None].astype(contract.dtype)
    limits = np.iinfo(contract.dtype)
    if not contract.scale:
        steps = np.rint(normalize(pixels, mean, stddev))
    elif takes_raw_pixels(contract, mean=mean, stddev=stddev):
        steps = np.rint(pixels) + limits.min
    else:
        reals = normalize(pixels, mean, stddev)
        steps = np.rint(reals / np.float32(contract.scale)) + contract.zero_point
    return np.clip(steps, limits.min, limits.max).astype(contract.dtype)[None]


def dequantize(values: np.ndarray, contract: TensorContract) -> np.ndarray:
    """Return the real numbers, float32, that the values of a tensor stand for."""
    values = values.astype(np.float32)
    if not contract.scale:
        return values
    # Widened to float before the subtraction: uint8 would wrap around.
    return (values - contract.zero_point) * np.float32(contract.scale)


def middle_of(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the middle of images [… height, width, 3], as large as `shape` says.

    An oblong input takes the middle of the square image around it.
    """
    height, width = shape
    top = (pixels.shape[-3] - height) // 2
    left = (pixels.shape[-2] - width) // 2
    return pixels[..., top : top + height, left : left + width, :]
