"""Ranges in a file tell what it was calibrated on, where that is certain."""

import itertools
import math

import broken
import numpy as np
import pytest

from edgetpu_lib import data
from edgetpu_lib.doctor import calibration_faults, preprocessing_variants, ranges


@pytest.fixture(scope="module")
def network(float_tflite):
    return ranges.open_network(float_tflite.read_bytes())


@pytest.fixture(scope="module")
def suspect(network, images):
    """Return a function: calibration images to the codes of faults, and proof."""
    seen = ranges.observe(network, preprocessing_variants.prepare_variants(images, 32))
    synthetic = ranges.observe(network, preprocessing_variants.synthetic_images(32))
    names = [path.name for path in images.paths]

    def run(arrays, *, at_hand=None, calibrated_on=None):
        int8 = broken.quantize(network.content, arrays)
        file = ranges.file_ranges(network, int8)
        shown = {
            variant: ranges.Observations(
                each.lows[:at_hand], each.highs[:at_hand], each.scores[:at_hand]
            )
            for variant, each in seen.items()
        }
        found, proven = calibration_faults.find_faults(
            calibration_faults.Evidence(file, shown, synthetic, names, calibrated_on)
        )
        return [each.code for each in found], proven

    return run


@pytest.fixture(scope="module")
def others(tmp_path_factory, draw_folders):
    folder = tmp_path_factory.mktemp("others") / "colours"
    return data.list_images(draw_folders(folder, 40, seed=11))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [12, 40, 120])
def test_other_photos_rightly_prepared_raise_no_suspicion(suspect, others, seed, count):
    drawn = data.calibration_images(others, count, seed=seed)
    assert suspect(broken.rightly(drawn)) == ([], False)


def test_a_few_photos_at_hand_prove_the_preparation(suspect, images, others):
    """Six of forty calibration images are among those at hand."""
    drawn = data.calibration_images(others, 34)
    mixed = broken.rightly(drawn) + broken.rightly(images.take(np.arange(0, 30, 5)))
    codes, _ = suspect(mixed)
    assert codes == []
    codes, proven = suspect([image[..., ::-1] for image in mixed])
    assert codes == (["preprocessing-bgr"] if proven else [])


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_noise_whatever_its_seed(suspect, seed):
    assert suspect(broken.noise(40, seed=seed + 50))[0] == ["calibration-noise"]


def test_photos_at_hand_need_not_have_been_among_the_calibration(suspect, others):
    """Of pixels divided by 255 nothing is left that an image could be known by."""
    divided = [p / np.float32(255) for p in broken.rightly(others)[:50]]
    assert suspect(divided) == (["preprocessing-div255"], False)


def test_a_black_picture_is_not_taken_for_divided_pixels(suspect, images):
    black = [*broken.rightly(images), np.zeros((32, 32, 3), np.uint8)]
    assert suspect(black)[0] == ["calibration-outlier"]


def test_a_file_with_nothing_to_compare_is_not_judged(suspect):
    empty = ranges.FileRanges(np.zeros(0, int), np.zeros(0), np.zeros(0))
    evidence = calibration_faults.Evidence(empty, {}, {}, ())
    assert calibration_faults.find_faults(evidence) == ([], False)


@pytest.mark.parametrize("at_hand", [1, 2, 5])
def test_few_photos_at_hand_are_enough_to_be_careful(suspect, others, at_hand):
    codes, _ = suspect(broken.rightly(others)[:60], at_hand=at_hand)
    assert codes == []


@pytest.mark.parametrize(("count", "codes"), [(1, ["calibration-single"]), (60, [])])
def test_the_record_knows_the_number_of_photos(suspect, others, count, codes):
    images = broken.rightly(others)[:count]
    assert suspect(images, calibrated_on=count) == (codes, False)


# The ranges of few to many images.


@pytest.fixture(scope="module")
def logarithms():
    """Return logarithms of ranges that fall off as those of images do."""
    return np.random.default_rng(0).gumbel(0, 0.2, (200, 40))


def test_sizes_double_up_to_all():
    assert calibration_faults.sizes(100) == [1, 2, 4, 8, 16, 32, 100]
    assert calibration_faults.sizes(1) == [1]


def test_curve_goes_from_one_picture_to_more_than_all(logarithms):
    curve = calibration_faults.curve(logarithms)
    assert len(curve) == len(calibration_faults.sizes(len(logarithms))) + 5
    assert (np.diff(curve.mean(axis=1)) > 0).all()
    np.testing.assert_allclose(curve[0], logarithms.mean(axis=0))
    np.testing.assert_allclose(curve[-6], logarithms.max(axis=0))


def test_growth_is_that_of_the_tail(logarithms):
    """The maximum of a Gumbel variable grows by its scale × log 2 a doubling."""
    growth = calibration_faults.growth(logarithms).mean()
    assert growth == pytest.approx(0.2 * math.log(2), rel=0.2)


def test_one_picture_grows_not(logarithms):
    assert (calibration_faults.growth(logarithms[:1]) == 0).all()
    assert calibration_faults.curve(logarithms[:1]).shape == (6, 40)


def test_distance_is_the_mean_difference_up_to_a_factor_of_two():
    curve = np.array([[0.0, 0.0], [1.0, 0.1]])
    found = calibration_faults.distances(np.array([0.0, 5.0]), curve)
    np.testing.assert_allclose(found, [0.35, 0.7])


def test_curve_is_the_mean_over_all_subsets():
    values = np.random.default_rng(1).normal(size=(5, 3))
    pairs = [np.maximum(*pair) for pair in itertools.combinations(values, 2)]
    found = calibration_faults.curve(values)[1]
    np.testing.assert_allclose(found, np.mean(pairs, axis=0))
