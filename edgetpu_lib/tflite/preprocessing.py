"""Find out from a TFLite file which pixels its input takes."""

from __future__ import annotations

import itertools
import operator as arithmetic
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.metadata import verified_metadata
from edgetpu_lib.tflite import contract
from edgetpu_lib.tflite.contract import PixelScale
from edgetpu_lib.tflite.parts import Operator, Tensor, TfliteFile

# In the names of tensors of the networks that `build` makes, and of the reference's.
_OWN_NAMES = re.compile(r"(^|/)block_0_project_|efficientnet-edgetpu")
_ARITHMETIC = {
    "ADD": arithmetic.add,
    "SUB": arithmetic.sub,
    "MUL": arithmetic.mul,
    "DIV": arithmetic.truediv,
}
_MAX_CHAIN = 8
# What a converter may put between an input and its arithmetic, without changing values.
_SAME_VALUES = {"RESHAPE", "EXPAND_DIMS", "SQUEEZE"}


def of_file(file: TfliteFile) -> PixelScale | None:
    """Return what is subtracted from a file's pixels, 0..255, and their divisor.

    It is known of a quantized input by its scale and zero point, and of a float input
    if the file quantizes it or begins with arithmetic on it, or if the network is one
    of this library; `None` where none of this tells.
    """
    if not file.inputs:
        return None
    taken = contract.of_tensor(file, file.inputs[0])
    if taken.dtype != "float32":
        return contract.convention_of(taken)
    return _by_first_operators(file) or _by_name(file)


def of_model(model: str | Path | bytes, file: TfliteFile) -> PixelScale | None:
    """Return what `of_file` finds in a model's file, or else what its metadata say.

    Bytes of which nothing tells are taken for a network of this library.

    Raises:
        InputError: the metadata are needed, and are damaged or of another file.
    """
    if found := of_file(file):
        return found
    if isinstance(model, bytes):
        return contract.OWN
    return of_metadata(verified_metadata(model))


def of_metadata(metadata: dict) -> PixelScale | None:
    """Return mean and standard deviation that an export saved, or `None`."""
    pair = metadata.get("mean"), metadata.get("stddev")
    return None if None in pair else pair


def _by_first_operators(file: TfliteFile) -> PixelScale | None:
    factor, offset = 1.0, 0.0
    for operator in itertools.islice(_chain(file), _MAX_CHAIN):
        if operator.kind == "QUANTIZE":
            quantized = contract.of_tensor(file, operator.outputs[0])
            return contract.convention_of(quantized)
        if operator.kind in _SAME_VALUES:
            continue
        compute = _ARITHMETIC.get(operator.kind)
        constants = [file.tensors[i] for i in operator.inputs[1:2] if i >= 0]
        if not compute or not constants or not _mean_of(constants[0]):
            break
        by = _mean_of(constants[0])
        offset = compute(offset, by)
        factor = compute(factor, by) if operator.kind in ("MUL", "DIV") else factor
    if (factor, offset) == (1.0, 0.0):
        return None
    return contract.convention_before(factor, offset)


def _chain(file: TfliteFile) -> Iterator[Operator]:
    """Yield the operators from the input on, as long as nothing branches off."""
    index = file.inputs[0]
    while True:
        takers = [o for o in file.operators if index in o.inputs]
        if len(takers) != 1 or takers[0].inputs[0] != index or not takers[0].outputs:
            return
        yield takers[0]
        index = takers[0].outputs[0]


def _mean_of(tensor: Tensor) -> float:
    """Return the mean of up to three stored floats, one a channel; 0 for others."""
    count, data = tensor.elements, tensor.stored.data
    if tensor.dtype != "float32" or count not in (1, 3) or len(data) != 4 * count:
        return 0.0
    return sum(struct.unpack(f"<{count}f", data)) / count


def _by_name(file: TfliteFile) -> PixelScale | None:
    named = any(_OWN_NAMES.search(tensor.name) for tensor in file.tensors)
    return contract.OWN if named else None
