"""Folders become images, images become leak-free splits, files become pixels."""

import collections
import shutil

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels, rendered


def save(path, seed, size=(40, 44)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(image).save(path)
    return path


def folder_of(tmp_path, **counts):
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            save(tmp_path / name / f"{index:03}.png", 1000 * number + index, (9, 8))
    return tmp_path


def by_class(images):
    return collections.Counter(images.class_names[label] for label in images.labels)


def test_loaded_photos_equal_the_reference_to_the_bit(golden, shared):
    folder = shared("data/photos")
    for name, expected in zip(
        golden["photos"], golden["preprocessed_bicubic"], strict=True
    ):
        found = data.load_image(folder / name, 96)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() == 0, name


def test_every_kind_of_photo_loads(shared):
    images = data.list_images(shared("data/photos"), labelled=False)
    assert len(images) == 100
    sizes = {image.shape for image in data.iterate_pixels(images, 64)}
    assert sizes == {(64, 64, 3)}


def test_images_are_listed_by_class_and_name(class_folders):
    images = data.list_images(class_folders)
    assert images.class_names == ("blue", "green", "red")
    assert by_class(images) == {"blue": 10, "green": 10, "red": 10}
    assert list(images.paths) == sorted(images.paths)
    for path, label in zip(images.paths, images.labels, strict=True):
        assert path.parent.name == images.class_names[label]


def test_listing_takes_strings_and_any_case_and_depth(tmp_path):
    save(tmp_path / "a" / "x.PNG", 0)
    save(tmp_path / "a" / "deep" / "y.jpeg", 1)
    save(tmp_path / "b" / "z.bmp", 2)
    images = data.list_images(str(tmp_path))
    assert {path.name for path in images.paths} == {"x.PNG", "y.jpeg", "z.bmp"}
    assert by_class(images) == {"a": 2, "b": 1}


def test_other_files_are_passed_over(tmp_path):
    folder_of(tmp_path, a=1, b=1)
    for name in ("README.md", "a/notes.txt", "b/.hidden.png", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    images = data.list_images(tmp_path)
    assert [path.name for path in images.paths] == ["000.png", "000.png"]
    assert images.class_names == ("a", "b")


def test_taken_images_keep_their_labels(images):
    chosen = images.take(np.array([25, 0, 12]))
    assert len(chosen) == 3
    assert chosen.paths == tuple(images.paths[i] for i in (25, 0, 12))
    assert chosen.labels.tolist() == [2, 0, 1]
    assert chosen.class_names == images.class_names


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        data.list_images(tmp_path / "nowhere")


def test_file_instead_of_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="one.png"):
        data.list_images(save(tmp_path / "one.png", 0))


def test_folder_without_class_folders_is_named(tmp_path):
    save(tmp_path / "one.png", 0)
    with pytest.raises(InputError, match=str(tmp_path)):
        data.list_images(tmp_path)


def test_single_class_is_named(tmp_path):
    folder_of(tmp_path, onlyone=4)
    with pytest.raises(InputError, match="onlyone"):
        data.list_images(tmp_path)


def test_empty_class_is_named(tmp_path):
    folder_of(tmp_path, a=2, b=2)
    (tmp_path / "vacant").mkdir()
    with pytest.raises(InputError, match="vacant"):
        data.list_images(tmp_path)


def test_flat_folder_gives_images_for_calibration(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", index)
    images = data.list_images(tmp_path, labelled=False)
    assert [path.name for path in images.paths] == ["0.png", "1.png", "2.png"]
    assert images.labels.tolist() == [0, 0, 0]


def test_hidden_folders_do_not_hide_a_flat_folder(tmp_path):
    save(tmp_path / "0.png", 0)
    for name in (".git", ".thumbnails"):
        (tmp_path / name).mkdir()
    assert [path.name for path in data.list_images(tmp_path, labelled=False).paths] == [
        "0.png"
    ]


def test_class_folders_give_labelled_images(class_folders, images):
    assert data.list_images(class_folders, labelled=False).paths == images.paths


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_no_image_for_calibration_is_named(tmp_path, name):
    with pytest.raises(InputError, match=str(tmp_path / name)):
        data.list_images(tmp_path / name, labelled=False)


def test_rendered_flowers_are_drawn_into_the_cache(tmp_path, monkeypatch):
    asked = []

    def draw(folder, **options):
        asked.append(options)
        return folder_of(folder, rose=2, tulip=2)

    monkeypatch.setattr(rendered, "rendered_flowers", draw)
    images = data.open_data_set(
        "rendered_flowers", cache_dir=tmp_path, images_per_class=2, seed=3
    )
    assert asked == [{"images_per_class": 2, "seed": 3}]
    assert images.class_names == ("rose", "tulip")
    assert all(path.is_relative_to(tmp_path) for path in images.paths)


def test_data_set_may_be_a_folder(class_folders, images, tmp_path):
    opened = data.open_data_set(class_folders, cache_dir=tmp_path / "cache")
    assert opened.paths == images.paths
    assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return 100, 50 and 20 images of three classes."""
    folder = tmp_path_factory.mktemp("many")
    return data.list_images(folder_of(folder, a=100, b=50, c=20))


def test_split_is_complete_and_disjoint(many):
    splits = data.split_images(many)
    assert list(splits) == ["train", "validation", "test"]
    placed = [path for side in splits.values() for path in side.paths]
    assert sorted(placed) == list(many.paths)


def test_split_is_stratified(many):
    splits = data.split_images(many, seed=5)
    assert by_class(splits["train"]) == {"a": 70, "b": 35, "c": 14}
    assert by_class(splits["validation"]) == {"a": 10, "b": 5, "c": 2}
    assert by_class(splits["test"]) == {"a": 20, "b": 10, "c": 4}


def test_split_labels_follow_their_files(many):
    for side in data.split_images(many).values():
        assert side.class_names == many.class_names
        for path, label in zip(side.paths, side.labels, strict=True):
            assert path.parent.name == side.class_names[label]


def test_split_is_decided_by_its_seed(many):
    first, again, other = (data.split_images(many, seed=s)["test"] for s in (1, 1, 2))
    assert first.paths == again.paths
    assert set(first.paths) != set(other.paths)


def test_split_depends_on_content_not_on_file_names(many, tmp_path):
    moved = tmp_path / "elsewhere"
    for index, path in enumerate(many.paths):
        target = moved / path.parent.name / f"{index * 7919 % 1009:04}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)

    def contents(images):
        test = data.split_images(images, seed=3)["test"]
        return {path.read_bytes() for path in test.paths}

    assert contents(data.list_images(moved)) == contents(many)


@pytest.mark.parametrize("seed", range(4))
def test_copies_never_fall_on_two_sides(tmp_path, seed):
    folder_of(tmp_path, a=12, b=12)
    for index in range(12):
        source = tmp_path / "a" / f"{index:03}.png"
        shutil.copy(source, tmp_path / "a" / f"copy_{index:03}.png")
    # The same image under two classes is a mistake, but no leak.
    shutil.copy(tmp_path / "a" / "000.png", tmp_path / "b" / "wrong.png")
    splits = data.split_images(data.list_images(tmp_path), seed=seed)
    contents = [{path.read_bytes() for path in splits[side].paths} for side in splits]
    assert not contents[0] & contents[1]
    assert not contents[0] & contents[2]
    assert not contents[1] & contents[2]
    assert sum(len(side) for side in splits.values()) == 37


@pytest.mark.parametrize("count", [3, 4, 5, 7])
def test_small_classes_are_on_every_side(tmp_path, count):
    splits = data.split_images(data.list_images(folder_of(tmp_path, a=count, b=20)))
    for side in splits.values():
        assert by_class(side)["a"] >= 1
    assert sum(by_class(side)["a"] for side in splits.values()) == count


@pytest.mark.parametrize("copies", [0, 5])
def test_class_of_two_different_images_is_refused(tmp_path, copies):
    folder_of(tmp_path, few=2, b=20)
    for index in range(copies):
        shutil.copy(tmp_path / "few" / "000.png", tmp_path / "few" / f"c{index}.png")
    with pytest.raises(InputError, match="few"):
        data.split_images(data.list_images(tmp_path))


def test_whole_square_is_the_largest_one(tmp_path):
    path = save(tmp_path / "wide.png", 0, (30, 50))
    found = data.load_image(path, 30, resize="square")
    assert np.array_equal(found, np.asarray(Image.open(path))[:, 10:40])


def test_evaluation_cuts_the_centre_of_the_whole_square(tmp_path):
    path = tmp_path / "target.png"
    image = np.zeros((256, 256, 3), np.uint8)
    image[16:240, 16:240] = 200
    Image.fromarray(image).save(path)
    assert np.array_equal(data.load_image(path, 224), np.full((224, 224, 3), 200))


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_jpeg_of_every_colour_model_loads(tmp_path, mode):
    path = tmp_path / "image.jpg"
    colour = Image.new("RGB", (60, 50), (200, 200, 200))
    colour.convert(mode).save(path, quality=95)
    found = data.load_image(path, 32)
    assert found.shape == (32, 32, 3)
    assert np.abs(found - 200).max() < 4


def test_progressive_jpeg_loads(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("RGB", (60, 50), (10, 200, 30)).save(path, quality=95, progressive=True)
    found = data.load_image(path, 32)
    assert np.abs(found - [10, 200, 30]).max() < 6


def test_pixels_come_in_order(images):
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = images.take(order)
    streamed = list(data.iterate_pixels(shuffled, 32))
    assert len(streamed) == len(images)
    for path, image in zip(shuffled.paths, streamed, strict=True):
        assert np.array_equal(image, data.load_image(path, 32))


def test_pixels_obey_loading_options(images):
    few = images.take(np.arange(2))
    streamed = data.iterate_pixels(few, 32, resize="square")
    for path, image in zip(few.paths, streamed, strict=True):
        expected = data.load_image(path, 32, resize="square")
        assert np.array_equal(image, expected)


def test_pixels_can_be_left_unfinished(images):
    stream = data.iterate_pixels(images, 32)
    assert next(stream).shape == (32, 32, 3)
    stream.close()


@pytest.mark.parametrize("position", [0, 11, 29])
@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff\xe0 cut"])
def test_damaged_file_is_named_among_many(draw_folders, tmp_path, position, content):
    images = data.list_images(draw_folders(tmp_path / "colours"))
    broken = images.paths[position]
    broken.write_bytes(content)
    with pytest.raises(InputError, match=str(broken)):
        data.load_pixels(images, 32)


def test_vanished_file_is_named(draw_folders, tmp_path):
    images = data.list_images(draw_folders(tmp_path / "colours"))
    images.paths[4].unlink()
    with pytest.raises(InputError, match=str(images.paths[4])):
        data.load_pixels(images, 32)


def test_batches_hold_all_images_once(images):
    batches = list(data.iterate_batches(images, 32, batch_size=13))
    assert [len(batch) for batch in batches] == [13, 13, 4]
    together = np.concatenate(batches)
    assert np.array_equal(together, list(data.iterate_pixels(images, 32)))


def test_loaded_array_is_rounded_and_clipped(images):
    arrays = data.load_pixels(images, 32)
    assert arrays.shape == (30, 32, 32, 3)
    assert arrays.dtype == np.uint8
    expected = [pixels.to_uint8(p) for p in data.iterate_pixels(images, 32)]
    assert np.array_equal(arrays, expected)


def test_progress_bar_goes_to_the_error_stream_only(images, capsys):
    data.load_pixels(images, 32, progress="reading")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("count", [1, 3, 10, 30, 60])
def test_calibration_is_balanced_without_repetition(many, count):
    chosen = data.calibration_images(many, count)
    assert len(chosen) == len(set(chosen.paths)) == count
    numbers = sorted(by_class(chosen).get(name, 0) for name in many.class_names)
    assert numbers[-1] - numbers[0] <= 1
    for path, label in zip(chosen.paths, chosen.labels, strict=True):
        assert path.parent.name == many.class_names[label]


def test_calibration_takes_all_when_asked_for_more(many):
    chosen = data.calibration_images(many, 10_000)
    assert sorted(chosen.paths) == list(many.paths)


def test_calibration_goes_on_when_a_class_is_used_up(many):
    counts = by_class(data.calibration_images(many, 100))
    assert counts == {"a": 40, "b": 40, "c": 20}


def test_calibration_is_decided_by_its_seed(many):
    first, again, other = (
        data.calibration_images(many, 12, seed=s).paths for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("count", [0, -3])
def test_calibration_on_nothing_is_refused(many, count):
    with pytest.raises(InputError, match=str(count)):
        data.calibration_images(many, count)
    with pytest.raises(InputError):
        data.calibration_images(many.take(np.arange(0)), 5)
