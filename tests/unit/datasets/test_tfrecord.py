"""TFRecord shards are read at random, and damage is found where it is."""

import struct

import numpy as np
import pytest
import tensorflow as tf

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import tfrecord
from edgetpu_lib.images import opening

LABEL = "image/class/label"


def example(encoded=b"image", label=3):
    features = {}
    if encoded is not None:
        features["image/encoded"] = tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[encoded])
        )
    if label is not None:
        features[LABEL] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    content = tf.train.Example(features=tf.train.Features(feature=features))
    return content.SerializeToString()


def write(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return path


@pytest.fixture
def shard(tmp_path):
    """Return a shard of five images, longer and longer."""
    images = [example(b"x" * 10 * (n + 1), n) for n in range(5)]
    return write(tmp_path / "train-00000-of-00001", images)


def scan(path):
    return list(tfrecord.scan_shard(path, label_key=LABEL))


def test_every_record_is_found_and_read_in_any_order(shard):
    found = scan(shard)
    assert [label for _, label in found] == [0, 1, 2, 3, 4]
    for number in (3, 0, 4, 1, 2):
        assert found[number][0].read_bytes() == b"x" * 10 * (number + 1)


def test_record_is_a_image_like_a_file(shared):
    folder = shared("data/cifar10")
    place, label = next(
        tfrecord.scan_shard(folder / "validation-00000-of-00001", label_key=LABEL)
    )
    image = opening.open_image(place)[1]
    assert image.size == (32, 32)
    assert 1 <= label <= 10


def test_names_are_short_and_texts_say_where(shard):
    places = [place for place, _ in scan(shard)]
    assert len({place.name for place in places}) == 5
    assert str(shard) in str(places[2]) and "record 2" in str(places[2])


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_damaged_data_are_reported_in_their_place(shard):
    offset = scan(shard)[2][0].offset
    flip(shard, offset + 20)
    found = scan(shard)
    assert [n for n, (_, label) in enumerate(found) if not isinstance(label, int)] == [
        2
    ]
    assert f"record 2 (byte {offset})" in str(found[2][1])
    with pytest.raises(InputError, match="record 2"):
        found[2][0].read_bytes()
    assert found[3][0].read_bytes() == b"x" * 40


def test_damaged_length_ends_the_shard(shard):
    flip(shard, scan(shard)[2][0].offset + 1)
    found = []
    with pytest.raises(tfrecord.LostError, match="record 2"):
        found.extend(tfrecord.scan_shard(shard, label_key=LABEL))
    stream = tfrecord.scan_shard(shard, label_key=LABEL)
    assert [next(stream)[1] for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("cut", [1, 4, 30])
def test_cut_shard_is_reported(shard, cut):
    content = shard.read_bytes()
    shard.write_bytes(content[:-cut])
    with pytest.raises(tfrecord.LostError, match="record 4"):
        scan(shard)


def test_length_beyond_the_file_takes_no_memory(tmp_path):
    import google_crc32c

    header = struct.pack("<Q", 1 << 50)
    checksum = google_crc32c.value(header)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    path = tmp_path / "huge"
    path.write_bytes(header + struct.pack("<I", masked) + b"data")
    with pytest.raises(tfrecord.LostError, match="record 0"):
        scan(path)


@pytest.mark.parametrize(
    "payload", [example(label=None), np.random.default_rng(0).bytes(40)]
)
def test_record_of_something_else_is_reported(tmp_path, payload):
    found = scan(write(tmp_path / "odd", [payload, example()]))
    assert isinstance(found[0][1], InputError)
    assert found[1][1] == 3


def test_record_without_a_image_is_reported(tmp_path):
    ((place, _),) = scan(write(tmp_path / "odd", [example(encoded=None)]))
    with pytest.raises(InputError, match="image/encoded"):
        place.read_bytes()


def test_empty_shard_has_no_records(tmp_path):
    assert scan(write(tmp_path / "empty", [])) == []
