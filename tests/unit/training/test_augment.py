"""Random crops are resized as the reference does; augmentation follows the recipe."""

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.training import augment
from edgetpu_lib.training.recipe import Recipe

SEED = (3, 1)


@pytest.fixture(params=["jpg", "png"])
def noise(request, tmp_path):
    """Return an image file whose crops overshoot where they are bicubic."""
    rng = np.random.default_rng(0)
    path = tmp_path / f"noise.{request.param}"
    array = rng.choice(np.array([0, 255], np.uint8), (61, 83, 3))
    Image.fromarray(array).save(path, quality=95, subsampling=0)
    return path


def whole(path):
    """Return all pixels of an image as the crop decodes them."""
    import tensorflow as tf

    return tf.io.decode_image(path.read_bytes(), channels=3).numpy()


def expected(path, method):
    """Crop as TensorFlow's sampler says, and resize with its older operators."""
    import tensorflow as tf

    image = whole(path)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        image.shape,
        [[[0.0, 0.0, 1.0, 1.0]]],
        SEED,
        min_object_covered=0.1,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
    )
    (top, left, _), (height, width, _) = begin.numpy(), size.numpy()
    crop = image[None, top : top + height, left : left + width]
    kernels = {
        "bicubic": tf.raw_ops.ResizeBicubic,
        "bilinear": tf.raw_ops.ResizeBilinear,
    }
    resized = kernels[method](images=crop, size=[32, 32])[0]
    flipped = tf.image.stateless_random_flip_left_right(resized, np.add(SEED, 1))
    return flipped.numpy()


def test_crops_are_bicubic(noise):
    found = augment.random_crop(noise, 32, SEED)
    np.testing.assert_array_equal(found, expected(noise, "bicubic"))
    assert found.min() < 0 and found.max() > 255


def test_crops_may_be_bilinear(noise):
    found = augment.random_crop(noise, 32, SEED, resize_method="bilinear")
    np.testing.assert_array_equal(found, expected(noise, "bilinear"))
    assert found.min() >= 0 and found.max() <= 255


def test_recipe_is_bicubic_unless_it_says_otherwise():
    assert Recipe().resize_method == "bicubic"
    with pytest.raises(InputError, match="nearest.*bicubic, bilinear"):
        Recipe(resize_method="nearest")


def vary(pixels, **changes):
    """Return an augmented batch of two images of two classes."""
    recipe = Recipe(**changes)
    targets = np.eye(2, dtype=np.float32)
    return augment.BatchAugmentation(recipe)(pixels, targets, (1, 2))


@pytest.fixture
def pixels():
    rng = np.random.default_rng(1)
    return rng.uniform(-20, 275, (2, 16, 16, 3)).astype(np.float32)


def test_without_augmentation_the_overshoot_stays(pixels):
    np.testing.assert_array_equal(vary(pixels)[0], pixels)


def test_randaugment_stays_within_the_range(pixels):
    found, _ = vary(pixels, randaugment=True)
    assert 0 <= found.min() and found.max() <= 255


def test_layers_and_magnitude_change_the_batch(pixels):
    usual, _ = vary(pixels, randaugment=True)
    for change in ({"randaug_num_layers": 4}, {"randaug_magnitude": 10}):
        assert not np.array_equal(vary(pixels, randaugment=True, **change)[0], usual)


def test_alpha_blends_images_and_labels(pixels):
    images, targets = vary(pixels, mixup_alpha=0.4)
    share = targets[0, 0]
    assert 0 < share < 1
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    blended = share * pixels[0] + (1 - share) * pixels[1]
    np.testing.assert_allclose(images[0], blended, atol=1e-2)


def test_switch_is_the_usual_alpha(pixels):
    for switched, given in zip(
        vary(pixels, mixup=True), vary(pixels, mixup_alpha=0.2), strict=True
    ):
        np.testing.assert_array_equal(switched, given)
