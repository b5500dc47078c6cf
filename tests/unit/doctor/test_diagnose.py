"""Each fault, injected for real, is named first; healthy files are healthy."""

import dataclasses
import json

import broken
import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import calibrate, data
from edgetpu_lib.base import artifacts
from edgetpu_lib.commands.main import main
from edgetpu_lib.doctor import diagnose
from edgetpu_lib.images import pixels


@pytest.fixture(scope="module")
def float_content(float_tflite):
    return float_tflite.read_bytes()


@pytest.fixture(scope="module")
def arrays(images):
    return broken.rightly(images)


@pytest.fixture(scope="module")
def others(tmp_path_factory, draw_folders):
    """Return other images of the same kind."""
    folder = tmp_path_factory.mktemp("others") / "colours"
    return data.list_images(draw_folders(folder, 20, seed=7))


@pytest.fixture(scope="module")
def judge(float_content, images):
    """Return a function: an integer file to its diagnosis."""

    def run(int8, float_model=float_content, images=images, **options):
        return diagnose.diagnose(float_model, int8, images, progress=False, **options)

    return run


def codes(diagnosis):
    return [cause.code for cause in diagnosis.causes]


# What calibration saw instead of the images prepared rightly.
CALIBRATIONS = {
    "calibration-noise": lambda images: broken.noise(),
    "calibration-single": lambda images: broken.rightly(images)[4:5],
    "calibration-outlier": lambda images: [
        *broken.rightly(images),
        broken.checkerboard(),
    ],
    "preprocessing-div255": lambda images: broken.as_unit(broken.rightly(images)),
    "preprocessing-bgr": lambda images: [p[..., ::-1] for p in broken.rightly(images)],
    "preprocessing-no-crop": broken.squeezed,
}


@pytest.mark.parametrize("code", CALIBRATIONS)
def test_fault_of_calibration_is_named_first(judge, float_content, images, code):
    int8 = broken.quantize(float_content, CALIBRATIONS[code](images))
    diagnosis = judge(int8)
    assert codes(diagnosis)[0] == code
    assert not diagnosis.healthy
    cause = diagnosis.causes[0]
    assert cause.remedy and "quantized again" in cause.evidence
    assert cause.explains == pytest.approx(
        max(0, diagnosis.sweep[-1].agreement - diagnosis.agreement)
    )


def test_pixels_divided_twice_are_named(judge, float_content, arrays):
    divided = [image / np.float32(255) for image in arrays]
    diagnosis = judge(broken.quantize(float_content, divided))
    assert codes(diagnosis)[0] == "preprocessing-div255"


def test_largest_square_without_the_crop_is_named(judge, float_content, images):
    int8 = broken.quantize(float_content, broken.whole_square(images))
    assert codes(judge(int8))[0] == "preprocessing-no-crop"


def test_values_far_beyond_those_of_photos_are_an_outlier(
    judge, float_content, images, others
):
    """Another converter takes what it is given."""
    arrays = broken.rightly(others)
    arrays.append(np.float32(arrays[0]) * 128)
    diagnosis = judge(broken.quantize(float_content, arrays))
    assert codes(diagnosis)[0] == "calibration-outlier"
    assert "times as wide" in diagnosis.causes[0].evidence


def test_single_photo_is_named_by_its_file(judge, float_content, images, arrays):
    diagnosis = judge(broken.quantize(float_content, arrays[11:12]))
    assert str(images.paths[11]) in diagnosis.causes[0].evidence


def test_input_that_says_zero_to_one_is_named(judge, classifier, others):
    """TensorFlow's converter takes the input's range from the images, too."""
    fed = [pixels.to_uint8(p) / np.float32(255) for p in broken.rightly(others)]
    int8 = broken.converted_by_tensorflow(classifier, fed)
    assert codes(judge(int8))[0] == "preprocessing-div255"


def test_noise_of_zero_to_one_is_noise_first(judge, classifier):
    rng = np.random.default_rng(3)
    fed = [rng.random((32, 32, 3)).astype(np.float32) for _ in range(30)]
    int8 = broken.converted_by_tensorflow(classifier, fed)
    assert codes(judge(int8))[0] == "calibration-noise"


def test_another_epsilon_is_named(judge, new_model, images, arrays):
    model = broken.settled(new_model(), images)
    other = broken.with_batch_norms(model, epsilon=1e-2)
    int8 = broken.quantize(broken.to_float(other), arrays)
    diagnosis = judge(int8, float_model=broken.to_float(model))
    assert codes(diagnosis)[0] == "batch-norm-epsilon"


def test_another_padding_is_named(judge, classifier, new_model, arrays):
    with broken.padded_on_both_sides():
        other = new_model()
    other.set_weights(classifier.get_weights())
    int8 = broken.quantize(broken.to_float(other), arrays)
    diagnosis = judge(int8)
    assert codes(diagnosis)[0] == "padding"
    assert "stem_relu" in diagnosis.causes[0].evidence


def test_other_weights_are_named(judge, classifier, new_model, arrays):
    """As raw weights are to averaged ones."""
    rng = np.random.default_rng(0)
    other = new_model()
    other.set_weights(
        [w + 0.1 * w.std() * rng.normal(size=w.shape) for w in classifier.get_weights()]
    )
    diagnosis = judge(broken.quantize(broken.to_float(other), arrays))
    assert codes(diagnosis)[0] == "other-weights"


def test_classifier_per_channel_is_predicted_to_fail(judge, float_content, arrays):
    int8 = broken.per_channel(float_content, arrays)
    diagnosis = judge(int8)
    assert codes(diagnosis) == ["per-channel-classifier"]
    assert diagnosis.agreement == 1


def test_grave_cause_comes_before_a_failure_on_the_device(judge, float_content, arrays):
    int8 = broken.per_channel(float_content, arrays[4:5])
    assert codes(judge(int8)) == ["calibration-single", "per-channel-classifier"]


@pytest.mark.parametrize(("label_offset", "shift"), [(0, 0), (1, 1)])
def test_shifted_labels_are_named(
    judge, new_model, images, arrays, label_offset, shift
):
    """Four outputs, the first or the last for nothing."""
    inputs = pixels.normalize(np.stack(arrays))
    model = broken.fit_classifier(
        new_model(num_classes=4), inputs, images.labels + 1 - shift
    )
    content = broken.to_float(model)
    int8 = broken.quantize(content, arrays)
    diagnosis = judge(int8, float_model=content, label_offset=label_offset)
    assert codes(diagnosis) == ["labels-shifted"]
    right = judge(int8, float_model=content, label_offset=1 - label_offset)
    assert right.healthy
    assert right.float_top1 > diagnosis.float_top1 + 0.5


# What the float model was trained on, if not on pixels prepared rightly.
TRAININGS = {
    "preprocessing-bgr": lambda arrays: arrays[..., ::-1],
    "preprocessing-div255": lambda arrays: np.stack(broken.as_unit(arrays)),
}


@pytest.mark.parametrize("code", TRAININGS)
def test_float_model_of_another_preprocessing_is_named(
    judge, new_model, images, arrays, code
):
    inputs = pixels.normalize(TRAININGS[code](np.stack(arrays)))
    model = broken.fit_classifier(new_model(), inputs, images.labels)
    content = broken.to_float(model)
    diagnosis = judge(broken.quantize(content, arrays), float_model=content)
    assert codes(diagnosis)[0] == code
    assert "the float model itself" in diagnosis.causes[0].evidence


def test_float_model_that_needs_the_border_is_named(tmp_path, judge, new_model):
    """The class shows in a frame that the centre crop cuts off."""
    rng = np.random.default_rng(0)
    colours = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 40)}
    for name, colour in colours.items():
        (tmp_path / name).mkdir()
        for index in range(12):
            image = rng.normal(120, 12, (64, 64, 3))
            framed = np.pad(
                image[4:-4, 4:-4], ((4, 4), (4, 4), (0, 0)), constant_values=-1
            )
            image = np.where(framed < 0, np.array(colour), framed)
            array = Image.fromarray(image.clip(0, 255).astype(np.uint8))
            array.save(tmp_path / name / f"{index}.png")
    images = data.list_images(tmp_path)
    arrays = pixels.normalize(np.stack(broken.whole_square(images)))
    model = broken.fit_classifier(new_model(), arrays, images.labels)
    content = broken.to_float(model)
    int8 = broken.quantize(content, broken.rightly(images))
    diagnosis = judge(int8, float_model=content, images=images)
    assert codes(diagnosis)[0] == "preprocessing-no-crop"


@pytest.mark.parametrize("count", [15, 30, 60])
def test_other_photos_rightly_prepared_are_healthy(judge, float_content, others, count):
    drawn = data.calibration_images(others, count, seed=count)
    diagnosis = judge(broken.quantize(float_content, broken.rightly(drawn)))
    assert diagnosis.healthy, diagnosis.causes


def test_the_same_photos_are_healthy(judge, int8_tflite, float_content, images):
    diagnosis = judge(int8_tflite)
    assert diagnosis.healthy, diagnosis.causes
    assert diagnosis.causes == ()
    assert diagnosis.agreement == diagnosis.sweep[-1].agreement
    assert diagnosis.images == len(images) == diagnosis.sweep[-1].images
    assert diagnosis.float_top1 == diagnosis.int8_top1 == 1


def test_tensorflows_own_converter_is_healthy(judge, classifier, arrays):
    fed = [pixels.normalize(image) for image in arrays]
    diagnosis = judge(broken.converted_by_tensorflow(classifier, fed))
    assert diagnosis.healthy, diagnosis.causes


def test_mere_pictures_are_judged_without_labels(
    judge, tmp_path, float_content, images, arrays
):
    for index, path in enumerate(images.paths):
        (tmp_path / f"{index}{path.suffix}").write_bytes(path.read_bytes())
    mere = data.list_images(tmp_path, labelled=False)
    diagnosis = judge(broken.quantize(float_content, arrays), images=mere)
    assert diagnosis.healthy
    assert diagnosis.float_top1 is diagnosis.int8_top1 is None
    assert "labels are not judged" in diagnosis.notes[0]


def test_the_record_says_how_many_photos(
    judge, tmp_path, float_content, images, arrays
):
    """Ranges a third wider are what 2,000 images may do, and not what 31 do."""
    path = tmp_path / "mine.tflite"
    wide = [127 + (np.float32(image) - 127) * 1.0 for image in arrays]
    wide.append(127 + (np.float32(arrays[0]) - 127) * 3)
    path.write_bytes(broken.quantize(float_content, wide))
    artifacts.save_metadata(path, calibration={"photos": len(wide)})
    assert codes(judge(path))[:1] == ["calibration-outlier"]


def test_keras_model_and_its_file_are_taken(judge, classifier, int8_tflite, images):
    few = images.sample(9)
    diagnosis = judge(int8_tflite, float_model=classifier, images=few)
    assert diagnosis.agreement == 1


def test_ranges_of_photos_of_another_kind_are_named(
    judge, tmp_path, float_content, arrays
):
    """So much darker that bright values are clipped; the record tells the number."""
    path = tmp_path / "dark.tflite"
    dark = [127 + (np.float32(image) - 127) / 4 for image in arrays]
    path.write_bytes(broken.quantize(float_content, dark))
    artifacts.save_metadata(path, calibration={"photos": len(dark)})
    diagnosis = judge(path)
    assert codes(diagnosis) == ["ranges"]
    assert "clips" in diagnosis.causes[0].evidence
    assert diagnosis.causes[0].explains > 0.3


# The command.


@pytest.fixture
def run(capfd):
    def call(*arguments):
        capfd.readouterr()
        return main([str(a) for a in ("diagnose", *arguments)]), *capfd.readouterr()

    return call


@pytest.fixture
def flags(float_tflite, class_folders):
    return [f"--float={float_tflite}", f"--data_dir={class_folders}"]


def test_command_says_healthy(run, flags, int8_tflite, tmp_path):
    code, out, err = run(
        *flags, f"--int8={int8_tflite}", f"--figures={tmp_path / 'figures'}"
    )
    assert code == 0, err
    assert out.startswith("Healthy")
    assert "agreement  100.0%" in out
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"layers.png", "ranges.png", "sweep.png"}


def test_command_names_the_first_cause(run, flags, tmp_path, float_content):
    path = tmp_path / "noise.tflite"
    path.write_bytes(broken.quantize(float_content, broken.noise()))
    code, out, _ = run(*flags, f"--int8={path}", "--num_images=12")
    assert code == 1
    assert out.splitlines()[0] == "Most likely: calibration-noise"
    assert "remedy: " in out
    code, out, _ = run(*flags, f"--int8={path}", "--num_images=12", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["causes"][0]["code"] == "calibration-noise"
    assert report["photos"] == 12
    fields = {field.name for field in dataclasses.fields(diagnose.Diagnosis)}
    assert fields - {"images"} < set(report)


def test_command_refuses_bad_input_with_one_line(run, flags, tmp_path):
    code, out, err = run(*flags, f"--int8={tmp_path / 'none.tflite'}")
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "none.tflite" in err


def test_ranges_of_any_pictures_are_those_of_calibration(float_content, arrays):
    """The helper of these tests quantizes as the library does."""
    from edgetpu_lib import convert

    ranges = calibrate.measure_ranges(float_content, arrays)
    expected = convert.quantize(float_content, ranges)
    assert broken.quantize(float_content, arrays) == expected
