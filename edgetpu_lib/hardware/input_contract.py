"""The input that a TFLite file expects, as data and in words."""

from __future__ import annotations

from edgetpu_lib.tflite.contract import TensorContract, takes_raw_pixels
from edgetpu_lib.tflite.file import TfliteFile


def of_file(file: TfliteFile) -> TensorContract:
    """Return type, shape and quantization of the first input; "none" without one."""
    if not file.inputs:
        return TensorContract(dtype="none", shape=(), scale=0.0, zero_point=0)
    tensor = file.tensors[file.inputs[0]]
    return TensorContract(
        dtype=tensor.dtype,
        shape=tensor.shape,
        scale=tensor.scales[0] if tensor.scales else 0.0,
        zero_point=tensor.zero_points[0] if tensor.zero_points else 0,
    )


def is_image(contract: TensorContract) -> bool:
    """Return whether the input is a quantized RGB image."""
    has_bytes = contract.dtype in ("uint8", "int8")
    return has_bytes and len(contract.shape) == 4 and contract.shape[3] == 3


def in_words(contract: TensorContract) -> str:
    """Return what to feed: "raw RGB bytes, uint8 1×224×224×3"."""
    shape = "×".join(str(size) for size in contract.shape)
    if contract.dtype == "none":
        return "nothing: the model has no input"
    if not contract.scale:
        return f"{contract.dtype} values, {shape}, prepared as in training"
    if not is_image(contract):
        arithmetic = f"round(x / {contract.scale:.7g}) + {contract.zero_point}"
        return f"{contract.dtype} {arithmetic}, {shape}"
    if takes_raw_pixels(contract):
        offset = "" if contract.dtype == "uint8" else " minus 128"
        return f"raw RGB bytes{offset}, {contract.dtype} {shape}"
    arithmetic = (
        f"round((pixel − 127) / 128 / {contract.scale:.7g}) + {contract.zero_point}"
    )
    return f"{arithmetic}, clipped to {contract.dtype}, {shape}"
