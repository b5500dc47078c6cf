"""Every kind of data set opens by its name, with labels and class names together."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import opening


def contents(images):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in images.paths]


def labelled(images):
    names = [images.class_names[label] for label in images.labels]
    return dict(zip(contents(images), names, strict=True))


def test_shards_hold_what_the_folders_held(shards, images):
    splits = opening.open_splits(shards)
    assert splits.keys() == {"train", "test"}
    assert labelled(splits["train"]) | labelled(splits["test"]) == labelled(images)
    assert splits["train"].class_names == ("blue", "green", "red")


def test_last_shards_are_held_out(shards):
    whole = opening.open_splits(shards)
    splits = opening.open_splits(shards, holdout_shards=1)
    held_out = contents(splits["validation"])
    assert contents(splits["train"]) + held_out == contents(whole["train"])
    assert {path.shard.name for path in splits["validation"].paths} == {
        "train-00002-of-00003"
    }


@pytest.mark.parametrize("holdout_shards", [-1, 3])
def test_held_out_shards_leave_some(shards, holdout_shards):
    with pytest.raises(InputError, match=f"holdout_shards={holdout_shards}"):
        opening.open_splits(shards, holdout_shards=holdout_shards)


def test_folders_have_no_shards_to_hold_out(class_folders):
    with pytest.raises(InputError, match="holdout_shards=1"):
        opening.open_splits(class_folders, holdout_shards=1)


def test_missing_shard_is_found(shards):
    (shards / "train-00001-of-00003").unlink()
    with pytest.raises(InputError, match="2 train shards"):
        opening.open_splits(shards)


def test_labels_without_names_are_numbers(shards):
    (shards / "labels.txt").unlink()
    assert opening.open_splits(shards)["train"].class_names == ("1", "2", "3")


def test_background_offset_is_explicit(shards):
    with pytest.raises(InputError, match="label 4|label 3"):
        names = "blue\ngreen\nred\n"
        (shards / "labels.txt").write_text(names)
        opening.open_shards(shards, first_label=0)


def damage(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def damaged(shards):
    """Damage the data of a record in one shard and the length of one in the next."""
    places = opening.open_splits(shards)["train"].paths
    for number, byte in ((1, 40), (11, 2)):
        damage(places[number].shard, places[number].offset + byte)
    lost = [p for p in places if p.shard == places[11].shard and p.number >= 3]
    return shards, places, {str(places[1]), *map(str, lost)}


def test_damaged_record_stops_by_name(damaged):
    shards, places, _ = damaged
    with pytest.raises(InputError) as caught:
        opening.open_splits(shards)
    assert str(places[1]) in str(caught.value)


def test_damaged_records_are_skipped_and_told(damaged):
    shards, places, lost = damaged
    images = opening.open_splits(shards, on_error="skip")["train"]
    assert {str(path) for path in images.paths} == set(map(str, places)) - lost
    assert len(images.skipped) == 2
    assert str(places[1]) in images.skipped[0]
    assert str(places[11]) in images.skipped[1]
    assert images.take(np.array([0])).skipped == images.skipped


@pytest.fixture
def cut(class_folders, tmp_path):
    """Return a copy of the images' folder in which one JPEG is cut."""
    folder = shutil.copytree(class_folders, tmp_path / "photos")
    path = folder / "red" / "04.jpg"
    path.write_bytes(path.read_bytes()[:700])
    return data.list_images(folder), path


def test_cut_photo_stops_by_name(cut):
    images, path = cut
    with pytest.raises(InputError, match=str(path)):
        opening.verify_images(images)


def test_photo_cut_below_the_evaluated_square_is_found(cut):
    images, path = cut
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    data.load_image(path, 32)
    with pytest.raises(InputError, match=str(path)):
        opening.verify_images(images)


def test_cut_photo_is_skipped_and_told(cut):
    images, path = cut
    images = dataclasses.replace(images, skipped=("one before",))
    found = opening.verify_images(images, on_error="skip")
    assert set(images.paths) - set(found.paths) == {path}
    assert labelled(found).items() <= labelled(images).items()
    before, line = found.skipped
    assert before == "one before" and str(path) in line


def test_nothing_readable_is_refused(cut):
    images, path = cut
    only = images.take(np.array([images.paths.index(path)]))
    with pytest.raises(InputError, match=f"none of the 1 images.*{path}"):
        opening.verify_images(only, on_error="skip")


def test_choice_at_errors_is_checked(shards):
    with pytest.raises(InputError, match="on_error='ignore'"):
        opening.open_splits(shards, on_error="ignore")


def test_class_folders_and_drawn_flowers_are_split(class_folders, images):
    splits = opening.open_splits(class_folders)
    assert splits.keys() == {"train", "validation", "test"}
    assert sum(map(len, splits.values())) == len(images)


def test_drawn_flowers_open_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = opening.open_splits("rendered_flowers", images_per_class=5)
    assert sum(map(len, splits.values())) == 25


@pytest.mark.parametrize("name", ["No Such Folder", "nowhere/at/all/"])
def test_unknown_names_are_told_what_is_understood(name):
    with pytest.raises(InputError, match="tf_flowers"):
        opening.open_splits(name)


def test_validation_is_drawn_from_training(shards, images):
    given = opening.open_splits(shards)
    splits = opening.with_validation(given)
    assert contents(splits["test"]) == contents(given["test"])
    assert len(splits["validation"]) >= 3
    together = contents(splits["train"]) + contents(splits["validation"])
    assert sorted(together) == sorted(contents(given["train"]))


def test_nothing_is_drawn_where_nothing_is_missing(shards):
    splits = opening.open_splits(shards, holdout_shards=1)
    assert opening.with_validation(splits) is splits


def test_cifar10_is_whole(shared):
    folder = shared("data/cifar10")
    splits = opening.open_splits(folder, holdout_shards=1)
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [
        40_000,
        10_000,
        10_000,
    ]
    names = (folder / "labels.txt").read_text().split()
    assert splits["test"].class_names == tuple(names[1:])
    np.testing.assert_array_equal(np.bincount(splits["test"].labels), [1000] * 10)


# TensorFlow Datasets.


@pytest.fixture(scope="module")
def builder(tmp_path_factory, images):
    """Prepare a set of the coloured images, with a test split."""
    tfds = pytest.importorskip("tensorflow_datasets")

    folder = tmp_path_factory.mktemp("tfds")

    class Builder(tfds.core.GeneratorBasedBuilder):
        name = "three_colours"
        pkg_dir_path = folder
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=images.class_names),
            }
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate(0), "test": self._generate(1)}

        def _generate_examples(self, side):
            arrays = [n for n, p in enumerate(images.paths) if p.suffix == ".jpg"]
            for index in arrays[side::2]:
                image, label = images.paths[index], int(images.labels[index])
                yield index, {"image": str(image), "label": label}

        def _generate(self, side):
            return self._generate_examples(side)

    return Builder(data_dir=str(folder))


def test_set_of_tensorflow_datasets_opens_by_name(builder, images, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds, "builder", lambda name: builder)
    splits = opening.open_tfds("three_colours")
    known = labelled(images)
    for side in splits.values():
        for digest, name in labelled(side).items():
            assert known[digest] == name
    assert splits["train"].class_names == images.class_names


def test_unknown_set_is_told(monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(InputError, match="no_such_set_1"):
        opening.open_splits("no_such_set_1")


def test_set_that_cannot_be_prepared_is_told(builder, monkeypatch):
    import tensorflow_datasets as tfds

    class Offline(type(builder)):
        def download_and_prepare(self):
            raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(tfds, "builder", lambda name: Offline(data_dir="elsewhere"))
    with pytest.raises(InputError, match="elsewhere") as caught:
        opening.open_splits("three_colours")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "splits", "expected"),
    [
        ("cifar10", {"train", "test"}, {"train": "train", "test": "test"}),
        ("food101", {"train", "validation"}, {"train": "train", "test": "validation"}),
        (
            "imagenet2012",
            {"train", "validation", "test"},
            {"train": "train", "test": "validation"},
        ),
    ],
)
def test_sides_of_known_sets(name, splits, expected):
    assert opening._sides(name, splits) == expected


# Labels in a file, as the reference evaluates ImageNet.


@pytest.fixture
def validation(tmp_path):
    """Return a glob of four images and a file of their labels, names out of order."""
    for number, name in enumerate(("c", "a", "d", "b")):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"{name}.JPEG")
    (tmp_path / "notes.txt").write_text("no image")
    labels = tmp_path / "truth.txt"
    labels.write_text("7\n0\n999\n3\n")
    return f"{tmp_path}/*.JPEG", labels


def test_ground_truth_goes_by_the_order_of_names(validation):
    images = opening.open_ground_truth(*validation)
    assert [path.name for path in images.paths] == [f"{n}.JPEG" for n in "abcd"]
    assert images.labels.tolist() == [7, 0, 999, 3]
    assert len(images.class_names) == 1000
    some = opening.open_ground_truth(*validation, num_images=2)
    assert (len(some), some.labels.tolist()) == (2, [7, 0])


@pytest.mark.parametrize(
    ("labels", "named"),
    [("1 2 3", "3 labels"), ("1 2 x 3", "x"), ("1 2 -1 3", "-1"), (None, "truth.txt")],
)
def test_ground_truth_that_does_not_fit_is_refused(validation, labels, named):
    pattern, path = validation
    path.unlink() if labels is None else path.write_text(labels)
    with pytest.raises(InputError, match=named):
        opening.open_ground_truth(pattern, path)


def test_ground_truth_of_no_photo_or_too_few_names_is_refused(validation, tmp_path):
    pattern, path = validation
    with pytest.raises(InputError, match="no image"):
        opening.open_ground_truth(f"{tmp_path}/*.png", path)
    with pytest.raises(InputError, match="999"):
        opening.open_ground_truth(pattern, path, class_names=["a"] * 20)
