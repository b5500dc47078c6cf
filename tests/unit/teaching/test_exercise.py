"""Checks pass what is right, name what is wrong, and never raise."""

import dataclasses
import shutil
import types

import keras
import numpy as np
import pytest

from edgetpu_lib import convert, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.teaching.exercise import checks, feedback

GENEROUS = checks.Budget(top1=0.5, size_bytes=10_000_000, latency_ms=100)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Let no test see what another one was told."""
    monkeypatch.setattr(feedback, "_latest", {})


@pytest.fixture(scope="module")
def splits(images):
    return data.split_images(images)


def without(part, *indices):
    return part.take(np.setdiff1d(np.arange(len(part)), indices))


class Unfriendly:
    """Fails at whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("repr")


def leaves(images_u8):
    raise SystemExit(3)


CHECKS = {
    "classes": lambda given, s: checks.check_classes(given, s["test"]),
    "split": lambda given, s: checks.check_split(given, s["train"]),
    "training": lambda given, s: checks.check_training(given, s["test"]),
    "preprocessing": lambda given, s: checks.check_preprocessing(given),
    "labels": lambda given, s: checks.check_labels(given, s),
    "calibration": lambda given, s: checks.check_calibration(given, s),
    "file": lambda given, s: checks.check_file(given, s["test"]),
    "budget": lambda given, s: checks.check_budget(given, s["test"], GENEROUS),
}
JUNK = [
    None,
    ...,
    0,
    float("nan"),
    "daisy",
    [],
    {},
    b"",
    b"TFL3",
    np.full((4, 4), np.nan),
    {"train": None, "validation": None, "test": None},
    leaves,
    Unfriendly(),
    Unfriendly,
]


@pytest.mark.parametrize("task", CHECKS)
def test_junk_gets_no_points_and_a_hint_but_never_an_error(task, splits):
    for junk in JUNK:
        told = CHECKS[task](junk, splits)
        assert told.task == task
        assert told.points == 0, told
        assert told.max_points == checks.TASKS[task]
        assert told.expected and told.found and told.hint
        assert str(told) and told._repr_markdown_()


@pytest.mark.parametrize("task", CHECKS)
def test_the_other_arguments_may_be_missing_too(task):
    missing = dict.fromkeys(("train", "validation", "test"))
    for junk in (None, 1, [1], b"1"):
        assert CHECKS[task](junk, missing).points == 0
    assert checks.check_split(1, None).points == 0
    assert checks.check_labels(np.zeros(3, int), None).points == 0
    assert checks.check_budget(b"1", None, None).points == 0


def test_right_answers_get_all_points(splits, images, classifier, int8_tflite):
    content = int8_tflite.read_bytes()
    calibration = data.calibration_images(splits["train"], 6)
    given = {
        "classes": list(images.class_names),
        "training": classifier,
        "preprocessing": pixels.normalize,
        "labels": splits["test"].labels,
        "calibration": calibration,
    }
    told = [CHECKS[task](prediction, splits) for task, prediction in given.items()]
    told.append(checks.check_split(splits, images))
    told.append(checks.check_file(content, images))
    told.append(checks.check_budget(content, images, GENEROUS))
    assert not [str(each) for each in told if not each.passed or each.hint]
    assert {each.task for each in told} == set(checks.TASKS)
    assert checks.total().points == checks.total().max_points == 20


# Splits.


def test_a_copy_under_another_name_is_a_leak(splits, images, tmp_path):
    twin = tmp_path / "holiday.jpg"
    shutil.copy(splits["test"].paths[0], twin)
    train = splits["train"]
    leaky = dataclasses.replace(
        train,
        paths=(*train.paths, twin),
        labels=np.append(train.labels, splits["test"].labels[0]),
    )
    told = checks.check_split({**splits, "train": leaky}, images)
    assert told.points == 0
    assert "holiday.jpg" in told.found and "test" in told.found


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda s: {k: s[k] for k in ("train", "test")}, "train, test"),
        (lambda s: {**s, "validation": s["test"]}, "validation and in test"),
        (lambda s: {**s, "train": without(s["train"], 0)}, "no side"),
        (lambda s: {**s, "test": s["test"].take([])}, "0 images"),
        (lambda s: {**s, "test": list(s["test"].paths)}, "list"),
        (
            lambda s: {
                **s,
                "test": dataclasses.replace(
                    s["test"], labels=np.roll(s["test"].labels, 1)
                ),
            },
            "belong",
        ),
    ],
)
def test_what_is_wrong_with_a_split_is_named(splits, images, change, word):
    told = checks.check_split(change(splits), images)
    assert told.points == 0
    assert word in told.found


def test_a_split_needs_every_class_and_most_photos_for_training(images):
    red = images.class_names.index("red")
    others = np.flatnonzero(images.labels != red)
    reds = np.flatnonzero(images.labels == red)
    sides = {
        "train": images.take(np.concatenate([others[:16], reds])),
        "validation": images.take(others[16:18]),
        "test": images.take(others[18:]),
    }
    assert "red" in checks.check_split(sides, images).found
    thirds = {
        side: images.take(np.arange(start, len(images), 3))
        for start, side in enumerate(("train", "validation", "test"))
    }
    assert "10 of 30" in checks.check_split(thirds, images).found


def test_photos_from_elsewhere_are_noticed(splits, images, draw_folders, tmp_path):
    other = data.list_images(draw_folders(tmp_path / "other", per_class=4, seed=9))
    told = checks.check_split(data.split_images(other), images)
    assert "not among" in told.found


def test_objects_are_judged_by_their_parts_not_by_their_class(splits, images):
    plain = {
        side: types.SimpleNamespace(paths=part.paths, labels=part.labels)
        for side, part in splits.items()
    }
    assert checks.check_split(plain, images).passed


# The three planted mistakes.


def test_test_photos_in_the_calibration_set_are_found(splits, images):
    everything = data.calibration_images(images, len(images))
    told = checks.check_calibration(everything, splits)
    assert told.points == 0
    assert f"{len(splits['test'])} of {len(images)}" in told.found
    validation = checks.check_calibration(splits["validation"], splits)
    assert "validation" in validation.found


@pytest.mark.parametrize(
    "wrong",
    [
        lambda images: images / 255,
        lambda images: images / 127.5 - 1,
        lambda images: images,
        lambda images: pixels.normalize(images)[..., ::-1],
        lambda images: pixels.normalize(images)[0],
        lambda images: pixels.normalize(images) * np.nan,
        lambda images: None,
    ],
)
def test_wrong_preprocessing_is_found(wrong):
    told = checks.check_preprocessing(wrong)
    assert told.points == 0
    assert told.hint


def test_preprocessing_may_work_on_the_array_itself():
    def in_place(images_u8):
        fed = pixels.normalize(images_u8)
        images_u8[:] = 0
        return fed

    assert checks.check_preprocessing(in_place).passed


@pytest.mark.parametrize("shift", [1, -1])
def test_labels_off_by_one_are_told_from_other_mistakes(splits, shift):
    truth = splits["test"].labels
    told = checks.check_labels(truth + shift, splits)
    assert f"{shift} to {shift + 2}" in told.found
    mixed = checks.check_labels(truth[::-1].copy(), splits)
    assert told.points == mixed.points == 0
    assert "%" in mixed.found
    assert checks.check_labels(truth.astype(float), splits).points == 0
    assert checks.check_labels(truth[:-1], splits).points == 0
    assert checks.check_labels(truth.tolist(), splits).passed


# Models and files.


def test_a_guesser_and_a_broken_model_are_not_trained(new_model, images):
    guesser = checks.check_training(new_model(), images)
    assert guesser.points == 0
    assert "interval" in guesser.found
    broken = new_model()
    broken.get_layer("logits").set_weights(
        [np.full_like(w, np.nan) for w in broken.get_layer("logits").get_weights()]
    )
    assert "NaN" in checks.check_training(broken, images).found
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    assert "192 outputs" in checks.check_training(other, images).found


def test_a_float_file_and_one_of_other_classes_are_refused(
    float_tflite, int8_tflite, images
):
    told = checks.check_file(float_tflite.read_bytes(), images)
    assert told.points == 0
    assert "float-model" in told.found
    two = checks.choose_classes(images, ["red", "blue"])
    assert "3 outputs" in checks.check_file(int8_tflite.read_bytes(), two).found


@pytest.mark.parametrize(
    ("limits", "points", "word"),
    [
        ({"top1": 1.01}, 2, "accuracy"),
        ({"size_bytes": 10}, 4, "bytes"),
        ({"latency_ms": 0.001}, 4, "time"),
        ({"size_bytes": 10, "latency_ms": 0.001}, 3, "time"),
    ],
)
def test_each_part_of_the_budget_earns_its_points(
    int8_tflite, images, limits, points, word
):
    budget = dataclasses.replace(GENEROUS, **limits)
    told = checks.check_budget(int8_tflite.read_bytes(), images, budget)
    assert told.points == points
    assert word in told.hint


def test_the_budget_counts_answers_of_the_file_itself(classifier, images):
    logits = classifier.get_layer("logits")
    weights = logits.get_weights()
    try:
        logits.set_weights([w[..., ::-1] for w in weights])
        content = convert.to_int8_tflite(convert.with_softmax(classifier), images)
    finally:
        logits.set_weights(weights)
    assert checks.check_budget(content, images, GENEROUS).points == 2


# Classes, totals, words.


def test_chosen_classes_are_numbered_anew(images):
    part = checks.choose_classes(images, ["red", "blue"])
    assert part.class_names == ("blue", "red")
    for path, label in zip(part.paths, part.labels, strict=True):
        assert path.parent.name == part.class_names[label]
    assert len(part) == 20
    for wrong in ([], ["red"], ["red", "violet"], None):
        with pytest.raises(InputError):
            checks.choose_classes(images, wrong)


@pytest.mark.parametrize(
    "wrong", [["red"], ["red", "red", "blue"], ["red", "blue", "x"], "red,blue", [[]]]
)
def test_a_wrong_choice_of_classes_is_told(images, wrong):
    assert checks.check_classes(wrong, images).points == 0


def test_total_takes_the_last_of_each_task_in_any_order():
    good = checks.Feedback("labels", 2, 2, "", "")
    bad = dataclasses.replace(good, points=0)
    other = checks.Feedback("classes", 1, 1, "", "")
    assert checks.total([bad, other, good]).points == 3
    assert checks.total([good, other, bad]).points == 1
    assert checks.total([]).points == 0
    rows = checks.total([good]).feedback
    assert [row.task for row in rows] == list(checks.TASKS)


def test_total_remembers_what_the_checks_told(images):
    names = list(images.class_names)
    assert checks.total().points == 0
    checks.check_classes(names, images)
    checks.check_classes(names, images)
    assert checks.total().points == 1
    checks.check_classes(names[:1], images)
    assert checks.total().points == 0
    assert "1 classes" not in str(checks.total())


def test_feedback_cannot_break_the_page_it_is_shown_on():
    told = feedback.judge("x", 1, "a | b", "<img src=x>|`*\n" * 99, lambda: "")
    assert told.passed
    hostile = checks.Feedback("x", 0, 1, "a | b", "<script>|*x*", "[a](b)")
    shown = hostile._repr_markdown_()
    assert "<script" not in shown
    for line in shown.splitlines()[2:]:
        assert line.replace("\\|", "").count("|") == 3


def test_a_shown_feedback_carries_itself():
    told = checks.check_labels(None, None)
    carried = told._repr_mimebundle_(include=None, exclude=None)
    assert checks.Feedback(**carried[feedback.MIME]) == told
    assert {"text/plain", "text/markdown"} <= set(carried)
