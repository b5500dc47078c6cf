"""The parts of a TFLite file as plain data: tensors, operators, stored bytes."""

from __future__ import annotations

import dataclasses
import functools
import math
import struct

# No list of sizes, axes or paddings is longer.
_MAX_VALUES = 64
# Types of integers, as in `struct`.
INTEGERS = {"int8": "b", "uint8": "B", "int32": "i", "int64": "q"}


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """Bytes of a file, not copied; tensors with the same value may share them."""

    data: memoryview = dataclasses.field(repr=False)

    @functools.cached_property
    def repeated(self) -> int | None:
        """The value of every byte; `None` if they differ or there are none."""
        data = bytes(self.data)
        alike = data and data.count(data[:1]) == len(data)
        return data[0] if alike else None


NO_DATA = Stored(memoryview(b""))


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: given by the converter.
        dtype: "int8", "uint8", "int32", "float32", … as NumPy spells it.
        shape: sizes, the batch first.
        shape_signature: `shape` with −1 where a size is open.
        scales: one for the tensor or one a channel; empty if not quantized.
        zero_points: as many as `scales`.
        stored: the value of a constant; empty otherwise.
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
        if self.dtype not in INTEGERS:
            return []
        kind = INTEGERS[self.dtype]
        count = min(_MAX_VALUES, len(self.stored.data) // struct.calcsize(f"<{kind}"))
        return list(struct.unpack_from(f"<{count}{kind}", self.stored.data))


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of a file.

    Attributes:
        index: position in the order of execution.
        kind: "CONV_2D", …, or the name of a custom operator.
        is_custom: whether it is no operator of TFLite itself.
        version: of the operator's definition.
        inputs: indices of tensors; −1 where an optional one is left out.
        outputs: indices of tensors.
        options: name in the schema → value, where `schema.OPTIONS` lists it.
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

    Operators are in the order of execution; inputs and outputs are indices of tensors;
    `subgraphs` is the number of subgraphs in the file.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int
