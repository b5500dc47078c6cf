"""Read images from TFRecord shards, at random, without unpacking them.

Takes shards in the reference's ImageNet layout; gives a place for every image in them.
Next: `data_sets` gathers places, labels and names into images like any others.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from edgetpu_lib.base.artifacts import InputError

# Source: tensorflow/core/lib/io/record_writer.h: length uint64, its checksum, the
# data, their checksum; a checksum is rotated and shifted by a constant.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """The place of one image; it reads like a `pathlib.Path` of an image.

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
                payload = _read_payload(stream, self)
        except OSError as error:
            raise InputError(f"cannot read {self}: {error.strerror}") from error
        encoded = _features(payload, self)[self.image_key].bytes_list.value
        if len(encoded) != 1:
            raise InputError(f"{self} has no {self.image_key}; write the shard again")
        return encoded[0]


def scan_shard(
    shard: Path, *, image_key: str = "image/encoded", label_key: str
) -> Iterator[tuple[Record, int | InputError]]:
    """Yield every record's place and label.

    Args:
        shard: a TFRecord file, not compressed.
        image_key: the feature that holds the encoded image.
        label_key: the feature that holds the class, an integer.

    Yields:
        The place and the label as it is stored; where the record's data are damaged,
        the error instead of the label.

    Raises:
        LostError: a record's length is damaged or the file is cut, so that nothing
            behind it can be found.
    """
    with open(shard, "rb") as stream:
        offset = number = 0
        while stream.peek(1):
            record = Record(shard, offset, number, image_key)
            length = _read_length(stream, record)
            try:
                payload = _check_payload(stream, length, record)
                yield record, _label(payload, label_key, record)
            except LostError:
                raise
            except InputError as error:
                yield record, error
            offset += _HEADER.size + length + _FOOTER.size
            number += 1
            stream.seek(offset)


class LostError(InputError):
    """Nothing behind a record can be found."""


def _read_payload(stream, record: Record) -> bytes:
    return _check_payload(stream, _read_length(stream, record), record)


def _read_length(stream, record: Record) -> int:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise LostError(f"{record} is cut short; copy the shard again")
    length, checksum = _HEADER.unpack(header)
    if checksum != _masked_checksum(header[:8]):
        raise LostError(
            f"{record} has a damaged length, nothing behind it can be read;"
            " copy the shard again"
        )
    return length


def _check_payload(stream, length: int, record: Record) -> bytes:
    left = os.fstat(stream.fileno()).st_size - stream.tell()
    payload = stream.read(min(length, left))
    footer = stream.read(_FOOTER.size)
    if len(payload) < length or len(footer) < _FOOTER.size:
        raise LostError(f"{record} is cut short; copy the shard again")
    if _FOOTER.unpack(footer)[0] != _masked_checksum(payload):
        raise InputError(f"{record} has damaged data; copy the shard again")
    return payload


def _masked_checksum(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _features(payload: bytes, record: Record):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(payload).features.feature
    except DecodeError as error:
        raise InputError(
            f"{record} is not a tf.train.Example; give shards in ImageNet layout"
        ) from error


def _label(payload: bytes, label_key: str, record: Record) -> int:
    label = _features(payload, record)[label_key].int64_list.value
    if len(label) != 1:
        raise InputError(f"{record} has no {label_key}; write the shard again")
    return label[0]
