"""Pair the operators of a float model with those of its int8 model."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile

# What quantization itself adds.
QUANTIZERS = {"QUANTIZE", "DEQUANTIZE"}
# Operators with weights: without them all paired it is another network.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def pair_operators(
    float_file: TfliteFile, int8_file: TfliteFile
) -> list[tuple[Operator, Operator]]:
    """Pair the operators of a float model with those of its int8 model.

    They are paired by the names of their outputs, which TensorFlow's converter keeps;
    other converters' by order among operators of the same kind and shape. Operators
    that only one file has (PAD, QUANTIZE) are left out.

    Args:
        float_file: the float model.
        int8_file: the int8 model.

    Returns:
        Pairs in the float file's order.

    Raises:
        InputError: a convolution or classifier has no partner: the files hold
            different networks.
    """
    float_left = [o for o in float_file.operators if o.kind not in QUANTIZERS]
    int8_left = [o for o in int8_file.operators if o.kind not in QUANTIZERS]
    pairs = list(_by_name(float_file, int8_file, float_left, int8_left))
    paired = ({a.index for a, _ in pairs}, {b.index for _, b in pairs})
    float_left = [o for o in float_left if o.index not in paired[0]]
    int8_left = [o for o in int8_left if o.index not in paired[1]]
    pairs += _by_order(float_file, int8_file, float_left, int8_left)
    _require_all_weights(float_file, int8_file, pairs)
    return sorted(pairs, key=lambda pair: pair[0].index)


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


def _key(file: TfliteFile, operator: Operator) -> tuple:
    return operator.kind, output_of(file, operator).shape


def _by_name(
    float_file: TfliteFile,
    int8_file: TfliteFile,
    float_left: list[Operator],
    int8_left: list[Operator],
) -> Iterator[tuple[Operator, Operator]]:
    named = {(output_of(int8_file, o).name, *_key(int8_file, o)): o for o in int8_left}
    for operator in float_left:
        key = (output_of(float_file, operator).name, *_key(float_file, operator))
        if key in named:
            yield operator, named.pop(key)


def _by_order(
    float_file: TfliteFile,
    int8_file: TfliteFile,
    float_left: list[Operator],
    int8_left: list[Operator],
) -> Iterator[tuple[Operator, Operator]]:
    queues = collections.defaultdict(collections.deque)
    for operator in int8_left:
        queues[_key(int8_file, operator)].append(operator)
    for operator in float_left:
        queue = queues[_key(float_file, operator)]
        if queue:
            yield operator, queue.popleft()


def _require_all_weights(
    float_file: TfliteFile, int8_file: TfliteFile, pairs: list
) -> None:
    """Refuse files that hold different networks.

    Raises:
        InputError: it names the first operator without a partner.
    """
    paired = ({a.index for a, _ in pairs}, {b.index for _, b in pairs})
    for file, known, words in (
        (float_file, paired[0], "float"),
        (int8_file, paired[1], "int8"),
    ):
        for operator in file.operators:
            if operator.kind in WEIGHTED and operator.index not in known:
                tensor = output_of(file, operator)
                raise InputError(
                    f"the files hold different networks: {layer_name(tensor.name)}"
                    f" ({operator.kind}, {list(tensor.shape)}) is in the {words} model"
                    " only; give the float model that the int8 model was made of"
                )
