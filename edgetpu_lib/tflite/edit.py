"""Edit TFLite files: unpack them into objects and pack them again.

TensorFlow's own helper (`tensorflow.lite.tools.flatbuffer_utils`) does the same, but
imports all of TensorFlow, which takes 4 s and is not needed here.
"""

from __future__ import annotations

import dataclasses
import math

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib.tflite.file import IDENTIFIER

# Fused activations whose output is never below zero.
_NOT_NEGATIVE = (
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
)


def unpack(content: bytes) -> schema.ModelT:
    """Return a TFLite file as objects that can be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def pack(model: schema.ModelT) -> bytes:
    """Return the bytes of a TFLite file; the inverse of `unpack`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def add_buffer(model: schema.ModelT, values: np.ndarray) -> int:
    """Store values in a file and return the index of their buffer."""
    data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(schema.BufferT(data=data))
    return len(model.buffers) - 1


def with_outputs(content: bytes, indices: list[int]) -> bytes:
    """Return a TFLite file with further tensors, by index, among its outputs."""
    model = unpack(content)
    graph = model.subgraphs[0]
    graph.outputs = list(dict.fromkeys([*map(int, graph.outputs), *indices]))
    model.signatureDefs = None
    return pack(model)


@dataclasses.dataclass(frozen=True)
class Probe:
    """A float file whose outputs are the extremes of its tensors.

    Attributes:
        content: bytes of the file.
        shape: of one image.
        outputs: for each output of the file the index of the reduced tensor, whether
            it is the minimum, and the number of channels.
        names: of all tensors.
    """

    content: bytes
    shape: tuple[int, ...]
    outputs: tuple[tuple[int, bool, int], ...]
    names: tuple[str, ...]


def with_extremes(float_tflite: bytes) -> Probe:
    """Add REDUCE_MAX and REDUCE_MIN behind every operator, as outputs of the file.

    They reduce all axes but the last, the channels, while the tensor is still in the
    processor's cache. Where the activation cannot be negative, the minimum is left out.
    The file must have one image as its input; tensors of integers are passed over.
    """
    model = unpack(float_tflite)
    graph = model.subgraphs[0]
    names = tuple((tensor.name or b"").decode() for tensor in graph.tensors)
    highest = _add_code(model, schema.BuiltinOperator.REDUCE_MAX)
    lowest = _add_code(model, schema.BuiltinOperator.REDUCE_MIN)
    axes = {rank: _add_axes(model, rank) for rank in (1, 2, 3, 4, 5)}
    operators, outputs, probed = [], [], []
    for operator in graph.operators:
        operators.append(operator)
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", None)
        codes = [highest] if fused in _NOT_NEGATIVE else [highest, lowest]
        for index in operator.outputs:
            shape = list(graph.tensors[index].shape)
            floats = graph.tensors[index].type == schema.TensorType.FLOAT32
            if not floats or len(shape) not in axes:
                continue
            kept = shape[1:][-1:]
            for code in codes:
                made = _add_tensor(graph, kept)
                operators.append(_reduction(code, int(index), axes[len(shape)], made))
                outputs.append(made)
                probed.append((int(index), code == lowest, math.prod(kept)))
    graph.operators, graph.outputs = operators, outputs
    model.signatureDefs = None
    size = tuple(int(n) for n in graph.tensors[graph.inputs[0]].shape[1:])
    return Probe(pack(model), size, tuple(probed), names)


def _add_code(model: schema.ModelT, builtin: int) -> int:
    code = schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=builtin)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _add_axes(model: schema.ModelT, rank: int) -> int:
    """Store the axes before the last, or the only one, and return the tensor."""
    axes = np.arange(max(1, rank - 1), dtype=np.int32)
    graph = model.subgraphs[0]
    index = _add_tensor(graph, [len(axes)])
    graph.tensors[index].type = schema.TensorType.INT32
    graph.tensors[index].buffer = add_buffer(model, axes)
    return index


def _add_tensor(graph: schema.SubGraphT, shape: list[int]) -> int:
    graph.tensors.append(schema.TensorT(shape=shape, name=b"probe"))
    return len(graph.tensors) - 1


def _reduction(code: int, index: int, axes: int, made: int) -> schema.OperatorT:
    return schema.OperatorT(
        opcodeIndex=code,
        inputs=[index, axes],
        outputs=[made],
        builtinOptionsType=schema.BuiltinOptions.ReducerOptions,
        builtinOptions=schema.ReducerOptionsT(keepDims=False),
    )
