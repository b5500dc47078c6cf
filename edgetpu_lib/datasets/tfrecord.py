"""Read images from TFRecord files in any order, without unpacking them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

from edgetpu_lib.base.artifacts import InputError

# Source: tensorflow/core/lib/io/record_writer.h: length uint64, its checksum, the
# data, their checksum; a checksum is rotated and shifted by a constant.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """The place of one image; it is read like the `pathlib.Path` of an image.

    Attributes:
        shard: the TFRecord file.
        offset: of the record in it, bytes.
        number: of the record in it, from 0.
        image_key: the feature that holds the encoded image.
    """

    shard: Path
    offset: int
    number: int
    image_key: str = "image/encoded"

    def __str__(self) -> str:
        """Return file and position, as errors name them."""
        return f"{self.shard} record {self.number} (byte {self.offset})"

    @property
    def name(self) -> str:
        """Return a short name that is unique in the shard's folder."""
        return f"{self.shard.name}:{self.number}"

    def read_bytes(self) -> bytes:
        """Return the encoded image.

        Raises:
            InputError: the record is damaged or holds no image.
        """
        try:
            with open(self.shard, "rb") as stream:
                stream.seek(self.offset)
                data = _read(stream, self)
        except OSError as error:
            raise InputError(f"cannot read {self}: {error.strerror}") from error
        return _feature(data, self.image_key, "bytes_list", self)


class LostError(InputError):
    """A record is damaged so that those behind it cannot be found."""


def scan_shard(
    shard: Path, *, label_key: str
) -> Iterator[tuple[Record, int | InputError]]:
    """Yield every record's place and label.

    The file is not compressed; `label_key` is the feature that holds the class, an
    integer. Where a record's data are damaged, the error replaces the label.

    Raises:
        LostError: a record's length is damaged or the file is cut.
    """
    with open(shard, "rb") as stream:
        for number in itertools.count():
            if not stream.peek(1):
                return
            record = Record(shard, stream.tell(), number)
            try:
                data = _read(stream, record)
                yield record, _feature(data, label_key, "int64_list", record)
            except LostError:
                raise
            except InputError as error:
                yield record, error


def _read(stream: BinaryIO, record: Record) -> bytes:
    """Return the data of the record at which a stream stands; move behind it."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise LostError(f"{record} is cut short; copy the shard again")
    length, checksum = _HEADER.unpack(header)
    if checksum != _masked_checksum(header[:8]):
        raise LostError(
            f"{record} has a damaged length, nothing behind it can be read;"
            " copy the shard again"
        )
    left = os.fstat(stream.fileno()).st_size - stream.tell()
    if length + _FOOTER.size > left:
        raise LostError(f"{record} is cut short; copy the shard again")
    data, footer = stream.read(length), stream.read(_FOOTER.size)
    if _FOOTER.unpack(footer)[0] != _masked_checksum(data):
        raise InputError(f"{record} has damaged data; copy the shard again")
    return data


def _masked_checksum(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _feature(data: bytes, key: str, kind: str, record: Record) -> Any:
    """Return the one value of a feature; `kind` is its field in `tf.train.Feature`."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError as error:
        raise InputError(
            f"{record} is not a tf.train.Example; give shards in ImageNet layout"
        ) from error
    values = getattr(features[key], kind).value
    if len(values) != 1:
        raise InputError(f"{record} has no {key}; write the shard again")
    return values[0]
