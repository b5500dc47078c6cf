"""Models from elsewhere: exported with their own pixels, outputs and shapes."""

import keras
import numpy as np
import pytest
from keras import layers

from edgetpu_lib.base import artifacts
from edgetpu_lib.commands.main import main
from edgetpu_lib.conversion import front
from edgetpu_lib.tflite import file as tflite_file
from edgetpu_lib.tflite import interpreter

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
def run(capfd):
    def call(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return call


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
