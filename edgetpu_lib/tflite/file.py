"""Read what a TFLite file holds, without running it and without trusting it.

Takes a `.tflite` path or bytes; gives its operators and tensors as plain data.
Used by `check`, `summary`, `calibrate`, `diagnose`; needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib.base.artifacts import InputError

IDENTIFIER = b"TFL3"
# FlatBuffers address their parts with signed 32-bit offsets.
MAX_BYTES = 2**31 - 1

# TensorFlow's own limit of dimensions. Source: tensorflow tensor_shape.h.
_MAX_RANK = 254
# TFLite counts the bytes of a tensor in 64 bits.
_MAX_ELEMENTS = 2**63 - 1
# No list of sizes, axes or paddings is longer.
_MAX_VALUES = 64
# Of an entry in a list of operators or tensors and what it refers to, at the least.
_ENTRY_BYTES = 16
_ITEM_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "int64": 8}

# Tensors that an operator's definition requires → kinds; all give at least one.
_NEEDED_INPUTS = {
    kind: count
    for count, kinds in (
        (1, "AVERAGE_POOL_2D CONCATENATION DEQUANTIZE L2_NORMALIZATION LOGISTIC"),
        (1, "MAX_POOL_2D PACK QUANTIZE RELU RELU6 RELU_N1_TO_1 RESHAPE RSQRT"),
        (1, "SOFTMAX SPACE_TO_DEPTH SQUEEZE TANH"),
        (2, "ADD CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED MAXIMUM"),
        (2, "MEAN MINIMUM MUL PAD PRELU REDUCE_MAX REDUCE_MIN RESIZE_BILINEAR"),
        (2, "RESIZE_NEAREST_NEIGHBOR SPLIT SQUARED_DIFFERENCE SUB SUM TRANSPOSE"),
        (3, "SLICE TRANSPOSE_CONV"),
        (4, "STRIDED_SLICE"),
    )
    for kind in kinds.split()
}

# What is read of an operator's options: kind → (table of the schema, fields).
_STEPS = ("FusedActivationFunction", "Padding", "StrideH", "StrideW")
_POOL = ("Pool2DOptions", (*_STEPS, "FilterHeight", "FilterWidth"))
_REDUCE = ("ReducerOptions", ("KeepDims",))
_OPTIONS = {
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": _POOL,
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "CONV_2D": (
        "Conv2DOptions",
        (*_STEPS, "DilationHFactor", "DilationWFactor"),
    ),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        (*_STEPS, "DilationHFactor", "DilationWFactor"),
    ),
    "FULLY_CONNECTED": (
        "FullyConnectedOptions",
        ("FusedActivationFunction", "WeightsFormat"),
    ),
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "PACK": ("PackOptions", ("Axis",)),
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", ("AlignCorners", "HalfPixelCenters")),
    "RESIZE_NEAREST_NEIGHBOR": (
        "ResizeNearestNeighborOptions",
        ("AlignCorners", "HalfPixelCenters"),
    ),
    "STRIDED_SLICE": ("StridedSliceOptions", ("EllipsisMask", "NewAxisMask")),
    "SUM": _REDUCE,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """Bytes that a file stores; tensors with the same value may share them.

    Attributes:
        data: the bytes, not copied.
    """

    data: memoryview = dataclasses.field(repr=False)

    @functools.cached_property
    def repeated(self) -> int | None:
        """What every byte is, or `None` if they differ or there are none."""
        values = np.frombuffer(self.data, np.uint8)
        alike = len(values) > 0 and bool((values == values[0]).all())
        return int(values[0]) if alike else None


_NOTHING = Stored(memoryview(b""))


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: as the converter called it.
        dtype: "int8", "uint8", "int32", "float32", … as in the schema, lower case.
        shape: with the batch first.
        shape_signature: as `shape`, with −1 where a size is open.
        scales: one for the tensor, or one a channel; empty when not quantized.
        zero_points: as many as `scales`.
        stored: the value; empty for what is computed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    stored: Stored = dataclasses.field(repr=False)

    @property
    def is_constant(self) -> bool:
        """Whether the value is stored in the file, or empty."""
        return len(self.stored.data) > 0 or 0 in self.shape_signature

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def elements(self) -> int:
        """Number of elements: bytes, where each is an 8-bit integer."""
        return math.prod(self.shape)

    def values(self) -> list[int]:
        """Return the first 64 stored integers, flat; none for other types."""
        if self.dtype not in _ITEM_BYTES:
            return []
        data = self.stored.data[: _MAX_VALUES * _ITEM_BYTES[self.dtype]]
        return np.frombuffer(data, self.dtype).tolist()


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of a file.

    Attributes:
        index: position in the order of execution.
        kind: "CONV_2D", …; a custom operator's own name, which is none of TFLite's.
        is_custom: whether it is no operator of TFLite itself.
        version: of the operator's definition that it needs.
        inputs: indices of tensors; −1 where an optional one is left out.
        outputs: indices of tensors.
        options: what `check` and `diagnose` ask of the schema's options.
    """

    index: int
    kind: str
    is_custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]


@dataclasses.dataclass(frozen=True)
class TfliteFile:
    """The first subgraph of a file, which is the one that runs.

    Attributes:
        operators: in the order of execution.
        tensors: all, constants included.
        inputs: indices of tensors.
        outputs: indices of tensors.
        subgraphs: how many the file holds.
        size_bytes: of the file.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int
    size_bytes: int


def read_bytes(model: str | Path | bytes) -> tuple[str, bytes]:
    """Return a name for messages and the content of a TFLite file.

    Args:
        model: path or bytes of a `.tflite` file.

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


def read_tflite(model: str | Path | bytes) -> TfliteFile:
    """Read the operators and tensors of a TFLite file.

    Time and memory are bounded by the file's size, whatever its bytes say.

    Args:
        model: path or bytes of a `.tflite` file.

    Raises:
        InputError: the file is missing, not a TFLite file, or damaged.
    """
    name, content = read_bytes(model)
    try:
        return _Reader(content).read()
    # The schema's accessors follow offsets without checking them, so that damage shows
    # as any of these.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise InputError(
            f"{name} is a damaged TFLite file ({error}); convert it again"
        ) from error


class _Reader:
    """Walks over the tables of one file with the schema's accessors.

    In an honest file no byte belongs to two vectors, so all vectors together are no
    longer than the file. Keeping to that is what bounds the work on a hostile one, in
    which a million tables may share their bytes.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated

        self.schema = schema_py_generated
        self.content = content
        self.unread = len(content)
        self.model = self.schema.Model.GetRootAs(content)
        # Read where they are needed, and once.
        self.codes: dict[int, tuple[str, bool, int]] = {}
        self.buffers: dict[int, Stored] = {0: _NOTHING}
        self.ranges: dict[tuple[int, int], Stored] = {}

    def read(self) -> TfliteFile:
        subgraphs = self._length(self.model, "Subgraphs")
        if not subgraphs:
            raise ValueError("no subgraph")
        graph = self.model.Subgraphs(0)
        tensors = tuple(map(self._tensor, self._tables(graph, "Tensors")))
        operators = tuple(
            self._operator(index, table, len(tensors))
            for index, table in enumerate(self._tables(graph, "Operators"))
        )
        ends = [self._indices(graph, f, len(tensors)) for f in ("Inputs", "Outputs")]
        if any(index < 0 for end in ends for index in end):
            raise IndexError("an input or output of the model is left out")
        return TfliteFile(operators, tensors, *ends, subgraphs, len(self.content))

    def _spend(self, count: int, size: int) -> int:
        self.unread -= count * size
        if self.unread < 0:
            raise ValueError("lengths beyond the end of the file")
        return count

    def _length(self, table: Any, field: str, size: int = 4) -> int:
        return self._spend(getattr(table, f"{field}Length")(), size)

    def _tables(self, table: Any, field: str):
        for index in range(self._length(table, field, _ENTRY_BYTES)):
            yield getattr(table, field)(index)

    def _numbers(self, table: Any, field: str, size: int = 4) -> np.ndarray:
        if not self._length(table, field, size):
            return np.empty(0, np.int32)
        return getattr(table, f"{field}AsNumpy")()

    def _indices(self, table: Any, field: str, tensors: int) -> tuple[int, ...]:
        indices = tuple(self._numbers(table, field).tolist())
        if any(not -1 <= index < tensors for index in indices):
            raise IndexError(f"{field.lower()} name a tensor that is not there")
        return indices

    def _text(self, text: bytes | None) -> str:
        text = text or b""
        self._spend(len(text), 1)
        name = text.decode("utf-8", errors="replace")
        # Names are shown, and a terminal obeys some characters.
        return name if name.isprintable() else re.sub(r"[^ -~]", "?", name)

    def _code(self, index: int) -> tuple[str, bool, int]:
        if index not in self.codes:
            if index >= self.model.OperatorCodesLength():
                raise IndexError("an operator of a kind that is not there")
            self.codes[index] = self._read_code(self.model.OperatorCodes(index))
        return self.codes[index]

    def _read_code(self, code: Any) -> tuple[str, bool, int]:
        kinds = _names(self.schema.BuiltinOperator)
        # Old files hold the code in one byte, new ones in an integer beside it.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number != self.schema.BuiltinOperator.CUSTOM:
            return kinds.get(number, f"BUILTIN_{number}"), False, code.Version()
        name = self._text(code.CustomCode()) or "CUSTOM"
        if name in kinds.values():
            name = f"custom {name}"
        return name, True, code.Version()

    def _stored(self, index: int) -> Stored:
        if index not in self.buffers:
            if index >= self.model.BuffersLength():
                raise IndexError("a value that is not there")
            self.buffers[index] = self._read_buffer(self.model.Buffers(index))
        return self.buffers[index]

    def _read_buffer(self, buffer: Any) -> Stored:
        if self._length(buffer, "Data", 1):
            return Stored(memoryview(buffer.DataAsNumpy()))
        # Files of more than 2 GB, or made as if they were, hold values behind the rest.
        start, size = buffer.Offset(), buffer.Size()
        if start <= 1:
            return _NOTHING
        if (start, size) not in self.ranges:
            if start + self._spend(size, 1) > len(self.content):
                raise ValueError("a value beyond the end of the file")
            data = memoryview(self.content)[start : start + size]
            self.ranges[start, size] = Stored(data)
        return self.ranges[start, size]

    def _shape(self, table: Any, field: str) -> tuple[int, ...]:
        shape = self._numbers(table, field)
        if len(shape) > _MAX_RANK or any(shape < -1):
            raise ValueError("a tensor with impossible sizes")
        sizes = tuple(shape.tolist())
        if abs(math.prod(sizes)) > _MAX_ELEMENTS:
            raise ValueError(f"a tensor of shape {list(sizes)}")
        return sizes

    def _tensor(self, table: Any) -> Tensor:
        types = _names(self.schema.TensorType)
        shape = self._shape(table, "Shape")
        quantization = table.Quantization()
        scales = zero_points = np.empty(0)
        if quantization is not None:
            scales = self._numbers(quantization, "Scale")
            zero_points = self._numbers(quantization, "ZeroPoint", 8)
            if not np.all((scales >= 0) & (scales < np.inf)):
                raise ValueError("a scale that is no positive number")
        tensor = Tensor(
            name=self._text(table.Name()),
            dtype=types.get(table.Type(), f"type_{table.Type()}").lower(),
            shape=shape,
            shape_signature=self._shape(table, "ShapeSignature") or shape,
            scales=tuple(scales.tolist()),
            zero_points=tuple(zero_points.tolist()),
            stored=self._stored(table.Buffer()),
        )
        item, stored = _ITEM_BYTES.get(tensor.dtype), len(tensor.stored.data)
        if item and stored and table.Sparsity() is None:
            if min(shape, default=1) < 1 or stored != item * tensor.elements:
                raise ValueError(f"{stored} bytes for shape {list(shape)}")
        return tensor

    def _operator(self, index: int, table: Any, tensors: int) -> Operator:
        kind, is_custom, version = self._code(table.OpcodeIndex())
        inputs = self._indices(table, "Inputs", tensors)
        outputs = self._indices(table, "Outputs", tensors)
        if kind in _NEEDED_INPUTS:
            needed = inputs[: _NEEDED_INPUTS[kind]]
            if len(needed) < _NEEDED_INPUTS[kind] or not outputs:
                raise IndexError(f"{kind} with too few tensors")
            if min((*needed, *outputs)) < 0:
                raise IndexError(f"{kind} without a tensor that it needs")
        options = {} if is_custom else self._options(kind, table)
        return Operator(index, kind, is_custom, version, inputs, outputs, options)

    def _options(self, kind: str, table: Any) -> dict[str, int]:
        if kind not in _OPTIONS:
            return {}
        name, fields = _OPTIONS[kind]
        options = getattr(self.schema, name)()
        union = table.BuiltinOptions()
        expected = getattr(self.schema.BuiltinOptions, name)
        if union is None or table.BuiltinOptionsType() != expected:
            return dict.fromkeys(fields, 0)
        options.Init(union.Bytes, union.Pos)
        return {field: int(getattr(options, field)()) for field in fields}


@functools.cache
def _names(numbers: type) -> dict[int, str]:
    """Return number → name of one of the schema's enumerations."""
    return {n: name for name, n in vars(numbers).items() if isinstance(n, int)}
