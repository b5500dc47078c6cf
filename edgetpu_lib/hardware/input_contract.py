"""The input that a TFLite file expects, as data and in words."""

from __future__ import annotations

from edgetpu_lib.tflite import contract as tensors
from edgetpu_lib.tflite import preprocessing
from edgetpu_lib.tflite.contract import PixelScale, TensorContract
from edgetpu_lib.tflite.file import TfliteFile


def of_file(file: TfliteFile) -> TensorContract:
    """Return type, shape and quantization of the first input; "none" without one."""
    if not file.inputs:
        return TensorContract(dtype="none", shape=(), scale=0.0, zero_point=0)
    return tensors.of_tensor(file, file.inputs[0])


def is_image(contract: TensorContract) -> bool:
    """Return whether the input is an RGB image."""
    is_known = contract.dtype in ("uint8", "int8", "float32")
    return is_known and len(contract.shape) == 4 and contract.shape[3] == 3


def in_words(file: TfliteFile, *, pixel_scale: PixelScale | None = None) -> str:
    """Return what to feed: "raw RGB bytes, uint8 1×224×224×3".

    Args:
        file: any.
        pixel_scale: mean and standard deviation that the user gives; `None` takes what
            the file tells.
    """
    contract = of_file(file)
    form = f"{contract.dtype} {'×'.join(str(size) for size in contract.shape)}"
    if contract.dtype == "none":
        return "nothing: the model has no input"
    if not is_image(contract):
        if not contract.scale:
            return f"{form}, prepared as in training"
        return f"round(x / {contract.scale:.7g}) + {contract.zero_point}, {form}"
    pixel_scale = pixel_scale or preprocessing.of_file(file)
    if not pixel_scale:
        return f"{tensors.UNKNOWN}; {form}{_quantization(contract)}"
    mean, stddev = pixel_scale
    if contract.dtype == "float32":
        if pixel_scale == tensors.RAW:
            return f"raw RGB values 0..255, {form}"
        return f"{_normalised(mean, stddev)}, {form}"
    is_raw = pixel_scale == tensors.RAW and not contract.scale
    if is_raw or tensors.takes_raw_pixels(contract, mean=mean, stddev=stddev):
        offset = "" if contract.dtype == "uint8" else " minus 128"
        return f"raw RGB bytes{offset}, {form}"
    if not contract.scale:
        return f"round({_normalised(mean, stddev)}), clipped, {form}"
    steps = f"round({_normalised(mean, stddev)} / {contract.scale:.7g})"
    return f"{steps} + {contract.zero_point}, clipped, {form}"


def _normalised(mean: tensors.Channels, stddev: tensors.Channels) -> str:
    numbers = [
        f"{each:g}" if isinstance(each, (int, float)) else str(list(each))
        for each in (mean, stddev)
    ]
    return f"(pixel − {numbers[0]}) / {numbers[1]}"


def _quantization(contract: TensorContract) -> str:
    if not contract.scale:
        return ""
    return f", scale {contract.scale:.7g}, zero point {contract.zero_point}"
