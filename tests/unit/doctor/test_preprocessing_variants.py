"""Images are prepared rightly and wrongly, and synthetic ones are drawn from seeds."""

import numpy as np
import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import preprocessing_variants as variants


def test_every_variant_has_every_image(images):
    found = dict(variants.prepare_variants(images, 32))
    assert found.keys() == {variants.RIGHT, *variants.FAULTS} - {variants.CROPPED}
    assert all(each.shape == (len(images), 32, 32, 3) for each in found.values())


def test_of_stretched_images_the_cropped_ones_are_wrong(images):
    found = dict(variants.prepare_variants(images, 32, resize="stretch"))
    assert not found.keys() & {variants.SQUARE, variants.WHOLE}
    usual = dict(variants.prepare_variants(images, 32))
    np.testing.assert_array_equal(found[variants.CROPPED], usual[variants.RIGHT])


def test_synthetic_images_are_the_same_every_time():
    first, again = (dict(variants.synthetic_images(32)) for _ in "ab")
    assert {f"{variants.NOISE} of bytes", "black"} <= first.keys()
    for kind, arrays in first.items():
        assert arrays.shape[1:] == (32, 32, 3)
        np.testing.assert_array_equal(arrays, again[kind])


def test_jpeg_cut_short_is_named(tmp_path, images):
    cut = tmp_path / "cut.jpg"
    whole = next(p for p in images.paths if p.suffix == ".jpg").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.jpg"):
        variants._squeeze(cut, 32)
