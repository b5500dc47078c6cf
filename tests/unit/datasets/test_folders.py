"""Folders as people have them: splits, strays, copies, and things that are no files."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import opening


def save(path, seed=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(str(path))) if seed is None else seed)
    Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8)).save(path, "png")
    return path


def fill(folder, classes=("cat", "dog"), count=4):
    for name in classes:
        for number in range(count):
            save(folder / name / f"{number}.png")
    return folder


NAMES = [
    ("train", "valid", "test"),
    ("training", "validation", "testing"),
    ("Train", "Val", "Test"),
    ("train", "val", "test"),
    ("TRAIN", "VALIDATION", "TEST"),
    ("seg_train", "seg_dev", "seg_test"),
    ("train_images", "ValidImages", "test-images"),
    ("Training Data", "Validation Data", "Testing Data"),
    ("1_train", "2_val", "3_test"),
]


@pytest.mark.parametrize("names", NAMES)
def test_split_folders_are_splits_and_not_classes(tmp_path, capsys, names):
    for name, count in zip(names, (5, 3, 2), strict=True):
        fill(tmp_path / name, count=count)
    splits = data.open_splits(tmp_path)
    assert {split: len(part) for split, part in splits.items()} == {
        "train": 10,
        "validation": 6,
        "test": 4,
    }
    for split, part in splits.items():
        assert part.class_names == ("cat", "dog")
        assert part.split == split
    assert data.with_validation(splits) is splits
    said = capsys.readouterr().err
    assert all(f"{name}/" in said for name in names)


def test_splits_may_be_wrapped_in_folders_of_their_own(tmp_path, capsys):
    fill(tmp_path / "seg_train/seg_train", count=5)
    fill(tmp_path / "seg_test/seg_test", count=2)
    splits = data.open_splits(tmp_path)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 10,
        "test": 4,
    }
    assert splits["train"].class_names == ("cat", "dog")
    assert "passed over" not in capsys.readouterr().err


def test_same_folders_in_each_folder_are_no_classes(tmp_path):
    fill(tmp_path / "fold1")
    fill(tmp_path / "fold2")
    for open_folder in (data.open_splits, data.open_images):
        with pytest.raises(InputError, match="fold1/, fold2/"):
            open_folder(tmp_path)


def test_longer_names_with_train_in_them_are_classes_among_others(tmp_path):
    fill(tmp_path, ("freight train", "lorry"))
    save(tmp_path / "freight train/old/1.png")
    assert data.open_images(tmp_path).class_names == ("freight train", "lorry")


@pytest.mark.parametrize(
    ("default_split", "folder"), [("test", "test"), ("train", "train")]
)
def test_split_folders_are_obeyed_by_evaluation_and_calibration(
    tmp_path, default_split, folder
):
    for name in ("train", "val", "test"):
        fill(tmp_path / name)
    opened = data.open_images(tmp_path, default_split=default_split, labelled=False)
    assert {path.parents[1].name for path in opened.paths} == {folder}
    chosen = data.open_images(tmp_path, split="validation")
    assert {path.parents[1].name for path in chosen.paths} == {"val"}


def test_lone_validation_folder_is_what_a_model_is_measured_on(tmp_path):
    fill(tmp_path / "train", count=10)
    fill(tmp_path / "val", count=3)
    splits = data.open_splits(tmp_path)
    assert splits.keys() == {"train", "validation"}
    whole = data.with_validation(splits)
    assert whole["test"].paths == splits["validation"].paths
    assert not set(whole["validation"].paths) & set(whole["train"].paths)
    assert data.open_images(tmp_path).paths == whole["test"].paths


def test_class_that_one_split_lacks_is_named_and_keeps_its_label(tmp_path, capsys):
    fill(tmp_path / "train", ("ant", "bee", "cat"))
    fill(tmp_path / "valid", ("bee", "cat"))
    splits = data.open_splits(tmp_path)
    assert splits["validation"].class_names == ("ant", "bee", "cat")
    assert set(splits["validation"].labels) == {1, 2}
    assert "valid/ has no image of ant" in capsys.readouterr().err


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: fill(folder, ("extra",)),
        lambda folder: fill(folder / "val"),
        lambda folder: fill(folder / "Train"),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(tmp_path, make):
    fill(tmp_path / "train")
    fill(tmp_path / "valid")
    make(tmp_path)
    for open_folder in (data.open_splits, data.open_images):
        with pytest.raises(InputError, match="also"):
            open_folder(tmp_path)


def test_splits_without_class_folders_are_refused(tmp_path):
    fill(tmp_path, ("train", "test"))
    with pytest.raises(InputError, match="without class folders"):
        data.open_splits(tmp_path)


def test_train_may_be_a_class_among_others(tmp_path):
    fill(tmp_path, ("car", "plane", "train"))
    assert data.list_images(tmp_path).class_names == ("car", "plane", "train")
    assert data.open_images(tmp_path).class_names == ("car", "plane", "train")
    assert data.open_splits(tmp_path)["train"].class_names == ("car", "plane", "train")


def test_training_needs_a_training_split(tmp_path):
    fill(tmp_path / "test")
    fill(tmp_path / "val")
    with pytest.raises(InputError, match="no training images"):
        data.open_splits(tmp_path)
    assert len(data.open_images(tmp_path, default_split="train")) == 8


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe", "JPEG", "bmp", "tiff"])
def test_every_ending_of_readable_images_is_listed(tmp_path, suffix):
    fill(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "other.jpg")
    shutil.move(tmp_path / "other.jpg", tmp_path / "cat" / f"other.{suffix}")
    assert len(data.list_images(tmp_path)) == 9
    assert not data.list_images(tmp_path).notes


def test_avif_is_read_where_pillow_can(tmp_path):
    if ".avif" not in opening.readable_suffixes():
        pytest.skip("this Pillow reads no AVIF")
    fill(tmp_path)
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "cat" / "x.avif")
    opened = data.list_images(tmp_path)
    (path,) = (path for path in opened.paths if path.suffix == ".avif")
    assert data.load_image(path, 16)[..., 0].mean() > 150


def test_what_is_passed_over_is_counted(tmp_path, capsys, monkeypatch):
    known = opening.SUFFIXES
    monkeypatch.setattr(opening, "readable_suffixes", lambda: known)
    fill(tmp_path)
    strays = ["cat/a.heic", "dog/b.heic", "cat/notes.txt", "stray.png", "cat/.DS_Store"]
    for name in [*strays, "Makefile"]:
        (tmp_path / name).write_bytes(b"x")
    data.open_images(tmp_path)
    said = capsys.readouterr().err
    assert "2 .heic" in said
    assert "pillow-heif" in said
    for words in ("1 .txt", "1 .png beside", "1 hidden", "1 without ending"):
        assert words in said


def test_class_of_unreadable_photos_says_how_to_read_them(tmp_path, monkeypatch):
    known = opening.SUFFIXES
    monkeypatch.setattr(opening, "readable_suffixes", lambda: known)
    fill(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel/a.heic").write_bytes(b"x")
    with pytest.raises(InputError, match="pillow-heif"):
        data.list_images(tmp_path)


def test_same_image_in_two_classes_and_two_splits_is_named(tmp_path, capsys):
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "train/dog/copy.png")
    shutil.copy(tmp_path / "train/cat/1.png", tmp_path / "test/cat/copy.png")
    data.open_splits(tmp_path)
    said = capsys.readouterr().err
    assert "1 images are in two classes" in said
    assert "1 images are in two splits" in said
    assert str(tmp_path / "train/dog/copy.png") in said


def test_folders_behind_links_are_read_and_loops_end(tmp_path):
    fill(tmp_path / "pictures")
    save(tmp_path / "elsewhere/more.png")
    (tmp_path / "pictures/cat/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures/cat/again").symlink_to(tmp_path / "pictures/cat")
    assert len(data.list_images(tmp_path / "pictures")) == 9


def test_things_that_are_no_files_can_be_skipped(tmp_path):
    fill(tmp_path)
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    (tmp_path / "cat/zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "cat/lost.jpg").symlink_to("/nowhere/at/all")
    (tmp_path / "cat/folder.jpg").mkdir()
    opened = data.list_images(tmp_path)
    with pytest.raises(InputError):
        data.verify_images(opened)
    kept = data.verify_images(opened, on_error="skip")
    assert len(kept) == 8
    assert len(kept.skipped) == 4
    splits = data.split_images(opened)
    assert sum(map(len, splits.values())) == 12


def test_pipe_of_labels_is_refused(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(InputError, match="pipe"):
        data.open_images(
            imagenet_eval_glob=f"{tmp_path}/*.png",
            imagenet_eval_label=tmp_path / "labels.txt",
        )


def test_validation_shards_alone_serve_calibration(shards):
    expected = data.open_splits(shards)["test"]
    for path in shards.glob("train-*"):
        path.unlink()
    opened = data.open_images(shards, default_split="train", labelled=False)
    assert [str(path) for path in opened.paths] == [str(p) for p in expected.paths]
    with pytest.raises(InputError, match="no training images"):
        data.open_splits(shards)


@pytest.fixture
def frigate(tmp_path):
    """Fill a folder as Frigate keeps it: labelled images, and others in `train/`."""
    folder = tmp_path / "clips" / "gate"
    fill(folder / "dataset", ("closed", "none", "open"), 6)
    for score in ("0.99", "0.51", "0.0"):
        save(folder / "train" / f"1760000000.1-abc-1760000001.2-open-{score}.png")
    return folder


@pytest.mark.parametrize("inside", ["", "dataset"])
def test_frigates_folder_is_read_as_it_is(frigate, inside, capsys):
    splits = data.open_splits(frigate / inside)
    assert {len(part) for part in splits.values()} == {12, 3}
    for part in splits.values():
        assert part.class_names == ("closed", "none", "open")
        assert {path.parent.parent for path in part.paths} == {frigate / "dataset"}
        assert part.data_dir == str(frigate / "dataset")
    # Images that are left out are counted.
    assert ("3 " in capsys.readouterr().err) == (not inside)


@pytest.mark.parametrize("labelled", [True, False])
def test_frigates_unlabelled_images_are_never_used(frigate, labelled):
    images = data.open_images(frigate, labelled=labelled)
    assert len(images) == 18
    assert not [path for path in images.paths if "train" in path.parts[-3:]]
    assert len(data.list_images(frigate)) == 18


@pytest.mark.parametrize("trained", ["", "dataset"])
@pytest.mark.parametrize("given", ["", "dataset"])
def test_training_images_of_frigates_folder_are_held_back(frigate, trained, given):
    metadata = {"data_dir": str(frigate / trained), "seed": 0}
    images = data.open_images(frigate / given, metadata=metadata)
    assert images.split == "test"
    assert len(images) == 3


def test_frigates_class_may_be_called_train(frigate):
    fill(frigate / "dataset", ("train",), 6)
    splits = data.open_splits(frigate)
    assert splits["train"].class_names == ("closed", "none", "open", "train")


def test_frigates_folder_without_unlabelled_images(frigate):
    shutil.rmtree(frigate / "train")
    assert len(data.list_images(frigate)) == 18
    (frigate / "train").mkdir()
    (frigate / ".training_metadata.json").write_text("{}")
    assert len(data.list_images(frigate)) == 18


def test_frigates_folder_with_one_class_names_that_folder(frigate):
    for name in ("none", "open"):
        shutil.rmtree(frigate / "dataset" / name)
    with pytest.raises(InputError, match=r"dataset .*closed"):
        data.open_splits(frigate)


def test_classes_called_dataset_and_train_stay_classes(tmp_path):
    fill(tmp_path, ("dataset", "train"), 6)
    assert data.list_images(tmp_path).class_names == ("dataset", "train")
    assert data.open_splits(tmp_path)["train"].class_names == ("dataset", "train")


def test_splits_inside_a_folder_called_dataset(tmp_path):
    for split in ("train", "val"):
        fill(tmp_path / "dataset" / split)
    splits = data.open_splits(tmp_path)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 8,
        "validation": 8,
    }
