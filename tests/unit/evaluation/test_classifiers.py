"""Models of every kind are one thing: images in, scores out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgetpu_lib import checkpoint, convert, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board import delegate
from edgetpu_lib.evaluation import classifiers
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import interpreter


@pytest.fixture(scope="module")
def arrays(images):
    return np.stack(list(data.iterate_pixels(images.take(np.arange(0, 30, 5)), 32)))


@pytest.fixture(scope="module")
def logits(classifier, arrays):
    return classifier.predict(pixels.normalize(arrays), verbose=0)


@pytest.fixture(scope="module")
def saved_model(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    return convert.save_saved_model(convert.with_softmax(classifier), folder)


def predict(opened, arrays):
    """Answer one or all at a time, as the classifier says."""
    step = opened.batch_size
    parts = [arrays[i : i + step] for i in range(0, len(arrays), step)]
    return np.concatenate([opened.predict(part) for part in parts])


def test_keras_model_and_file(classifier, arrays, logits, tmp_path):
    path = checkpoint.save_model(classifier, tmp_path / "model.keras")
    for model in (classifier, path):
        opened = classifiers.open_classifier(model)
        assert (opened.image_size, opened.classes) == (32, 3)
        np.testing.assert_allclose(predict(opened, arrays), logits, atol=1e-4)


@pytest.mark.parametrize("kind", ["classifier", "float_tflite", "saved_model"])
def test_one_image_of_any_model(request, kind, images, arrays, logits):
    model = request.getfixturevalue(kind)
    expected = np.asarray(keras.ops.softmax(logits[1]))
    found = classifiers.image_scorer(model)(images.paths[5])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_saved_model(saved_model, arrays, logits):
    opened = classifiers.open_classifier(saved_model)
    assert (opened.classes, opened.batch_size) == (3, classifiers.BATCH_SIZE)
    expected = np.asarray(keras.ops.softmax(logits))
    np.testing.assert_allclose(predict(opened, arrays), expected, atol=1e-5)


def test_saved_model_of_any_size_and_of_bytes(tmp_path, arrays):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8)])
    def serve(image):
        return {"mean": tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2])}

    tf.saved_model.save(module, str(tmp_path / "any"), serve)
    with pytest.raises(InputError, match="image_size"):
        classifiers.open_classifier(tmp_path / "any")
    opened = classifiers.open_classifier(tmp_path / "any", image_size=32)
    expected = pixels.to_uint8(arrays).mean(axis=(1, 2))
    np.testing.assert_allclose(predict(opened, arrays), expected, rtol=1e-5)


def test_tflite_files(float_tflite, int8_tflite, arrays, logits):
    expected = np.asarray(keras.ops.softmax(logits))
    floats = classifiers.open_classifier(float_tflite, workers=2)
    assert floats.batch_size == 1
    np.testing.assert_allclose(predict(floats, arrays), expected, atol=1e-5)
    integers = classifiers.open_classifier(int8_tflite.read_bytes(), workers=1)
    assert np.abs(predict(integers, arrays) - expected).max() < 0.15


def test_integer_file_is_fed_rounded_and_clipped_pixels(
    int8_tflite, arrays, monkeypatch
):
    fed = []
    run = interpreter.run

    def watch(opened, image, **wanted):
        fed.append(image)
        return run(opened, image, **wanted)

    monkeypatch.setattr(interpreter, "run", watch)
    opened = classifiers.open_classifier(int8_tflite)
    overshooting = arrays[:1] * 1.5 - 40
    opened.predict(overshooting)
    assert fed[0].dtype == np.uint8
    assert np.abs(fed[0] - overshooting[0].clip(0, 255)).max() <= 0.5


@pytest.mark.parametrize(
    ("mean", "stddev"), [(0, 255), (127.5, 127.5), ([124, 116, 104], [58, 57, 57])]
)
def test_a_model_from_elsewhere_gets_its_own_pixels(arrays, mean, stddev):
    """The model gives out the pixels' means, so that they show what it was fed."""
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    opened = classifiers.open_classifier(model, mean=mean, stddev=stddev)
    expected = ((arrays - np.array(mean)) / np.array(stddev)).mean(axis=(1, 2))
    np.testing.assert_allclose(predict(opened, arrays), expected, atol=1e-4)
    content = convert.to_float_tflite(model)
    opened = classifiers.open_classifier(content, mean=mean, stddev=stddev)
    np.testing.assert_allclose(predict(opened, arrays), expected, atol=1e-4)


def test_all_that_decides_an_answer_is_in_the_digest(float_tflite, int8_tflite):
    digests = [
        classifiers.open_classifier(float_tflite).digest,
        classifiers.open_classifier(float_tflite, mean=0).digest,
        classifiers.open_classifier(int8_tflite).digest,
    ]
    assert len(set(digests)) == 3
    again = classifiers.open_classifier(float_tflite.read_bytes(), workers=3)
    assert again.digest == digests[0]


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        classifiers.open_classifier(tmp_path / "nowhere.keras")
    flat = keras.Input((12,))
    with pytest.raises(InputError, match="12"):
        classifiers.open_classifier(keras.Model(flat, keras.layers.Dense(2)(flat)))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"no")
    with pytest.raises(InputError, match="serving_default"):
        classifiers.open_classifier(tmp_path / "broken")


def test_latency_is_of_one_picture(float_tflite, classifier):
    for model in (float_tflite, classifier):
        opened = classifiers.open_classifier(model)
        found = classifiers.measure_latency(opened, runs=5)
        assert 0 < found.p50_ms <= found.p90_ms <= found.p99_ms < 2000


class OneDevice:
    """Stand-in for the runtime of an Edge TPU: runs a compiled file's original."""

    def __init__(self, original):
        self.original, self.opened = original, []

    def Interpreter(self, model_content, experimental_delegates, **options):  # noqa: N802
        from ai_edge_litert.interpreter import Interpreter

        assert b"edgetpu-custom-op" in model_content
        assert experimental_delegates == ["delegate"]
        self.opened.append(Interpreter(model_content=self.original))
        return self.opened[-1]


def test_compiled_file_runs_on_the_one_device(shared, monkeypatch, images):
    folder = shared("models")
    original = (folder / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    device = OneDevice(original)
    monkeypatch.setattr(interpreter, "import_runtime", lambda: device)
    monkeypatch.setattr(delegate, "load_delegate", lambda *_, **__: "delegate")
    monkeypatch.setattr(interpreter, "_OPENED", {})
    compiled = folder / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    opened = classifiers.open_classifier(compiled, workers=4)
    assert len(device.opened) == 1
    image = data.load_image(images.paths[0], 128)[None]
    assert opened.predict(image).shape == (1, 1001)
