"""Ranges of few and of many images, as the doctor compares them."""

import math

import numpy as np
import pytest

from edgetpu_lib.doctor import range_fits


@pytest.fixture(scope="module")
def images():
    """Return logarithms of ranges that fall off as those of images do."""
    return np.random.default_rng(0).gumbel(0, 0.2, (200, 40))


def test_sizes_double_up_to_all():
    assert range_fits.sizes(100) == [1, 2, 4, 8, 16, 32, 100]
    assert range_fits.sizes(1) == [1]


def test_curve_goes_from_one_picture_to_more_than_all(images):
    curve = range_fits.curve(images)
    assert len(curve) == len(range_fits.sizes(len(images))) + 5
    assert (np.diff(curve.mean(axis=1)) > 0).all()
    np.testing.assert_allclose(curve[0], images.mean(axis=0), atol=0.15)
    np.testing.assert_array_equal(curve[-6], images.max(axis=0))


def test_growth_is_that_of_the_tail(images):
    """The maximum of a Gumbel variable grows by its scale × log 2 a doubling."""
    growth = range_fits.growth(images).mean()
    assert growth == pytest.approx(0.2 * math.log(2), rel=0.2)


def test_one_picture_grows_not(images):
    assert (range_fits.growth(images[:1]) == 0).all()
    assert range_fits.curve(images[:1]).shape == (6, 40)


def test_distance_is_the_mean_difference_up_to_a_factor_of_two():
    curve = np.array([[0.0, 0.0], [1.0, 0.1]])
    found = range_fits.distances(np.array([0.0, 5.0]), curve)
    np.testing.assert_allclose(found, [0.35, 0.7])


def test_scatter_is_small_where_pictures_are_alike(images):
    alike = images / 100
    assert range_fits.scatter(alike) < 0.01 < range_fits.scatter(images)
