"""The arithmetic that is shown is the one that the runtime does."""

import numpy as np
import pytest

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.teaching import integer_arithmetic


@pytest.fixture(scope="module")
def model():
    return data_file("quickstart_quant.tflite").read_bytes()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)


def test_computed_is_what_the_runtime_finds(model, image):
    rng = np.random.default_rng(1)
    places = [
        integer_arithmetic.first_convolution(
            model, image, row=row, column=column, channel=channel
        )
        for row, column, channel in [
            (0, 0, 0),
            (47, 47, 1),
            (0, 47, 2),
            *rng.integers(0, (48, 48, 8), (30, 3)).tolist(),
        ]
    ]
    differences = [place.computed - place.prediction for place in places]
    assert max(map(abs, differences)) <= 1
    assert differences.count(0) >= 30
    # Not only zeros behind the ReLU.
    assert sum(p.prediction > p.output_zero_point for p in places) > 5


def test_patch_is_the_picture_under_the_filter(model, image):
    place = integer_arithmetic.first_convolution(
        model, image, row=10, column=20, channel=0
    )
    # Padding of an even image under stride 2 is at the far end only.
    under = image[20:23, 40:43].astype(int)
    assert (place.patch - place.input_zero_point == under - 127).all()
    assert place.input_scale == 1 / 128


def test_beyond_the_edge_lies_zero(model, image):
    place = integer_arithmetic.first_convolution(
        model, image, row=47, column=47, channel=0
    )
    assert (place.patch[2] == place.input_zero_point).all()
    assert (place.patch[:, 2] == place.input_zero_point).all()
    assert (place.patch[:2, :2] != place.input_zero_point).any()


def test_filter_that_answers_most_is_found(model, image):
    place = {"row": 7, "column": 9}
    predictions = [
        integer_arithmetic.first_convolution(
            model, image, **place, channel=channel
        ).prediction
        for channel in range(8)
    ]
    strongest = integer_arithmetic.first_convolution(model, image, **place)
    assert strongest.prediction == max(predictions) > min(predictions)


def test_place_outside_is_named(model, image):
    with pytest.raises(InputError, match="row 48"):
        integer_arithmetic.first_convolution(model, image, row=48, column=0, channel=0)


def test_float_file_is_refused(float_tflite, image):
    with pytest.raises(InputError, match="no int8 convolution"):
        integer_arithmetic.first_convolution(
            float_tflite.read_bytes(), image, row=0, column=0, channel=0
        )
