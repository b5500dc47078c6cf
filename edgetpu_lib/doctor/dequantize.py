"""Turn an int8 model into a float model with the same weights."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib.tflite import edit

_TYPES = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}


def to_float(int8_tflite: bytes) -> bytes:
    """Return a float TFLite file with the dequantized weights of an int8 model.

    Its input and output are float; QUANTIZE and DEQUANTIZE are left out.
    """
    model = edit.unpack(int8_tflite)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        if _is_quantized(tensor):
            _to_float(tensor, model)
    _leave_out_quantizers(model)
    model.signatureDefs = None
    return edit.pack(model)


def _is_quantized(tensor: schema.TensorT) -> bool:
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    return tensor.type in _TYPES and scales is not None and len(scales) > 0


def _to_float(tensor: schema.TensorT, model: schema.ModelT) -> None:
    stored = model.buffers[tensor.buffer].data
    if stored is not None and len(stored):
        values = np.frombuffer(bytes(stored), _TYPES[tensor.type])
        real = _real(values.reshape(tensor.shape), tensor.quantization)
        # Its own buffer: tensors of other scales may share the bytes.
        tensor.buffer = edit.add_buffer(model, real)
    tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None


def _real(values: np.ndarray, quantization: schema.QuantizationParametersT):
    scales = np.array(quantization.scale, np.float32)
    zero_points = np.resize(np.array(quantization.zeroPoint, np.float32), len(scales))
    if len(scales) > 1:
        shape = [1] * values.ndim
        shape[quantization.quantizedDimension] = -1
        scales, zero_points = scales.reshape(shape), zero_points.reshape(shape)
    return ((values.astype(np.float32) - zero_points) * scales).astype(np.float32)


def _leave_out_quantizers(model: schema.ModelT) -> None:
    """Remove QUANTIZE and DEQUANTIZE, and connect their outputs to their inputs."""
    graph = model.subgraphs[0]
    quantizers = {schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE}
    same: dict[int, int] = {}
    kept = []
    for operator in graph.operators:
        operator.inputs = [same.get(int(i), int(i)) for i in operator.inputs]
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in quantizers:
            same[int(operator.outputs[0])] = operator.inputs[0]
        else:
            kept.append(operator)
    graph.operators = kept
    graph.outputs = [same.get(int(index), int(index)) for index in graph.outputs]
