"""Two models are opened together only if they belong together."""

import broken
import numpy as np
import pytest

from edgetpu_lib.base import artifacts
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import model_pair
from edgetpu_lib.evaluation import metrics


@pytest.fixture(scope="module")
def pair(float_tflite, int8_tflite, images):
    return model_pair.open_pair(float_tflite, int8_tflite, images, progress=False)


def test_both_answer_the_same_photos(pair, images):
    assert len(pair.float_predictions) == len(pair.int8_predictions) == len(images)
    np.testing.assert_array_equal(np.stack(broken.rightly(images)), pair.images)
    assert pair.agreement == metrics.agreement(
        pair.float_predictions, pair.int8_predictions
    )


def test_another_file_answers_the_same_photos(pair):
    again = pair.predict(pair.int8_tflite)
    np.testing.assert_array_equal(again.best, pair.int8_predictions.best)
    assert pair.agreement_with(again) == pair.agreement


def test_keras_model_is_converted_as_the_integer_file_was(
    pair, classifier, int8_tflite, images
):
    found = model_pair.open_pair(classifier, int8_tflite, images, progress=False)
    np.testing.assert_allclose(
        found.float_predictions.probabilities,
        pair.float_predictions.probabilities,
        atol=1e-5,
    )


def test_record_tells_the_number_of_calibration_photos(
    tmp_path, float_tflite, int8_tflite, images
):
    path = tmp_path / "mine.tflite"
    path.write_bytes(int8_tflite.read_bytes())
    artifacts.save_metadata(path, calibration={"photos": 12})
    found = model_pair.open_pair(float_tflite, path, images.sample(2), progress=False)
    assert found.calibrated_on == 12


@pytest.mark.parametrize(
    ("float_is", "int8_is", "words"),
    [
        ("float", "float", "is not quantized; give the int8"),
        ("int8", "int8", "is quantized; give the float"),
    ],
)
def test_files_in_the_wrong_place_are_refused(
    float_tflite, int8_tflite, images, float_is, int8_is, words
):
    files = {"float": float_tflite, "int8": int8_tflite}
    with pytest.raises(InputError, match=words):
        model_pair.open_pair(files[float_is], files[int8_is], images)


def test_models_of_other_sizes_are_refused(int8_tflite, new_model, images):
    with pytest.raises(InputError, match="48"):
        model_pair.open_pair(new_model(image_size=48), int8_tflite, images)


def test_compiled_file_is_refused(float_tflite, shared, images):
    path = shared("models/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    with pytest.raises(InputError, match="before compilation"):
        model_pair.open_pair(float_tflite, path, images)


def test_missing_file_is_refused(tmp_path, float_tflite, images):
    with pytest.raises(InputError, match="none.tflite"):
        model_pair.open_pair(float_tflite, tmp_path / "none.tflite", images)
