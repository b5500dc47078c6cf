"""What Frigate reads gives, fed as Frigate feeds it, what the model was trained for."""

import json

import foreign
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from edgetpu_lib import convert
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.bundle import frigate
from edgetpu_lib.deploy import Labels

SIZE = frigate.SIZE
CLASSES = list(foreign.SHADES)
MEAN, STDDEV = foreign.SCALES["own"]


def noise(shape=(SIZE, SIZE)):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@pytest.fixture(scope="module")
def keras_model():
    """Return a model that tells three shades of grey apart, of Frigate's size."""
    return foreign.classifier("own", shape=(SIZE, SIZE))


@pytest.fixture(scope="module")
def flat():
    """Return images of one shade each, of all shades from black to white."""
    return [np.full((SIZE, SIZE, 3), shade, np.uint8) for shade in range(0, 256, 15)]


@pytest.fixture(scope="module")
def content(keras_model, flat):
    return convert.to_int8_tflite(keras_model, flat, mean=MEAN, stddev=STDDEV)


@pytest.fixture
def model(tmp_path, content):
    """Return the path of an int8 model with class names in its metadata."""
    path = tmp_path / "shades.tflite"
    path.write_bytes(content)
    facts = {"class_names": CLASSES, "mean": MEAN, "stddev": STDDEV}
    facts["resize"] = "stretch"
    path.with_name("shades.tflite.json").write_text(json.dumps(facts))
    return path


def bilinear(pixels_u8, size):
    """Resize as OpenCV does: half-pixel centres, the four nearest pixels, rounded.

    Pillow's bilinear filter is another: it averages over more pixels when it shrinks.
    """

    def taps(old):
        position = (np.arange(size) + 0.5) * old / size - 0.5
        position = position.clip(0, old - 1)
        low = np.floor(position).astype(int)
        return low, np.minimum(low + 1, old - 1), position - low

    (top, bottom, down), (left, right, across) = map(taps, pixels_u8.shape[:2])
    pixels = pixels_u8.astype(float)
    down, across = down[:, None, None], across[:, None]
    rows = pixels[top] * (1 - down) + pixels[bottom] * down
    mixed = rows[:, left] * (1 - across) + rows[:, right] * across
    return np.rint(mixed).astype(np.uint8)


def replay(folder, frame, box):
    """Classify a part of a frame as Frigate does; return (label, score, scores).

    Source: blakeblackshear/frigate 0.17, custom_classification.py: crop, stretch, raw
    bytes, two threads of the CPU, scores divided by their sum.
    """
    interpreter = Interpreter(model_path=str(folder / "model.tflite"), num_threads=2)
    interpreter.allocate_tensors()
    height, width = frame.shape[:2]
    left, right = int(box[0] * width), int(box[2] * width)
    top, bottom = int(box[1] * height), int(box[3] * height)
    fed = bilinear(frame[top:bottom, left:right], SIZE)[None]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed)
    interpreter.invoke()
    raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    scores = raw / raw.sum(axis=0)
    lines = (folder / "labelmap.txt").read_text("utf-8").splitlines()
    best = int(np.argmax(scores))
    return lines[best].strip(), round(float(scores[best]), 2), scores


@pytest.mark.parametrize("name", CLASSES)
def test_frigate_gets_the_class_of_what_it_crops(run, model, tmp_path, name):
    code, _, err = run(
        "bundle", model, "--for=frigate", "--name=shades", f"--output={tmp_path}"
    )
    assert code == 0, err
    folder = tmp_path / "model_cache/shades"
    rng = np.random.default_rng(1)
    # An oblong part of a frame of another shade.
    frame = np.full((180, 320, 3), 255 - foreign.SHADES[name], np.uint8)
    shades = rng.normal(foreign.SHADES[name], 5, (90, 240, 3))
    frame[45:135, 40:280] = shades.clip(0, 255).astype(np.uint8)
    label, score, _ = replay(folder, frame, (0.125, 0.25, 0.875, 0.75))
    assert label == name and score > 0.9


def test_frigates_scores_are_the_models_probabilities(
    model, tmp_path, keras_model, flat
):
    frigate.write_frigate(model, tmp_path, name="shades")
    for image in flat:
        frame = (image[:100] + noise((100, SIZE)) % 8).clip(0, 255).astype(np.uint8)
        _, _, scores = replay(tmp_path / "model_cache/shades", frame, (0, 0, 1, 1))
        fed = (bilinear(frame, SIZE)[None] - np.float32(MEAN)) / np.float32(STDDEV)
        expected = keras_model.predict(fed, verbose=0)[0]
        assert np.abs(scores - expected).max() < 0.06


def test_the_folder_is_what_frigate_reads(model, tmp_path, content):
    written = frigate.write_frigate(model, tmp_path / "config", name="Front door-2")
    folder = tmp_path / "config/model_cache/Front door-2"
    assert written == [folder / "model.tflite", folder / "labelmap.txt"]
    assert written[0].read_bytes() == content
    assert written[1].read_bytes() == "".join(f"{c}\n" for c in CLASSES).encode()
    assert sorted(folder.iterdir()) == sorted(written)


def test_a_new_model_replaces_the_old_one_and_nothing_else(model, tmp_path):
    folder = tmp_path / "model_cache/shades"
    folder.mkdir(parents=True)
    for name in ("model.tflite", "other.txt"):
        (folder / name).write_text("old")
    frigate.write_frigate(model, tmp_path, name="shades")
    assert (folder / "model.tflite").stat().st_size > 3
    assert (folder / "other.txt").read_text() == "old"


def test_what_a_user_should_know_is_said(run, model, tmp_path):
    wanted = ["--for=frigate", "--name=x", f"--output={tmp_path}"]
    code, _, err = run("bundle", model, *wanted)
    assert (code, err) == (0, "")
    model.with_name("shades.tflite.json").unlink()
    code, _, err = run("bundle", model, *wanted)
    assert code == 0
    assert "--resize=stretch" in err and "--labels_map_file" in err
    lines = (tmp_path / "model_cache/x/labelmap.txt").read_text().split()
    assert lines == ["0", "1", "2"]


# What Frigate would read as something else.


@pytest.mark.parametrize(
    "name", ["", " ", "../up", "a/b", "a\\b", ".", "..", "a\nb", "-x", "a:b", " a"]
)
def test_a_name_that_is_no_name_of_a_folder_is_refused(model, tmp_path, name):
    with pytest.raises(InputError) as caught:
        frigate.write_frigate(model, tmp_path / "out", name=name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["2 cars", "none", "one"],
        ["a", " ", "b"],
        ["a\nb", "c", "d"],
    ],
)
def test_labels_that_frigate_would_misread_are_refused(model, tmp_path, names):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(names))
    labels = Labels(labels_map_file=str(path))
    with pytest.raises(InputError) as caught:
        frigate.write_frigate(model, tmp_path / "out", name="x", labels=labels)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def refused(run, path, tmp_path, *arguments):
    """Return the one line with which a file is refused; nothing is written."""
    output = tmp_path / "out"
    wanted = ["--for=frigate", "--name=x", f"--output={output}", *arguments]
    code, _, err = run("bundle", path, *wanted)
    assert code == 2 and err.count("\n") == 1
    assert not output.exists()
    return err


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("small", "--image_size=224"),
        ("float", "--noquantize"),
        ("logits", "softmax"),
        ("one score", "softmax"),
    ],
)
def test_a_file_that_frigate_cannot_feed_is_refused(
    run, tmp_path, flat, keras_model, kind, word
):
    options = {
        "small": {"shape": (96, 96)},
        "logits": {"ends": None},
    }
    path = tmp_path / "m.tflite"
    if kind == "float":
        path.write_bytes(convert.to_float_tflite(keras_model))
    elif kind == "one score":
        import keras

        layers = keras.layers
        mean = [layers.AveragePooling2D(SIZE), layers.Flatten()]
        one = layers.Dense(1, activation="sigmoid")
        network = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *mean, one])
        path.write_bytes(convert.to_int8_tflite(network, flat, mean=127, stddev=128))
    else:
        network = foreign.classifier("own", **{"shape": (SIZE, SIZE), **options[kind]})
        height, width = network.input_shape[1:3]
        images = [image[:height, :width] for image in flat]
        path.write_bytes(convert.to_int8_tflite(network, images, mean=127, stddev=128))
    line = refused(run, path, tmp_path, "--mean=127", "--std=128")
    assert word in line and str(path) in line


def test_an_input_of_another_scale_than_the_training_is_refused(run, model, tmp_path):
    assert "0.0078" in refused(run, model, tmp_path, "--mean=0", "--std=255")
    facts = {"class_names": CLASSES, "mean": 0.0, "stddev": 255.0}
    model.with_name("shades.tflite.json").write_text(json.dumps(facts))
    refused(run, model, tmp_path)


def test_flags_that_do_not_go_together_are_refused(run, model, tmp_path):
    output = f"--output={tmp_path / 'out'}"
    for arguments in (
        ["--for=frigate", output],
        ["--name=x", output],
        ["--for=frigate", "--name=x", f"--compiled={model}", output],
        ["--for=others", output],
    ):
        assert run("bundle", model, *arguments)[0] == 2
    assert not (tmp_path / "out").exists()


def test_a_size_that_a_trained_network_does_not_have_is_refused(
    run, new_model, tmp_path
):
    path, output = tmp_path / "mine.keras", tmp_path / "mine.tflite"
    new_model().save(path)
    code, _, err = run(
        *("export", f"--model={path}", "--noquantize", f"--image_size={SIZE}"),
        f"--output_tflite={output}",
    )
    assert code == 2 and f"--image_size={SIZE}" in err
    assert not output.exists()


def test_opencvs_resize_is_replayed():
    # The middle of four pixels, and the ends, of a ramp: what OpenCV's formula gives.
    ramp = np.arange(0, 80, 20, dtype=np.uint8)[None, :, None].repeat(2, 0).repeat(3, 2)
    assert bilinear(ramp, 2)[0, :, 0].tolist() == [10, 50]
    assert bilinear(ramp, 8)[0, :, 0].tolist() == [0, 5, 15, 25, 35, 45, 55, 60]
    # Enlarged, it is Pillow's.
    enlarged = Image.fromarray(noise((40, 30))).resize((SIZE, SIZE), Image.BILINEAR)
    difference = bilinear(noise((40, 30)), SIZE).astype(int) - np.asarray(enlarged)
    assert np.abs(difference).max() <= 1
