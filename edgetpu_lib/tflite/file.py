"""Read the operators and tensors of a TFLite file, without running or trusting it.

Needs the standard library alone: neither NumPy nor a TFLite runtime.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite import schema
from edgetpu_lib.tflite.flatbuffer import FlatBuffer, Table
from edgetpu_lib.tflite.parts import (
    INTEGERS,
    NO_DATA,
    Operator,
    Stored,
    Tensor,
    TfliteFile,
)

IDENTIFIER = b"TFL3"
# FlatBuffers address their parts with signed 32-bit offsets.
MAX_BYTES = 2**31 - 1

# TensorFlow's own limit of dimensions. Source: tensorflow tensor_shape.h.
_MAX_RANK = 254
# Kernels look up tables by what they compute of a zero point.
_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
# TFLite counts the bytes of a tensor in 64 bits.
_MAX_ELEMENTS = 2**63 - 1


def read_bytes(model: str | Path | bytes) -> tuple[str, bytes]:
    """Return the name (for messages) and the content of a TFLite file.

    Raises:
        InputError: the file is missing, not a TFLite file, or larger than one can be.
    """
    if isinstance(model, bytes):
        name, content = "the model", model
    else:
        name, content = str(model), _read_path(Path(model))
    if content[4:8] != IDENTIFIER:
        raise InputError(f"{name} is not a TFLite file; give a .tflite file")
    return name, content


def _read_path(path: Path) -> bytes:
    try:
        # Not a pipe or a device, which may never end.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path} is not a plain file; give a .tflite file")
        with open(path, "rb") as stream:
            head = stream.read(8)
            if head[4:8] != IDENTIFIER or path.stat().st_size > MAX_BYTES:
                return b""
            return head + stream.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read {path}: {reason}; give a .tflite file"
        ) from error


def read_tflite(model: str | Path | bytes, *, name: str | None = None) -> TfliteFile:
    """Read the operators and tensors of a TFLite file.

    Time and memory are bounded by the file's size, whatever its bytes say. `name` is
    for messages; `None` takes the path.

    Raises:
        InputError: the file is missing, not a TFLite file, or damaged.
    """
    path, content = read_bytes(model)
    try:
        return _Reader(content).read()
    except (LookupError, ValueError, struct.error) as error:
        raise InputError(
            f"{name or path} is a damaged TFLite file ({error}); convert it again"
        ) from error


class _Reader:
    """Reads the tables of one file, each constant once."""

    def __init__(self, content: bytes) -> None:
        self.buffer = FlatBuffer(content)
        self.model = self.buffer.root()
        self.codes: dict[int, tuple[str, bool, int]] = {}
        self.constants: dict[int, Stored] = {0: NO_DATA}
        self.ranges: dict[tuple[int, int], Stored] = {}

    def read(self) -> TfliteFile:
        subgraphs = self.model.length(schema.MODEL["Subgraphs"])
        if not subgraphs:
            raise ValueError("no subgraph")
        graph, fields = self.model.item(schema.MODEL["Subgraphs"], 0), schema.SUBGRAPH
        tensors = tuple(map(self._tensor, graph.items(fields["Tensors"])))
        operators = tuple(
            self._operator(index, table, len(tensors))
            for index, table in enumerate(graph.items(fields["Operators"]))
        )
        ends = [_indices(graph, fields[f], len(tensors)) for f in ("Inputs", "Outputs")]
        if any(index < 0 for end in ends for index in end):
            raise IndexError("an input or output of the model is left out")
        return TfliteFile(operators, tensors, *ends, subgraphs)

    def _code(self, index: int) -> tuple[str, bool, int]:
        if index not in self.codes:
            table = self.model.item(schema.MODEL["OperatorCodes"], index)
            self.codes[index] = _read_code(table)
        return self.codes[index]

    def _constant(self, index: int) -> Stored:
        if index not in self.constants:
            table = self.model.item(schema.MODEL["Buffers"], index)
            self.constants[index] = self._read_constant(table)
        return self.constants[index]

    def _read_constant(self, table: Table) -> Stored:
        fields = schema.BUFFER
        if table.length(fields["Data"]):
            return Stored(table.bytes(fields["Data"]))
        # Files of more than 2 GB, or made as if they were, hold values behind the rest.
        start, size = (table.number(fields[f], "Q") for f in ("Offset", "Size"))
        if start <= 1:
            return NO_DATA
        if (start, size) not in self.ranges:
            self.ranges[start, size] = Stored(self.buffer.slice(start, size))
        return self.ranges[start, size]

    def _tensor(self, table: Table) -> Tensor:
        fields = schema.TENSOR
        shape = _shape(table, fields["Shape"])
        scales, zero_points = _quantization(table.table(fields["Quantization"]))
        tensor = Tensor(
            name=_text(table, fields["Name"]),
            dtype=_named(
                schema.TENSOR_TYPES, table.number(fields["Type"], "b"), "type_"
            ),
            shape=shape,
            shape_signature=_shape(table, fields["ShapeSignature"]) or shape,
            scales=scales,
            zero_points=zero_points,
            stored=self._constant(table.number(fields["Buffer"], "I")),
        )
        low, high = _ZERO_POINTS.get(tensor.dtype, (-math.inf, math.inf))
        if zero_points and not low <= min(zero_points) <= max(zero_points) <= high:
            raise ValueError(f"zero points {zero_points[:3]} of {tensor.dtype}")
        kind, stored_bytes = INTEGERS.get(tensor.dtype), len(tensor.stored.data)
        if kind and stored_bytes and table.table(fields["Sparsity"]) is None:
            expected_bytes = struct.calcsize(f"<{kind}") * tensor.elements
            if min(shape, default=1) < 1 or stored_bytes != expected_bytes:
                raise ValueError(f"{stored_bytes} bytes for shape {list(shape)}")
        return tensor

    def _operator(self, index: int, table: Table, tensors: int) -> Operator:
        fields = schema.OPERATOR
        kind, is_custom, version = self._code(table.number(fields["OpcodeIndex"], "I"))
        inputs = _indices(table, fields["Inputs"], tensors)
        outputs = _indices(table, fields["Outputs"], tensors)
        if kind in schema.NEEDED_INPUTS:
            needed = inputs[: schema.NEEDED_INPUTS[kind]]
            if len(needed) < schema.NEEDED_INPUTS[kind] or not outputs:
                raise IndexError(f"{kind} with too few tensors")
            if min((*needed, *outputs)) < 0:
                raise IndexError(f"{kind} without a tensor that it needs")
        options = {} if is_custom else _options(kind, table)
        _require_counts(kind, options, len(inputs), len(outputs))
        return Operator(index, kind, is_custom, version, inputs, outputs, options)


def _read_code(table: Table) -> tuple[str, bool, int]:
    """Return an operator's kind, whether it is custom, and its version."""
    fields = schema.OPERATOR_CODE
    # Old files hold the code in one byte, new ones in an integer beside it.
    number = max(
        table.number(fields["BuiltinCode"], "i"),
        table.number(fields["DeprecatedBuiltinCode"], "b"),
    )
    version = table.number(fields["Version"], "i", 1)
    if number != schema.CUSTOM:
        return _named(schema.OPERATORS, number, "BUILTIN_"), False, version
    name = _text(table, fields["CustomCode"]) or "CUSTOM"
    return f"custom {name}" if name in schema.OPERATORS else name, True, version


def _options(kind: str, table: Table) -> dict[str, int]:
    if kind not in schema.OPTIONS:
        return {}
    expected, fields = schema.OPTIONS[kind]
    options = table.table(schema.OPERATOR["BuiltinOptions"])
    given = table.number(schema.OPERATOR["BuiltinOptionsType"], "B")
    if options is None or given != expected:
        return dict.fromkeys(fields, 0)
    return {name: options.number(*place) for name, place in fields.items()}


def _require_counts(
    kind: str, options: dict[str, int], inputs: int, outputs: int
) -> None:
    """Raise `ValueError` if an operator has more or fewer tensors than it says."""
    counts = ((schema.INPUT_COUNTS, inputs), (schema.OUTPUT_COUNTS, outputs))
    for table, have in counts:
        said = options.get(table.get(kind, ""), have)
        if said != have:
            raise ValueError(f"{kind} says {said} tensors and has {have}")


def _named(names: list[str], number: int, unknown: str) -> str:
    """Return a name of the schema, or `unknown` and the number."""
    return names[number] if 0 <= number < len(names) else f"{unknown}{number}"


def _quantization(table: Table | None) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the scales and zero points of a tensor."""
    if table is None:
        return (), ()
    scales = table.numbers(schema.QUANTIZATION["Scale"], "f")
    if not all(0 <= scale < math.inf for scale in scales):
        raise ValueError("a scale that is no positive number")
    return scales, table.numbers(schema.QUANTIZATION["ZeroPoint"], "q")


def _shape(table: Table, field: int) -> tuple[int, ...]:
    sizes = table.numbers(field, "i")
    if len(sizes) > _MAX_RANK or min(sizes, default=0) < -1:
        raise ValueError("a tensor with impossible sizes")
    if abs(math.prod(sizes)) > _MAX_ELEMENTS:
        raise ValueError(f"a tensor of shape {list(sizes)}")
    return sizes


def _indices(table: Table, field: int, tensors: int) -> tuple[int, ...]:
    indices = table.numbers(field, "i")
    if indices and not -1 <= min(indices) <= max(indices) < tensors:
        raise IndexError("an operator or the model names a tensor that is not there")
    return indices


def _text(table: Table, field: int) -> str:
    if not table.length(field):
        return ""
    name = str(table.bytes(field), "utf-8", errors="replace")
    # Names are shown, and a terminal obeys some characters.
    return name if name.isprintable() else re.sub(r"[^ -~]", "?", name)
