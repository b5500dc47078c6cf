"""An audit finds what was planted in a data set, and changes nothing."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.folders import list_images
from edgetpu_lib.datasets.splits import stored_splits
from edgetpu_lib.doctor.audit import audit, rare_classes
from edgetpu_lib.doctor.held_out import held_out_probabilities

CHANNELS = 20


def clusters(per_class=40, classes=3, seed=0):
    """Return features of well separated classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    means = 2 * rng.normal(size=(classes, CHANNELS))
    noise = rng.normal(size=(len(labels), CHANNELS))
    return (means[labels] + noise).astype(np.float32), labels


def probabilities_of(features, labels, groups=None, **options):
    groups = np.arange(len(labels)) if groups is None else groups
    classes = int(labels.max()) + 1
    return held_out_probabilities(
        features, labels, groups, num_classes=classes, **options
    )


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_have_the_least_probability(seed):
    features, labels = clusters(seed=seed)
    wrong = np.random.default_rng(seed).permutation(len(labels))[:6]
    labels[wrong] = (labels[wrong] + 1) % 3
    found = probabilities_of(features, labels, seed=seed)
    given = found[np.arange(len(labels)), labels]
    assert set(np.argsort(given)[:6]) == set(wrong)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_probabilities_are_as_often_right_as_they_say():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 2000)
    features = (rng.normal(size=(4000, 4)) + labels[:, None] * 0.7).astype(np.float32)
    found = probabilities_of(features, labels)
    right = found.argmax(axis=1) == labels
    assert abs(found.max(axis=1).mean() - right.mean()) < 0.02


def test_a_strange_image_does_not_decide_for_all():
    features, labels = clusters()
    calm = probabilities_of(features, labels)[1:]
    features[0] *= 1e6
    found = probabilities_of(features, labels)[1:]
    assert np.isfinite(found).all()
    assert abs(found.max(axis=1).mean() - calm.max(axis=1).mean()) < 0.05


def test_copies_do_not_vouch_for_each_other():
    features, labels = clusters()
    # The copies lie far from all others, under a label of their own choice.
    features[:4] = 30
    labels[:4] = 1
    copies = np.arange(len(labels))
    copies[:4] = 0
    alone = probabilities_of(features, labels)[:4, 1]
    together = probabilities_of(features, labels, copies)[:4, 1]
    assert together.max() < alone.min()


def test_a_class_with_too_few_images_is_not_judged():
    features, labels = clusters()
    labels = np.append(labels[2:], [3, 3])
    found = probabilities_of(features, labels)
    assert np.isnan(found[labels == 3]).all()
    assert np.isfinite(found[labels < 3]).all()
    assert (found[labels < 3, 3] == 0).all()


def test_nothing_is_judged_where_every_class_is_tiny():
    features, labels = clusters(per_class=2)
    assert np.isnan(probabilities_of(features, labels)).all()


def colours_of(images):
    """Return the mean colour of each image: features that tell the classes apart."""
    return np.stack(
        [np.asarray(Image.open(path)).mean(axis=(0, 1)) for path in images.paths]
    ).astype(np.float32)


@pytest.fixture
def folder(tmp_path, draw_folders):
    return draw_folders(tmp_path / "colours", per_class=24)


def audit_of(folder):
    splits = stored_splits(folder) or {"all": list_images(folder)}
    return audit(splits, colours_of)


def test_a_clean_folder_has_no_finding(folder):
    found = audit_of(folder)
    assert found.images == found.judged == 72
    assert found.agreement == 1
    assert not (found.suspects or found.copies or found.flaws or found.rare)


def test_a_wrong_label_is_suspected(folder):
    moved = shutil.move(folder / "red" / "05.png", folder / "blue" / "05_red.png")
    (suspect,) = audit_of(folder).suspects
    assert suspect.image.path == moved
    assert (suspect.image.class_name, suspect.predicted) == ("blue", "red")
    assert suspect.given_probability < 0.1 < 0.9 < suspect.predicted_probability


def test_copies_are_sorted_by_what_they_do_to_a_training(folder):
    def again(source, target):
        Image.open(folder / source).convert("RGB").save(folder / target, quality=98)

    shutil.copy(folder / "red" / "00.jpg", folder / "red" / "copy.jpg")
    again("red/02.jpg", "red/encoded_again.jpg")
    again("green/01.png", "blue/other_class.jpg")
    copies = audit_of(folder).copies
    assert [group.kind for group in copies] == [
        "two classes",
        "same bytes",
        "same scene",
    ]
    names = [{image.path.name for image in group.images} for group in copies]
    assert names[0] == {"01.png", "other_class.jpg"}
    assert names[1:] == [{"00.jpg", "copy.jpg"}, {"02.jpg", "encoded_again.jpg"}]


def test_copies_across_splits_are_named(tmp_path, draw_folders):
    draw_folders(tmp_path / "train", per_class=20)
    draw_folders(tmp_path / "val", per_class=4, seed=1)
    shutil.copy(tmp_path / "train/red/03.png", tmp_path / "val/red/other.png")
    (group,) = audit_of(tmp_path).copies
    assert group.kind == "two splits"
    assert {image.split for image in group.images} == {"train", "validation"}


def test_images_that_cannot_be_learnt_from_are_named(folder):
    (folder / "red" / "cut.jpg").write_bytes(
        (folder / "red" / "00.jpg").read_bytes()[:300]
    )
    (folder / "red" / "empty.png").touch()
    Image.new("RGB", (90, 90), (9, 9, 9)).save(folder / "red" / "black.png")
    Image.new("RGB", (90, 80), (8, 9, 9)).save(folder / "green" / "black.png")
    image = Image.open(folder / "red" / "03.png").resize((20, 40))
    image.save(folder / "red" / "tiny.png")
    found = audit_of(folder)
    assert [(flaw.kind, flaw.image.path.name) for flaw in found.flaws] == [
        ("unreadable", "cut.jpg"),
        ("unreadable", "empty.png"),
        ("blank", "black.png"),
        ("blank", "black.png"),
        ("small", "tiny.png"),
    ]
    assert (found.images, found.judged) == (77, 73)
    # Blank images are all alike, and no copies.
    assert all("black.png" != i.path.name for g in found.copies for i in g.images)


def test_a_folder_without_a_readable_image_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="x.jpg"):
        audit_of(tmp_path)


def test_rare_classes(images):
    def with_counts(*counts):
        labels = np.repeat(np.arange(3), counts)
        paths = images.paths[:1] * len(labels)
        return dataclasses.replace(images, paths=paths, labels=labels)

    assert [c.name for c in rare_classes(with_counts(19, 20, 30))] == ["blue"]
    assert [c.name for c in rare_classes(with_counts(25, 240, 260))] == ["blue"]
    assert not rare_classes(with_counts(26, 240, 260))
