"""Read what a TFLite file holds, without running it and without trusting it.

Takes a `.tflite` path or bytes; gives its operators and tensors as plain data.
Used by `check`, `summary`, `calibrate`; needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib.artifacts import InputError

IDENTIFIER = b"TFL3"
# FlatBuffers address their parts with signed 32-bit offsets.
MAX_BYTES = 2**31 - 1

# What is read of an operator's options: kind → (table of the schema, fields).
_POOL = ("Pool2DOptions", ("FusedActivationFunction",))
_REDUCE = ("ReducerOptions", ("KeepDims",))
_OPTIONS = {
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": _POOL,
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "CONV_2D": (
        "Conv2DOptions",
        ("FusedActivationFunction", "DilationHFactor", "DilationWFactor"),
    ),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        ("FusedActivationFunction", "DilationHFactor", "DilationWFactor"),
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
        data: the stored value, not copied; empty for what is computed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    data: memoryview = dataclasses.field(repr=False)

    @property
    def is_constant(self) -> bool:
        """Whether the value is stored in the file."""
        return len(self.data) > 0

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def elements(self) -> int:
        """Number of elements: bytes, where each is an 8-bit integer."""
        return math.prod(self.shape)

    def values(self) -> list[int]:
        """Return the stored integers, flat; none for other types or no value."""
        if self.dtype not in ("int8", "uint8", "int32", "int64"):
            return []
        return np.frombuffer(self.data, self.dtype).tolist()


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of a file.

    Attributes:
        index: position in the order of execution.
        kind: "CONV_2D", …; a custom operator's own name.
        is_custom: whether it is no operator of TFLite itself.
        version: of the operator's definition that it needs.
        inputs: indices of tensors; −1 where an optional one is left out.
        outputs: indices of tensors.
        options: what `check` asks of the schema's options.
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

    def read(self) -> TfliteFile:
        model = self.schema.Model.GetRootAs(self.content)
        subgraphs = self._length(model, "Subgraphs")
        if not subgraphs:
            raise ValueError("no subgraph")
        graph = model.Subgraphs(0)
        codes = [self._code(table) for table in self._tables(model, "OperatorCodes")]
        buffers = list(self._tables(model, "Buffers"))
        tensors = tuple(
            self._tensor(table, buffers) for table in self._tables(graph, "Tensors")
        )
        operators = tuple(
            self._operator(index, table, codes, len(tensors))
            for index, table in enumerate(self._tables(graph, "Operators"))
        )
        return TfliteFile(
            operators,
            tensors,
            self._indices(graph, "Inputs", len(tensors)),
            self._indices(graph, "Outputs", len(tensors)),
            subgraphs,
            len(self.content),
        )

    def _spend(self, count: int, size: int) -> int:
        self.unread -= count * size
        if self.unread < 0:
            raise ValueError("lengths beyond the end of the file")
        return count

    def _length(self, table: Any, field: str, size: int = 4) -> int:
        return self._spend(getattr(table, f"{field}Length")(), size)

    def _tables(self, table: Any, field: str):
        for index in range(self._length(table, field)):
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
        return text.decode("utf-8", errors="replace")

    def _code(self, code: Any) -> tuple[str, bool, int]:
        # Old files hold the code in one byte, new ones in an integer beside it.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == self.schema.BuiltinOperator.CUSTOM:
            return self._text(code.CustomCode()) or "CUSTOM", True, code.Version()
        kinds = _names(self.schema.BuiltinOperator)
        return kinds.get(number, f"BUILTIN_{number}"), False, code.Version()

    def _tensor(self, table: Any, buffers: list[Any]) -> Tensor:
        types = _names(self.schema.TensorType)
        shape = tuple(self._numbers(table, "Shape").tolist())
        signature = tuple(self._numbers(table, "ShapeSignature").tolist())
        data = memoryview(b"")
        # Buffer 0 is empty by the schema, and may be missing.
        if table.Buffer() and buffers[table.Buffer()].DataLength():
            # Not copied, so that tensors may share it.
            data = memoryview(buffers[table.Buffer()].DataAsNumpy())
        quantization = table.Quantization()
        scales = zero_points = np.empty(0)
        if quantization is not None:
            scales = self._numbers(quantization, "Scale")
            zero_points = self._numbers(quantization, "ZeroPoint", 8)
        dtype = types.get(table.Type(), f"type_{table.Type()}").lower()
        return Tensor(
            name=self._text(table.Name()),
            dtype=dtype,
            shape=shape,
            shape_signature=signature or shape,
            scales=tuple(scales.tolist()),
            zero_points=tuple(zero_points.tolist()),
            data=data,
        )

    def _operator(
        self, index: int, table: Any, codes: list[tuple], tensors: int
    ) -> Operator:
        kind, is_custom, version = codes[table.OpcodeIndex()]
        return Operator(
            index,
            kind,
            is_custom,
            version,
            self._indices(table, "Inputs", tensors),
            self._indices(table, "Outputs", tensors),
            {} if is_custom else self._options(kind, table),
        )

    def _options(self, kind: str, table: Any) -> dict[str, int]:
        if kind not in _OPTIONS:
            return {}
        name, fields = _OPTIONS[kind]
        options = getattr(self.schema, name)()
        union = table.BuiltinOptions()
        if union is None:
            return dict.fromkeys(fields, 0)
        options.Init(union.Bytes, union.Pos)
        return {field: int(getattr(options, field)()) for field in fields}


@functools.cache
def _names(numbers: type) -> dict[int, str]:
    """Return number → name of one of the schema's enumerations."""
    return {n: name for name, n in vars(numbers).items() if isinstance(n, int)}
