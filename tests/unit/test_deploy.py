"""One image in, named predictions out; label files of every form."""

import json

import numpy as np
import pytest

from edgetpu_lib import deploy
from edgetpu_lib.base import artifacts
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.deploy import Prediction

SCORES = np.array([0.1, 0.5, 0.05, 0.35], np.float32)
NAMES = ["tench", "goldfish", "shark", "ray"]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({str(i): name for i, name in enumerate(NAMES)}),
        json.dumps({str(i): NAMES[i] for i in (3, 1, 0, 2)}, indent=1),
        "  " + json.dumps(NAMES),
        "\n".join(NAMES),
        "\n".join(NAMES) + "\n",
        "tench\r\ngoldfish \r\n shark\r\nray\r\n",
    ],
)
def test_labels_are_read_in_every_form(tmp_path, text):
    assert deploy.read_labels(write(tmp_path / "labels.txt", text)) == NAMES


def test_labels_may_hold_commas_and_accents(tmp_path):
    names = ["tench, Tinca tinca", "crème brûlée", "{not JSON"]
    as_json = write(tmp_path / "labels.json", json.dumps(names))
    as_lines = write(tmp_path / "labels.txt", "\n".join(names))
    assert deploy.read_labels(as_json) == names
    assert deploy.read_labels(as_lines) == names


def test_labels_written_on_windows_are_read(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(NAMES).encode())
    assert deploy.read_labels(path) == NAMES


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\n",
        '{"0": "tench", ',
        '{"0": "tench", "2": "shark"}',
        '{"tench": 0}',
        "[1, 2",
    ],
)
def test_unusable_label_file_is_named(tmp_path, text):
    path = write(tmp_path / "labels.txt", text)
    with pytest.raises(InputError) as caught:
        deploy.read_labels(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_label_file_is_named(tmp_path):
    binary = tmp_path / "labels.bin"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "nowhere.txt", tmp_path, binary):
        with pytest.raises(InputError, match=str(path)):
            deploy.read_labels(path)


def test_best_predictions_come_first():
    predictions = deploy.best_predictions(SCORES, NAMES, top=3)
    assert [(a.index, a.label) for a in predictions] == [
        (1, "goldfish"),
        (3, "ray"),
        (0, "tench"),
    ]
    assert [a.probability for a in predictions] == pytest.approx([0.5, 0.35, 0.1])
    assert all(
        type(a.index) is int and type(a.probability) is float for a in predictions
    )


@pytest.mark.parametrize(("top", "given"), [(1, 1), (4, 4), (9, 4)])
def test_number_of_predictions(top, given):
    assert len(deploy.best_predictions(SCORES, NAMES, top=top)) == given


def test_indices_stand_in_for_missing_labels():
    assert deploy.best_predictions(SCORES, None, top=1) == [Prediction(1, "1", 0.5)]


def test_background_shifts_the_labels_by_one():
    predictions = deploy.best_predictions(SCORES, NAMES[:3], label_offset=1)
    assert [(a.index, a.label) for a in predictions] == [
        (1, "tench"),
        (3, "shark"),
        (0, "background"),
        (2, "goldfish"),
    ]


@pytest.mark.parametrize(
    ("labels", "label_offset", "hint"),
    [
        (3, 0, "--include_background_label"),
        (4, 1, "--include_background_label"),
        (2, 0, "label file"),
        (7, 0, "label file"),
        (9, 1, "label file"),
    ],
)
def test_labels_of_another_number_are_refused(labels, label_offset, hint):
    with pytest.raises(InputError) as caught:
        deploy.best_predictions(SCORES, ["x"] * labels, label_offset=label_offset)
    message = str(caught.value)
    assert f"{labels} labels" in message
    assert "4 classes" in message
    assert hint in message


@pytest.mark.parametrize("kind", ["float_tflite", "int8_tflite"])
def test_image_is_classified(request, class_folders, kind):
    model = request.getfixturevalue(kind)
    names = ["blue", "green", "red"]
    for name in names:
        for file in ("04.jpg", "05.png"):
            predictions = deploy.classify(
                model, class_folders / name / file, labels=names
            )
            assert predictions[0].label == name
            assert len(predictions) == 3
            total = sum(prediction.probability for prediction in predictions)
            assert total == pytest.approx(1, abs=0.01)


def test_names_are_taken_from_the_metadata(float_tflite, class_folders, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(float_tflite.read_bytes())
    image = class_folders / "red" / "00.jpg"
    assert deploy.classify(model, image)[0].label == "2"
    artifacts.save_metadata(model, class_names=["azul", "verde", "rojo"])
    assert deploy.classify(model, image)[0].label == "rojo"


def test_unusable_image_or_model_is_named(float_tflite, class_folders, tmp_path):
    image = class_folders / "red" / "00.jpg"
    with pytest.raises(InputError, match="nowhere.jpg"):
        deploy.classify(float_tflite, tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="nowhere.tflite"):
        deploy.classify(tmp_path / "nowhere.tflite", image)


def test_models_that_do_not_classify_are_refused(shared, class_folders):
    image = class_folders / "red" / "00.jpg"
    model = shared("models/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    with pytest.raises(InputError, match="deeplabv3"):
        deploy.classify(model, image)
