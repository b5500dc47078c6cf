"""Ranges in a file tell what it was calibrated on, where that is sure."""

import broken
import numpy as np
import pytest

from edgetpu_lib import data
from edgetpu_lib.doctor import observations, range_evidence, range_suspects


@pytest.fixture(scope="module")
def network(float_tflite):
    return observations.open_network(float_tflite.read_bytes())


@pytest.fixture(scope="module")
def suspect(network, images):
    """Return a function: calibration images to the codes of suspicions, and proof."""
    seen = observations.observe_images(network, images, progress=None)
    others = observations.observe_noise(network, progress=None)
    names = [path.name for path in images.paths]

    def run(arrays, *, at_hand=None, calibrated_on=None):
        int8 = broken.quantize(network.content, arrays)
        file = range_evidence.file_ranges(network, int8)
        shown = {
            way: observations.Observations(
                each.lows[:at_hand], each.highs[:at_hand], each.scores[:at_hand]
            )
            for way, each in seen.items()
        }
        evidence = range_evidence.Evidence(file, shown, *others, names, calibrated_on)
        found, proven = range_suspects.find_suspicions(evidence)
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
    empty = range_evidence.FileRanges(np.zeros(0, int), np.zeros(0), np.zeros(0))
    evidence = range_evidence.Evidence(empty, {}, {}, {}, ())
    assert range_suspects.find_suspicions(evidence) == ([], False)


@pytest.mark.parametrize("at_hand", [1, 2, 5])
def test_few_photos_at_hand_are_enough_to_be_careful(suspect, others, at_hand):
    codes, _ = suspect(broken.rightly(others)[:60], at_hand=at_hand)
    assert codes == []


@pytest.mark.parametrize(("count", "codes"), [(1, ["calibration-single"]), (60, [])])
def test_the_record_knows_the_number_of_photos(suspect, others, count, codes):
    images = broken.rightly(others)[:count]
    assert suspect(images, calibrated_on=count) == (codes, False)
