"""Images open from every source, with labels and class names together."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets.shards import open_shards


def contents(images):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in images.paths]


def labelled(images):
    names = [images.class_names[label] for label in images.labels]
    return dict(zip(contents(images), names, strict=True))


def test_shards_hold_what_the_folders_held(shards, images):
    splits = data.open_splits(shards)
    assert splits.keys() == {"train", "test"}
    assert labelled(splits["train"]) | labelled(splits["test"]) == labelled(images)
    assert splits["train"].class_names == ("blue", "green", "red")


def test_first_shards_are_held_out_as_in_the_reference(shards):
    whole = data.open_splits(shards)
    splits = data.open_splits(shards, holdout_shards=1)
    held_out = contents(splits["validation"])
    assert held_out + contents(splits["train"]) == contents(whole["train"])
    assert {path.shard.name for path in splits["validation"].paths} == {
        "train-00000-of-00003"
    }


@pytest.mark.parametrize("holdout_shards", [-1, 3])
def test_held_out_shards_leave_some(shards, holdout_shards):
    with pytest.raises(InputError, match=f"holdout_shards={holdout_shards}"):
        data.open_splits(shards, holdout_shards=holdout_shards)


def test_folders_have_no_shards_to_hold_out(class_folders):
    with pytest.raises(InputError, match="holdout_shards=1"):
        data.open_splits(class_folders, holdout_shards=1)


def test_missing_shard_is_found(shards):
    (shards / "train-00001-of-00003").unlink()
    with pytest.raises(InputError, match="2 train shards"):
        data.open_splits(shards)


def test_labels_without_names_are_numbers(shards):
    (shards / "labels.txt").unlink()
    assert data.open_splits(shards)["train"].class_names == ("1", "2", "3")


def test_background_offset_is_explicit(shards):
    with pytest.raises(InputError, match="label 4|label 3"):
        names = "blue\ngreen\nred\n"
        (shards / "labels.txt").write_text(names)
        open_shards(shards, first_label=0)


def damage(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def damaged(shards):
    """Damage the data of a record in one shard and the length of one in the next."""
    places = data.open_splits(shards)["train"].paths
    for number, byte in ((1, 40), (11, 2)):
        damage(places[number].shard, places[number].offset + byte)
    lost = [p for p in places if p.shard == places[11].shard and p.number >= 3]
    return shards, places, {str(places[1]), *map(str, lost)}


def test_damaged_record_stops_by_name(damaged):
    shards, places, _ = damaged
    with pytest.raises(InputError) as caught:
        data.open_splits(shards)
    assert str(places[1]) in str(caught.value)


def test_damaged_records_are_skipped_and_told(damaged):
    shards, places, lost = damaged
    images = data.open_splits(shards, on_error="skip")["train"]
    assert {str(path) for path in images.paths} == set(map(str, places)) - lost
    assert len(images.skipped) == 2
    assert str(places[1]) in images.skipped[0]
    assert str(places[11]) in images.skipped[1]
    assert images.take(np.array([0])).skipped == images.skipped


@pytest.fixture
def cut(class_folders, tmp_path):
    """Return a copy of the images' folder in which one JPEG is cut."""
    folder = shutil.copytree(class_folders, tmp_path / "images")
    path = folder / "red" / "04.jpg"
    path.write_bytes(path.read_bytes()[:700])
    return data.list_images(folder), path


def test_cut_image_stops_by_name(cut):
    images, path = cut
    with pytest.raises(InputError, match=str(path)):
        data.verify_images(images)


def test_image_cut_below_the_evaluated_square_is_found(cut):
    images, path = cut
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    data.load_image(path, 32)
    with pytest.raises(InputError, match=str(path)):
        data.verify_images(images)


def test_cut_image_is_skipped_and_told(cut):
    images, path = cut
    images = dataclasses.replace(images, skipped=("one before",))
    found = data.verify_images(images, on_error="skip")
    assert set(images.paths) - set(found.paths) == {path}
    assert labelled(found).items() <= labelled(images).items()
    before, line = found.skipped
    assert before == "one before" and str(path) in line


def test_nothing_readable_is_refused(cut):
    images, path = cut
    only = images.take(np.array([images.paths.index(path)]))
    with pytest.raises(InputError, match=f"none of the 1 images.*{path}"):
        data.verify_images(only, on_error="skip")


def test_choice_at_errors_is_checked(shards):
    with pytest.raises(InputError, match="on_error='ignore'"):
        data.open_splits(shards, on_error="ignore")


def test_class_folders_and_drawn_flowers_are_split(class_folders, images):
    splits = data.open_splits(class_folders)
    assert splits.keys() == {"train", "validation", "test"}
    assert sum(map(len, splits.values())) == len(images)


def test_drawn_flowers_open_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = data.open_splits("rendered_flowers", images_per_class=5)
    assert sum(map(len, splits.values())) == 25


@pytest.mark.parametrize("name", ["No Such Folder", "nowhere/at/all/"])
def test_unknown_names_are_told_what_is_understood(name):
    with pytest.raises(InputError, match="tf_flowers"):
        data.open_splits(name)


def test_validation_is_drawn_from_training(shards, images):
    given = data.open_splits(shards)
    splits = data.with_validation(given)
    assert contents(splits["test"]) == contents(given["test"])
    assert len(splits["validation"]) >= 3
    together = contents(splits["train"]) + contents(splits["validation"])
    assert sorted(together) == sorted(contents(given["train"]))


def test_nothing_is_drawn_where_nothing_is_missing(shards):
    splits = data.open_splits(shards, holdout_shards=1)
    assert data.with_validation(splits) is splits


def test_cifar10_is_whole(shared):
    folder = shared("data/cifar10")
    splits = data.open_splits(folder, holdout_shards=1)
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [
        40_000,
        10_000,
        10_000,
    ]
    names = (folder / "labels.txt").read_text().split()
    assert splits["test"].class_names == tuple(names[1:])
    np.testing.assert_array_equal(np.bincount(splits["test"].labels), [1000] * 10)


# What the commands evaluate and calibrate with.


def test_whole_folder_is_opened_unless_the_model_was_trained_on_it(
    class_folders, images
):
    opened = data.open_images(class_folders)
    assert (opened.paths, opened.split) == (images.paths, "all")
    elsewhere = data.open_images(class_folders, metadata={"data_dir": "elsewhere"})
    assert (elsewhere.paths, elsewhere.split) == (images.paths, "all")


@pytest.mark.parametrize("default_split", ["test", "train"])
def test_one_split_is_opened_where_the_model_was_trained(
    class_folders, images, default_split
):
    metadata = {"data_dir": f"{class_folders}/../{class_folders.name}", "seed": 5}
    opened = data.open_images(
        class_folders, metadata=metadata, default_split=default_split
    )
    expected = data.split_images(images, seed=5)[default_split]
    assert (opened.paths, opened.split) == (expected.paths, default_split)
    everything = data.open_images(class_folders, split="all", metadata=metadata)
    assert everything.paths == images.paths


def test_split_that_is_asked_for_is_opened(class_folders, images):
    opened = data.open_images(class_folders, split="validation")
    assert opened.paths == data.split_images(images)["validation"].paths
    assert opened.split == "validation"


def test_some_images_are_drawn_from_a_folder(class_folders, images):
    opened = data.open_images(class_folders, num_images=7)
    assert opened.paths == images.sample(7).paths
    assert len(data.open_images(class_folders, num_images=-1)) == len(images)


def test_shards_open_by_split(shards):
    splits = data.open_splits(shards)
    assert labelled(data.open_images(shards)) == labelled(splits["test"])
    opened = data.open_images(shards, default_split="train")
    assert (labelled(opened), opened.split) == (labelled(splits["train"]), "train")
    with pytest.raises(InputError, match="no split 'all'; use train or test"):
        data.open_images(shards, split="all")


def test_images_without_classes_are_for_calibration_only(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="class folders"):
        data.open_images(tmp_path)
    assert len(data.open_images(tmp_path, labelled=False)) == 1


@pytest.fixture
def ground_truth(tmp_path):
    """Return the arguments that name two images and the file of their labels."""
    for number in range(2):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{number}.JPEG")
    (tmp_path / "truth.txt").write_text("7\n9\n")
    return {
        "imagenet_eval_glob": f"{tmp_path}/*.JPEG",
        "imagenet_eval_label": tmp_path / "truth.txt",
    }


def test_images_with_a_file_of_labels_open(ground_truth):
    opened = data.open_images(**ground_truth)
    assert (opened.labels.tolist(), opened.split) == ([7, 9], "all")
    assert len(data.open_images(**ground_truth, num_images=1)) == 1
    named = data.open_images(**ground_truth, class_names=["a"] * 10)
    assert named.class_names == ("a",) * 10


def test_sources_that_contradict_each_other_are_refused(class_folders, ground_truth):
    pattern = ground_truth["imagenet_eval_glob"]
    for given in (
        {},
        {"data_dir": class_folders, **ground_truth},
        {"imagenet_eval_glob": pattern},
        {"data_dir": class_folders, "imagenet_eval_label": "truth.txt"},
    ):
        with pytest.raises(InputError, match="imagenet_eval_label=FILE"):
            data.open_images(**given)


@pytest.mark.parametrize(
    ("outputs", "background", "imagenet", "offset"),
    [
        (3, None, False, 0),
        (4, None, False, 0),  # only of ImageNet's labels it is taken for granted
        (4, None, True, 1),
        (3, None, True, 0),
        (4, True, False, 1),
        (4, False, True, 0),
    ],
)
def test_label_offset(images, outputs, background, imagenet, offset):
    found = data.label_offset_of(
        images, outputs, background=background, imagenet=imagenet
    )
    assert found == offset
