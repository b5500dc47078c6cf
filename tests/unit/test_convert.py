"""Exported files: the input contract, integers throughout, and the same answers."""

import collections
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgetpu_lib import build, calibrate, convert, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.conversion import saved_model
from edgetpu_lib.evaluation import classifiers, metrics
from edgetpu_lib.hardware import check
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import file as tflite_file
from edgetpu_lib.tflite import interpreter


@pytest.fixture(scope="module")
def float_details(float_tflite):
    opened = Interpreter(str(float_tflite))
    return opened.get_input_details()[0], opened.get_output_details()[0]


@pytest.fixture(scope="module")
def int8_details(int8_tflite):
    opened = Interpreter(str(int8_tflite))
    return opened.get_input_details()[0], opened.get_output_details()[0]


@pytest.fixture(scope="module")
def keras_scores(classifier, images):
    return scores_of(classifier, images)


def scores_of(model, images):
    """Return float32 [images, classes] probabilities."""
    opened = classifiers.open_classifier(model)
    arrays = data.iterate_pixels(images, opened.image_size)
    return metrics.probabilities(
        np.concatenate([opened.predict(image[None]) for image in arrays])
    )


def test_softmax_layer_gives_probabilities(classifier, keras_scores, images):
    with_softmax = convert.with_softmax(classifier)
    assert with_softmax.name == classifier.name
    arrays = np.stack(list(data.iterate_pixels(images, 32)))
    found = with_softmax.predict(pixels.normalize(arrays), verbose=0)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found, keras_scores, atol=1e-5)


def test_float_file_has_a_batch_of_one(float_details):
    taken, given = float_details
    assert taken["dtype"] == given["dtype"] == np.float32
    assert taken["shape_signature"].tolist() == [1, 32, 32, 3]
    assert given["shape_signature"].tolist() == [1, 3]


def test_files_have_the_usual_signature(float_tflite, int8_tflite):
    for path in (float_tflite, int8_tflite):
        signatures = Interpreter(str(path)).get_signature_list()
        assert signatures == {
            "serving_default": {"inputs": ["images"], "outputs": ["output_0"]}
        }


def test_integer_file_has_bytes_and_a_batch_of_one(int8_details):
    taken, given = int8_details
    assert taken["dtype"] == given["dtype"] == np.uint8
    assert taken["shape_signature"].tolist() == [1, 32, 32, 3]
    assert given["shape_signature"].tolist() == [1, 3]


def test_raw_pixels_are_the_quantized_input(int8_details, images):
    seen = np.stack(list(data.iterate_pixels(images, 32)))
    assert seen.min() > 10, "the calibration images must hold no black"
    assert seen.max() < 245, "the calibration images must hold no white"
    assert int8_details[0]["quantization"] == (1 / 128, 127)


def test_probabilities_have_256_steps(int8_details):
    assert int8_details[1]["quantization"] == (1 / 256, 0)


def test_integer_file_holds_no_float_tensor(int8_tflite):
    kinds = {
        np.dtype(tensor["dtype"]).name
        for tensor in Interpreter(str(int8_tflite)).get_tensor_details()
    }
    assert kinds == {"int8", "uint8", "int32"}


def weight_tensors(content, operator):
    """Return the tensors that operators of one kind have as their second input."""
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    codes = schema.Model.GetRootAs(content)
    for index in range(graph.OperatorsLength()):
        found = graph.Operators(index)
        code = codes.OperatorCodes(found.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == operator:
            yield graph.Tensors(found.Inputs(1))


def test_classifier_weights_have_one_scale(int8_tflite):
    operator = schema.BuiltinOperator.FULLY_CONNECTED
    tensors = list(weight_tensors(int8_tflite.read_bytes(), operator))
    assert len(tensors) == 1
    assert [tensor.Quantization().ScaleLength() for tensor in tensors] == [1]


def test_convolution_weights_have_one_scale_a_channel(int8_tflite):
    operator = schema.BuiltinOperator.CONV_2D
    tensors = list(weight_tensors(int8_tflite.read_bytes(), operator))
    assert len(tensors) > 10
    for tensor in tensors:
        assert tensor.Quantization().ScaleLength() == tensor.Shape(0) > 1


def test_files_hold_the_operators_a_device_knows(float_tflite, int8_tflite):
    in_float, in_int8 = (
        collections.Counter(o.kind for o in tflite_file.read_tflite(path).operators)
        for path in (float_tflite, int8_tflite)
    )
    network = {
        "CONV_2D": 20,
        "DEPTHWISE_CONV_2D": 5,
        "ADD": 4,
        "AVERAGE_POOL_2D": 1,
        "FULLY_CONNECTED": 1,
        "SOFTMAX": 1,
    }
    for operators in (in_float, in_int8):
        assert operators.items() >= network.items()
        assert "MEAN" not in operators
    extra = set(in_int8) - set(network)
    assert extra <= {"QUANTIZE", "RESHAPE"}
    assert set(in_float) - set(network) <= {"RESHAPE"}


def test_float_file_answers_as_keras(float_tflite, keras_scores, images):
    scores = scores_of(float_tflite, images)
    np.testing.assert_allclose(scores, keras_scores, rtol=0, atol=1e-5)


def test_integer_file_answers_nearly_as_keras(int8_tflite, keras_scores, images):
    scores = scores_of(int8_tflite, images)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=0.01)
    assert np.abs(scores - keras_scores).max() < 0.15
    assert np.abs(scores - keras_scores).mean() < 0.02
    assert (scores.argmax(axis=1) == keras_scores.argmax(axis=1)).all()
    assert (scores.argmax(axis=1) == images.labels).all()


def test_integer_file_is_smaller(float_tflite, int8_tflite):
    assert int8_tflite.stat().st_size < float_tflite.stat().st_size / 1.5


def test_features_are_exported_without_softmax(new_model, images):
    features = build.feature_model(new_model(depth_coefficient=0.1), "pooled_features")
    content = convert.to_float_tflite(features)
    opened = interpreter.open_interpreter(content)
    assert interpreter.output_contract(opened).shape == (1, 1, 1, 128)
    image = data.load_image(images.paths[0], 32)
    found = interpreter.run(opened, image)
    expected = features.predict(pixels.normalize(image)[None], verbose=0)[0]
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("endpoint", "shape"),
    [("pooled_features", (1, 1, 1, 128)), ("reduction_3", (1, 4, 4, 8))],
)
def test_features_are_exported_as_integers(new_model, images, endpoint, shape):
    features = build.feature_model(new_model(), endpoint)
    content = convert.to_int8_tflite(features, images)
    report = check.check_tflite(content)
    assert report.ready
    assert (report.input.scale, report.input.zero_point) == (1 / 128, 127)
    opened = interpreter.open_interpreter(content) if shape[1] == 1 else None
    if opened is None:
        opened = Interpreter(model_content=content)
        opened.allocate_tensors()
    assert interpreter.output_contract(opened).shape == shape
    assert interpreter.output_contract(opened).dtype == "uint8"
    image = next(calibrate.device_images(images, 32))
    expected = features.predict(pixels.normalize(image)[None], verbose=0).ravel()
    found = interpreter.run(opened, image)
    correlation = np.corrcoef(found, expected)[0, 1]
    assert correlation > 0.98


def test_same_calibration_gives_the_same_bytes(classifier, images, int8_tflite):
    again = convert.to_int8_tflite(convert.with_softmax(classifier), images)
    assert again == int8_tflite.read_bytes()


def test_networks_of_this_library_are_converted_as_ever(classifier, images):
    model = convert.with_softmax(classifier)
    floats = convert.to_float_tflite(model)
    ranges = calibrate.measure_ranges(floats, calibrate.device_images(images, 32))
    expected = convert.quantize(floats, ranges, mean=127.0, stddev=128.0)
    assert convert.to_int8_tflite(model, images) == expected
    report = check.check_tflite(expected)
    assert (report.input.scale, report.input.zero_point) == (1 / 128, 127)


def test_pictures_calibrate_as_their_photos_do(classifier, images, int8_tflite):
    arrays = calibrate.device_images(images, 32)
    content = convert.to_int8_tflite(convert.with_softmax(classifier), arrays)
    assert content == int8_tflite.read_bytes()


def test_map_of_one_pixel_is_quantized(new_model):
    # The converter flattens such a map on the way, to a tensor of one dimension.
    content = convert.to_int8_tflite(
        new_model(depth_coefficient=1.0), [np.zeros((32, 32, 3), np.uint8)]
    )
    assert check.check_tflite(content).ready


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_pictures_leave_raw_pixels_the_input(new_model, value):
    model = convert.with_softmax(new_model(depth_coefficient=0.1))
    flat = [np.full((32, 32, 3), value, np.uint8)]
    report = check.check_tflite(convert.to_int8_tflite(model, flat))
    assert (report.input.scale, report.input.zero_point) == (1 / 128, 127)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_ranges_are_those_of_the_converters_own_loop(
    classifier, images, int8_tflite, monkeypatch
):
    """The scales are TensorFlow's, except where its calibrator reads too late.

    It reads the input of an addition after the addition was computed in its place, so
    that it takes the sum's range for the summand's.
    """
    import tensorflow as tf

    def feed():
        for image in calibrate.device_images(images, 32):
            yield [pixels.normalize(image)[None]]

    entry = keras.Input((32, 32, 3), batch_size=1)
    wrapped = keras.Model(entry, convert.with_softmax(classifier)(entry))
    converter = tf.lite.TFLiteConverter.from_keras_model(wrapped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = feed
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    plain = tflite_file.read_tflite(converter.convert())
    ours = tflite_file.read_tflite(int8_tflite)
    assert [o.kind for o in ours.operators] == [o.kind for o in plain.operators]
    added = {i for o in ours.operators if o.kind == "ADD" for i in o.inputs}
    # Their input ranges differ: these images hold neither black nor white.
    added |= {*ours.inputs, *ours.operators[0].outputs}
    compared = 0
    for operator, other in zip(ours.operators, plain.operators, strict=True):
        for index, other_index in zip(operator.outputs, other.outputs, strict=True):
            if index not in added:
                found, expected = ours.tensors[index], plain.tensors[other_index]
                np.testing.assert_allclose(found.scales, expected.scales, rtol=1e-4)
                compared += 1
    assert compared > 20


def test_file_that_is_not_ready_is_not_given_out(classifier, images, monkeypatch):
    from tensorflow.lite.python import convert as inside

    quantize = inside.mlir_quantize

    def as_by_default(content, **options):
        options["disable_per_channel_for_dense_layers"] = False
        return quantize(content, **options)

    monkeypatch.setattr(inside, "mlir_quantize", as_by_default)
    with pytest.raises(InputError, match="scales"):
        convert.to_int8_tflite(convert.with_softmax(classifier), images)


@pytest.mark.parametrize(
    ("name", "operators"), [("S", (64, 67)), ("M", (84, 87)), ("L", (95, 98))]
)
def test_family_is_ready_in_full_depth(name, operators):
    model = build.build_model(
        f"efficientnet-edgetpu-{name}",
        num_classes=7,
        image_size=64,
        width_coefficient=0.1,
    )
    grey = [np.full((64, 64, 3), 128, np.uint8)]
    report = check.check_tflite(
        convert.to_int8_tflite(convert.with_softmax(model), grey)
    )
    assert report.ready
    assert report.findings == ()
    assert operators[0] <= report.edge_tpu_operators <= operators[1]


def test_quantization_without_photos_is_refused(classifier, images):
    nothing = images.take(np.arange(0))
    with pytest.raises(InputError):
        convert.to_int8_tflite(convert.with_softmax(classifier), nothing)


def test_damaged_calibration_photo_is_named(new_model, draw_folders, tmp_path):
    images = data.list_images(draw_folders(tmp_path / "colours", 2))
    images.paths[3].write_bytes(b"\xff\xd8\xff\xe0 cut")
    model = convert.with_softmax(new_model(depth_coefficient=0.1))
    with pytest.raises(InputError, match=str(images.paths[3])):
        convert.to_int8_tflite(model, images)


def test_saved_model_answers_as_keras(classifier, keras_scores, images, tmp_path):
    import tensorflow as tf

    folder = tmp_path / "saved"
    (folder / "older").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"an earlier one")
    assert convert.save_saved_model(convert.with_softmax(classifier), folder) == folder
    assert not (folder / "older").exists()
    served = tf.saved_model.load(folder).signatures["serving_default"]
    arrays = pixels.normalize(np.stack(list(data.iterate_pixels(images, 32))))
    (found,) = served(tf.constant(arrays)).values()
    np.testing.assert_allclose(found.numpy(), keras_scores, rtol=0, atol=1e-5)
    assert list(tmp_path.iterdir()) == [folder]
    encoded = tf.saved_model.load(folder).signatures["encoded_images"]
    assert {path.suffix for path in images.paths} == {".jpg", ".png"}
    contents = tf.constant([path.read_bytes() for path in images.paths])
    (found,) = encoded(contents).values()
    np.testing.assert_allclose(found.numpy(), keras_scores, rtol=0, atol=1e-5)


FRESH = """
import sys
sys.modules["keras"] = None
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
(found,) = signatures["serving_default"](tf.zeros([2, 32, 32, 3])).values()
print(sorted(signatures), found.shape)
"""


def test_saved_model_holds_every_weight_once(new_model, tmp_path):
    # Wide enough for weights to outweigh the names of tensors.
    model = new_model(width_coefficient=0.5)
    folder = convert.save_saved_model(convert.with_softmax(model), tmp_path / "saved")
    size_bytes = sum(path.stat().st_size for path in (folder / "variables").iterdir())
    weight_bytes = sum(value.nbytes for value in model.get_weights())
    assert weight_bytes <= size_bytes <= 1.1 * weight_bytes


def test_saved_model_needs_no_keras(new_model, tmp_path):
    folder = convert.save_saved_model(new_model(), tmp_path / "saved")
    command = [sys.executable, "-c", FRESH, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['encoded_images', 'serving_default'] (2, 3)\n"


def stop_in_the_middle(model, path, *pixels):
    """Write half of a SavedModel and be interrupted."""
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"half")
    raise KeyboardInterrupt


def test_interrupted_export_keeps_the_earlier_one(classifier, tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"earlier")
    monkeypatch.setattr(saved_model, "_export", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        convert.save_saved_model(classifier, folder)
    assert (folder / "saved_model.pb").read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [folder]


def test_folder_of_other_things_is_not_replaced(classifier, tmp_path, monkeypatch):
    def export(model, path, *pixels):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"new")

    monkeypatch.setattr(saved_model, "_export", export)
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    try:
        convert.save_saved_model(classifier, thesis.parent)
    except InputError as error:
        assert str(thesis.parent) in str(error)
    assert thesis.read_text() == "years of work"
