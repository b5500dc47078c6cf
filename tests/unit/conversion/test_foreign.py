"""Models from elsewhere: exported with their own pixels, outputs and shapes."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgetpu_lib.base import artifacts
from edgetpu_lib.conversion import front
from edgetpu_lib.tflite import file as tflite_file
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.tflite.contract import RAW

# The ImageNet statistics of pixels 0..1.
MEAN, VARIANCE = [0.485, 0.456, 0.406], [0.052, 0.050, 0.051]


def body(x, end="softmax", units=3, sharpness=1.0):
    """Tell blue, green and red apart; `sharpness` suits the range of the values."""
    convolution = layers.Conv2D(3, 1)
    x = layers.GlobalAveragePooling2D()(convolution(x))
    dense = layers.Dense(units, activation=end)
    scores = dense(x)
    one = np.eye(3, dtype="float32")
    convolution.set_weights([one[None, None], np.zeros(3, "float32")])
    kernel = (one - 1 / 3)[::-1][:, :units] * sharpness
    dense.set_weights([kernel, np.zeros(units, "float32")])
    return scores


def functional(*fronts, shape=(32, 32, 3), dtype="float32", sharpness=20.0, **how):
    keras.utils.set_random_seed(0)
    images = keras.Input(shape, dtype=dtype)
    x = images
    for layer in fronts:
        x = layer(x)
    return keras.Model(images, body(x, sharpness=sharpness, **how), name="foreign")


def sequential(*fronts):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *fronts,
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
            layers.Softmax(),
        ]
    )


def nested():
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 127.5, -1)(images))
    backbone = keras.Model(images, x)
    return keras.Sequential(
        [keras.Input((32, 32, 3)), backbone, layers.GlobalAveragePooling2D()]
        + [layers.Dense(3, "softmax")]
    )


def adapted(low, high):
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(low, high, (8, 9, 9, 3)))
    return layer


@pytest.fixture
def export(run, tmp_path, class_folders):
    """Return a function: a model to its int8 file, by the command."""

    def call(model, *flags, name="foreign.keras"):
        path = tmp_path / name
        if not path.exists():
            model.save(path)
        output = tmp_path / "out.tflite"
        code, out, err = run(
            *("export", f"--model={path}", f"--data_dir={class_folders}"),
            *(f"--output_tflite={output}", *flags),
        )
        assert code == 0, err
        return output

    return call


def kinds(path):
    return [operator.kind for operator in tflite_file.read_tflite(path).operators]


def contract(path):
    found = interpreter.input_contract(interpreter.start(path.read_bytes()))
    return found.dtype, round(1 / found.scale, 3), found.zero_point


BYTES, UNIT = ("uint8", 1.0, 0), ("uint8", 255.0, 0)
FRONTS = {
    "divided": (lambda: [layers.Rescaling(1 / 255)], BYTES),
    "shifted": (lambda: [layers.Rescaling(1 / 127.5, -1)], BYTES),
    "normalised": (lambda: [adapted(0, 255)], BYTES),
    "divided and normalised": (
        lambda: [
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=MEAN, variance=VARIANCE),
        ],
        BYTES,
    ),
    "resized": (lambda: [layers.Resizing(24, 24), layers.Rescaling(1 / 255)], BYTES),
    "augmented": (lambda: [layers.RandomFlip(), layers.Rescaling(1 / 255)], BYTES),
    "padded": (lambda: [layers.Rescaling(1 / 255), layers.ZeroPadding2D()], BYTES),
    "caffe": (keras.applications.vgg16.preprocess_input, BYTES),
    "tf": (keras.applications.mobilenet_v2.preprocess_input, BYTES),
    "torch": (keras.applications.densenet.preprocess_input, BYTES),
    "statistics of 0..1": (
        lambda: [layers.Normalization(mean=MEAN, variance=VARIANCE)],
        UNIT,
    ),
    "back to bytes": (lambda: [layers.Rescaling(255.0)], UNIT),
    "to −1..1": (lambda: [layers.Rescaling(2.0, -1.0)], UNIT),
}


@pytest.mark.parametrize("name", FRONTS)
def test_own_preprocessing_decides_the_pixels(name):
    make, expected = FRONTS[name]
    try:
        fronts = make()
    except TypeError:
        fronts = [make]
    mean, stddev = front.expected_pixels(functional(*fronts))
    assert ("uint8", stddev, mean) == expected


def test_recurrent_layers_come_behind_the_front():
    rows = [layers.Rescaling(1 / 255), layers.Reshape((32, 96)), layers.LSTM(4)]
    model = keras.Sequential([keras.Input((32, 32, 3)), *rows])
    assert front.expected_pixels(model) == RAW


def test_half_precision_of_training_is_left_behind(export):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = functional(layers.Rescaling(1 / 255))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert contract(export(model)) == BYTES


def test_without_preprocessing_nothing_is_told():
    assert front.expected_pixels(functional()) is None


@pytest.mark.parametrize("kind", ["functional", "sequential", "nested"])
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_export_feeds_raw_bytes(export, kind, suffix, tmp_path):
    model = {
        "functional": lambda: functional(layers.Rescaling(1 / 255)),
        "sequential": lambda: sequential(layers.Rescaling(1 / 255)),
        "nested": nested,
    }[kind]()
    if not suffix:
        model.export(tmp_path / "foreign", verbose=False)
    output = export(model, name=f"foreign{suffix}")
    assert contract(output) == BYTES
    assert kinds(output).count("SOFTMAX") == 1
    metadata = artifacts.read_metadata(output)
    assert metadata["agreement"]["share"] >= 0.9
    assert metadata["agreement"]["images"] == 30


def sigmoid():
    return functional(layers.Rescaling(1 / 255), end="sigmoid", units=1)


def logits():
    return functional(layers.Rescaling(1 / 255), end=None)


def multi_label():
    return functional(layers.Rescaling(1 / 255), end="sigmoid", sharpness=5.0)


def activation_behind():
    model = logits()
    return keras.Model(model.input, layers.Activation("softmax")(model.output))


def two_outputs():
    model = functional(layers.Rescaling(1 / 255))
    light = layers.Dense(1, "sigmoid", name="light")(model.layers[-2].output)
    return keras.Model(model.input, {"kind": model.output, "a_light": light})


ENDS = {
    "sigmoid": (sigmoid, ["LOGISTIC"]),
    "logits": (logits, []),
    "multi label": (multi_label, ["LOGISTIC"]),
    "activation": (activation_behind, ["SOFTMAX"]),
    "two outputs": (two_outputs, ["LOGISTIC", "SOFTMAX"]),
}


def test_a_layer_named_logits_makes_no_network_of_this_library(export):
    images = keras.Input((32, 32, 3))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, layers.Dense(3, name="logits")(x))
    output = export(model)
    assert "SOFTMAX" not in kinds(output)
    assert contract(output) == BYTES


@pytest.mark.parametrize("name", ENDS)
def test_outputs_stay_those_of_the_model(export, name, images):
    make, expected = ENDS[name]
    model = make()
    output = export(model)
    assert sorted({"SOFTMAX", "LOGISTIC"} & {*kinds(output)}) == expected
    assert kinds(output).count("SOFTMAX") <= 1
    opened = interpreter.start(output.read_bytes())
    image = np.array([60, 160, 70], np.uint8) + np.zeros((1, 32, 32, 3), np.uint8)
    opened.set_tensor(opened.get_input_details()[0]["index"], image)
    opened.invoke()
    wanted = keras.tree.flatten(model.predict(image.astype("float32"), verbose=0))
    for detail, values in zip(opened.get_output_details(), wanted, strict=True):
        scale, zero_point = detail["quantization"]
        found = (opened.get_tensor(detail["index"]).astype(float) - zero_point) * scale
        np.testing.assert_allclose(found, values, atol=0.05 * max(1, np.ptp(values)))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--mean=127.5", "--std=127.5"], ("uint8", 127.5, 127)),
        (["--mean=0", "--std=255"], UNIT),
        (["--mean=0", "--std=1"], BYTES),
        (["--mean=123.7,116.3,103.5", "--std=58.4,57.1,57.4"], BYTES),
    ],
)
def test_flags_tell_the_pixels(export, flags, expected):
    sharpness = 5.0 if expected == BYTES and "," in flags[0] else 10.0
    dtype, stddev, zero_point = contract(
        export(functional(sharpness=sharpness), *flags)
    )
    assert (dtype, stddev) == expected[:2]
    assert abs(zero_point - expected[2]) <= 1


def test_pixels_of_an_unknown_kind_are_asked_for(run, tmp_path, class_folders):
    line = refused(run, functional(), tmp_path, class_folders)
    assert "--mean" in line
    assert "--std" in line


@pytest.mark.parametrize("suffix", [".keras", ""])
def test_bytes_as_input_are_raw_pixels(export, suffix, tmp_path):
    model = functional(layers.Rescaling(1 / 255), dtype="uint8")
    if not suffix:
        model.export(tmp_path / "foreign", verbose=False)
    output = export(model, name=f"foreign{suffix}")
    assert contract(output) == BYTES
    assert "CAST" not in kinds(output)


def test_oblong_images_are_calibrated(export):
    model = functional(layers.Rescaling(1 / 255), shape=(20, 32, 3))
    output = export(model)
    opened = interpreter.start(output.read_bytes())
    assert opened.get_input_details()[0]["shape"].tolist() == [1, 20, 32, 3]


def test_any_size_needs_one(run, export, tmp_path, class_folders):
    model = functional(layers.Rescaling(1 / 255), shape=(None, None, 3))
    assert "--image_size" in refused(run, model, tmp_path, class_folders)
    assert contract(export(model, "--image_size=24")) == BYTES


def test_floats_and_a_saved_model_take_the_models_pixels(run, tmp_path, images):
    model = functional(layers.Rescaling(1 / 255))
    model.save(tmp_path / "foreign.keras")
    code, _, err = run(
        *("export", f"--model={tmp_path / 'foreign.keras'}", "--noquantize"),
        f"--output_tflite={tmp_path / 'out.tflite'}",
        f"--output_saved_model_dir={tmp_path / 'saved'}",
    )
    assert code == 0, err
    metadata = artifacts.read_metadata(tmp_path / "out.tflite")
    assert (metadata["mean"], metadata["stddev"]) == (0.0, 1.0)
    served = tf.saved_model.load(tmp_path / "saved").signatures["encoded_images"]
    found = served(tf.constant([path.read_bytes() for path in images.paths]))
    (scores,) = found.values()
    assert (scores.numpy().argmax(axis=1) == images.labels).all()


# What cannot be done is one line, and nothing is written.


def refused(run, model, tmp_path, folder, *flags, name="foreign.keras"):
    path = tmp_path / name
    model.save(path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(
        *("export", f"--model={path}", f"--data_dir={folder}"),
        *(f"--output_tflite={tmp_path / 'out.tflite'}", *flags),
    )
    assert (code, out) == (2, "")
    err = err.rsplit("\r", 1)[-1].lstrip()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    return err


@keras.saving.register_keras_serializable("elsewhere")
class Doubled(layers.Layer):
    """A layer that another process does not know."""

    def call(self, values):
        return values * 2


def halved(values):
    """Halve pixels: a function that another process does not know."""
    return values / 2


def two_inputs():
    first, second = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    return keras.Model([first, second], body(layers.Add()([first, second])))


def grey():
    images = keras.Input((32, 32, 1))
    return keras.Model(images, layers.Dense(3)(layers.Flatten()(images)))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: functional(layers.Lambda(lambda x: x / 255)), "Lambda"),
        (lambda: functional(layers.Lambda(halved)), "halved|Lambda"),
        (lambda: functional(Doubled()), "Doubled"),
        (two_inputs, "2 inputs"),
        (grey, "[None, 32, 32, 1]"),
    ],
    ids=["lambda", "function of a lambda", "custom layer", "two inputs", "grey"],
)
def test_what_cannot_be_done_is_one_line(
    run, tmp_path, class_folders, monkeypatch, make, named, suffix
):
    model = make()
    custom = keras.saving.get_custom_objects()
    monkeypatch.delitem(custom, "elsewhere>Doubled", raising=False)
    line = refused(run, model, tmp_path, class_folders, name=f"foreign{suffix}")
    assert any(word in line for word in named.split("|"))
    assert len(line) < 400


def test_weights_alone_are_no_model(run, tmp_path, class_folders):
    path = tmp_path / "foreign.weights.h5"
    functional().save_weights(path)
    code, _, err = run(
        *("export", f"--model={path}", f"--data_dir={class_folders}"),
        f"--output_tflite={tmp_path / 'out.tflite'}",
    )
    assert code == 2
    assert "weights" in err
    assert err.count("\n") == 1


def spoilt_scale(model):
    """Return a model in which one channel makes the steps of all others coarse."""
    convolution = model.get_layer(index=2)
    kernel, bias = convolution.get_weights()
    convolution.set_weights([kernel, bias + np.array([0, 0, 3000], "float32")])
    dense = model.layers[-1]
    weights, bias = dense.get_weights()
    dense.set_weights([weights, bias - 3000 * weights[2]])
    return model


def test_int8_file_that_predicts_otherwise_is_refused(
    run, export, tmp_path, class_folders
):
    model = spoilt_scale(functional(layers.Rescaling(1 / 255)))
    line = refused(run, model, tmp_path, class_folders)
    assert "agrees" in line
    assert "min_agreement" in line
    output = export(model, "--min_agreement=0")
    assert artifacts.read_metadata(output)["agreement"]["share"] < 0.9


# Calibration images that show too little.


def warnings(run, model, tmp_path, folder):
    model.save(tmp_path / "foreign.keras")
    code, out, err = run(
        *("export", f"--model={tmp_path / 'foreign.keras'}", f"--data_dir={folder}"),
        *(f"--output_tflite={tmp_path / 'out.tflite'}", "--json"),
    )
    assert code == 0
    json.loads(out)
    return [line for line in err.splitlines() if line.startswith("warning: ")]


def test_good_calibration_images_give_no_warning(run, tmp_path, class_folders):
    model = functional(layers.Rescaling(1 / 255))
    assert warnings(run, model, tmp_path, class_folders) == []


def test_few_flat_images_of_one_class_are_remarked(run, tmp_path):
    from PIL import Image

    for name in "ab":
        (tmp_path / "grey" / name).mkdir(parents=True)
        for level in range(100, 103):
            image = Image.new("RGB", (40, 40), (level, level, level + len(name)))
            image.save(tmp_path / "grey" / name / f"{level}{name}.png")
    model = functional(layers.Rescaling(1 / 255))
    lines = warnings(run, model, tmp_path, tmp_path / "grey")
    assert len(lines) == 3
    assert all(any(word in line for line in lines) for word in ("only", "flat", "same"))
