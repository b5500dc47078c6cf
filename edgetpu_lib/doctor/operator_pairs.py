"""Pair the operators of a float model with those of its int8 model."""

from __future__ import annotations

import collections
import re

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile

# Operators that only quantization adds.
_QUANTIZERS = {"QUANTIZE", "DEQUANTIZE"}
# Operators with weights; all must have a partner in files of the same network.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def pair_operators(
    float_file: TfliteFile, int8_file: TfliteFile
) -> list[tuple[Operator, Operator]]:
    """Return the operators that are in both files, in the float file's order.

    They are paired by the names of their outputs, which TensorFlow's converter keeps;
    other converters' by order among operators of the same kind and shape. Operators
    that only one file has (PAD, QUANTIZE) are left out.

    Raises:
        InputError: a convolution or classifier has no partner: the files hold
            different networks.
    """
    files, pairs = (float_file, int8_file), []
    left = [[o for o in file.operators if o.kind not in _QUANTIZERS] for file in files]
    for by_name in (True, False):
        waiting = collections.defaultdict(collections.deque)
        for operator in left[1]:
            waiting[_key(int8_file, operator, by_name)].append(operator)
        for operator in left[0]:
            same = waiting[_key(float_file, operator, by_name)]
            if same:
                pairs.append((operator, same.popleft()))
        paired = [{pair[side].index for pair in pairs} for side in (0, 1)]
        left = [
            [o for o in operators if o.index not in indices]
            for operators, indices in zip(left, paired, strict=True)
        ]
    for file, operators, words in zip(files, left, ("float", "int8"), strict=True):
        for operator in operators:
            if operator.kind in WEIGHTED:
                tensor = output_of(file, operator)
                raise InputError(
                    f"the files hold different networks: {layer_name(tensor.name)}"
                    f" ({operator.kind}, {list(tensor.shape)}) is in the {words} model"
                    " only; give the float model that the int8 model was made of"
                )
    return sorted(pairs, key=lambda pair: pair[0].index)


def _key(file: TfliteFile, operator: Operator, by_name: bool) -> tuple:
    tensor = output_of(file, operator)
    return operator.kind, tensor.shape, tensor.name if by_name else None


def layer_name(tensor_name: str) -> str:
    """Return the Keras layer that a tensor is named after.

    "network_1/stem_relu_1/Relu;network_1/stem_bn_1/…" becomes "stem_relu".
    """
    parts = tensor_name.split(";")[0].split("/")
    layer = parts[1] if len(parts) > 2 else parts[0]
    return re.sub(r"(?<=\D)_1$", "", layer) or tensor_name


def output_of(file: TfliteFile, operator: Operator) -> Tensor:
    """Return the first output tensor of an operator."""
    return file.tensors[operator.outputs[0]]
