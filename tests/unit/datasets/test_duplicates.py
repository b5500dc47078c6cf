"""Copies of images are found: the same bytes, and the same scene."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from edgetpu_lib.datasets import duplicates
from edgetpu_lib.images.loading import load_image
from edgetpu_lib.images.rendered import render_flower


class Encoded:
    """An image file in memory, read like a record."""

    name = "encoded"

    def __init__(self, content):
        self.content = content

    def read_bytes(self):
        return self.content


def grey(image):
    """Return an image as the audit compares it, after JPEG."""
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=60)
    rgb = load_image(Encoded(packed.getvalue()), duplicates.GREY_SIZE, resize="square")
    return rgb.mean(axis=-1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def flowers():
    kinds = ("daisy", "rose", "tulip", "sunflower")
    return [
        Image.fromarray(render_flower(kind, index))
        for index in range(3)
        for kind in kinds
    ]


CHANGES = {
    "encoded again": lambda image: image,
    "half the size": lambda image: image.resize([side // 2 for side in image.size]),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "cut at the edges": lambda image: image.crop(
        [round(share * image.size[0]) for share in (0.03, 0.04, 0.98, 0.97)]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_the_same_scene_and_other_flowers_are_not(flowers, change):
    copies = [CHANGES[change](image) for image in flowers[:6]]
    greys = np.stack([grey(image) for image in [*flowers, *copies]])
    pairs = duplicates.near_pairs(greys)
    assert pairs.tolist() == [[i, len(flowers) + i] for i in range(6)]


def test_pairs_do_not_depend_on_how_many_are_compared_at_once(flowers, monkeypatch):
    greys = np.stack([grey(image) for image in [*flowers, flowers[3], flowers[3]]])
    at_once = duplicates.near_pairs(greys)
    monkeypatch.setattr(duplicates, "_CHUNK", 1)
    assert duplicates.near_pairs(greys).tolist() == at_once.tolist()
    assert at_once.tolist() == [[3, 12], [3, 13], [12, 13]]


def test_one_image_and_flat_images_are_in_no_pair():
    flat = np.full((3, duplicates.GREY_SIZE, duplicates.GREY_SIZE), 80, np.uint8)
    assert duplicates.near_pairs(flat).shape == (0, 2)
    assert duplicates.near_pairs(flat[:1]).shape == (0, 2)


def test_components_join_what_pairs_connect():
    found = duplicates.components(5, np.array([[0, 3], [3, 4]]))
    assert found[0] == found[3] == found[4]
    assert len({int(found[place]) for place in (0, 1, 2)}) == 3
    assert len(set(duplicates.components(3, np.empty((0, 2))).tolist())) == 3


def test_same_bytes_reads_files_and_records(tmp_path):
    contents = [b"one", b"two", b"one", b"a longer file", b"two"]
    paths = [tmp_path / str(place) for place in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    missing = tmp_path / "missing"
    assert duplicates.same_bytes([*paths, missing, missing]) == [[0, 2], [1, 4]]
    records = [Encoded(content) for content in contents]
    assert duplicates.same_bytes([*paths[:2], *records[2:]]) == [[0, 2], [1, 4]]
