"""Read the tables of a FlatBuffer without trusting its offsets and lengths.

The readers of the `flatbuffers` package follow every offset and count.
Source: flatbuffers.dev, "FlatBuffers internals".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

_U16, _U32, _I32 = (struct.Struct(f"<{kind}").unpack_from for kind in "HIi")
# Smallest size of an entry of a vector of tables with the table that it refers to.
_ENTRY_BYTES = 16


class FlatBuffer:
    """The bytes of a file, and how many of them may still be read as vectors.

    In a file from a real writer no byte belongs to two vectors, so all vectors together
    are no longer than the file. Enforcing that bounds time and memory on a hostile
    file, in which a million tables may share their bytes.
    """

    def __init__(self, content: bytes) -> None:
        """Take the content of a file."""
        self.content = content
        self.unread_bytes = len(content)

    def root(self) -> Table:
        """Return the table that refers to all others."""
        return Table(self, _U32(self.content, 0)[0])

    def spend(self, size_bytes: int) -> None:
        """Count bytes as read; raise `ValueError` if the file holds fewer."""
        self.unread_bytes -= size_bytes
        if self.unread_bytes < 0:
            raise ValueError("lengths beyond the end of the file")

    def slice(self, start: int, size_bytes: int) -> memoryview:
        """Return bytes of the file, not copied, and count them as read."""
        self.spend(size_bytes)
        if start + size_bytes > len(self.content):
            raise ValueError("a value beyond the end of the file")
        return memoryview(self.content)[start : start + size_bytes]


class Table:
    """One table; its fields are given by their number in the schema, from 0.

    The methods raise `ValueError`, `IndexError` or `struct.error` on damage.
    """

    __slots__ = ("_buffer", "_fields", "_fields_end", "_start")

    def __init__(self, buffer: FlatBuffer, start: int) -> None:
        """Find the list of the fields' places."""
        self._buffer, self._start = buffer, start
        fields = start - _I32(buffer.content, start)[0]
        if fields < 0:
            raise ValueError("a table before the start of the file")
        self._fields_end = fields + _U16(buffer.content, fields)[0]
        self._fields = fields + 4

    def _place(self, field: int) -> int:
        """Return where a field is stored, or 0 if it is left out."""
        entry = self._fields + 2 * field
        if entry >= self._fields_end:
            return 0
        offset = _U16(self._buffer.content, entry)[0]
        return self._start + offset if offset else 0

    def _target(self, field: int) -> int:
        """Return where the offset in a field leads, or 0 if it is left out."""
        place = self._place(field)
        return place + _U32(self._buffer.content, place)[0] if place else 0

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return a number, stored as `kind` (of `struct`); `default` if left out."""
        place = self._place(field)
        if not place:
            return default
        return struct.unpack_from(f"<{kind}", self._buffer.content, place)[0]

    def table(self, field: int) -> Table | None:
        """Return the table that a field refers to, if it does."""
        target = self._target(field)
        return Table(self._buffer, target) if target else None

    def length(self, field: int) -> int:
        """Return how many entries a vector has."""
        target = self._target(field)
        return _U32(self._buffer.content, target)[0] if target else 0

    def numbers(self, field: int, kind: str) -> tuple[Any, ...]:
        """Return a vector of numbers, stored as `kind`."""
        count = self.length(field)
        if not count:
            return ()
        self._buffer.spend(count * struct.calcsize(f"<{kind}"))
        start = self._target(field) + 4
        return struct.unpack_from(f"<{count}{kind}", self._buffer.content, start)

    def bytes(self, field: int) -> memoryview:
        """Return a vector of bytes, or a text, not copied."""
        return self._buffer.slice(self._target(field) + 4, self.length(field))

    def item(self, field: int, index: int) -> Table:
        """Return one table of a vector."""
        if index >= self.length(field):
            raise IndexError(f"entry {index} of a shorter list")
        place = self._target(field) + 4 + 4 * index
        return Table(self._buffer, place + _U32(self._buffer.content, place)[0])

    def items(self, field: int) -> Iterator[Table]:
        """Yield all tables of a vector."""
        count = self.length(field)
        self._buffer.spend(count * _ENTRY_BYTES)
        return (self.item(field, index) for index in range(count))
