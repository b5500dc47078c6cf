"""The drawn flowers: the same every time, unlike one another, and safely on disk."""

import json

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import rendered
from edgetpu_lib.images.rendered import CLASS_NAMES, render_flower, rendered_flowers

SIDE = 64


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_image_is_rgb_bytes_of_the_size_asked_for(class_name):
    image = render_flower(class_name, 0, size=SIDE)
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_same_arguments_give_the_same_image(class_name):
    first = render_flower(class_name, 3, seed=5, size=SIDE)
    again = render_flower(class_name, 3, seed=5, size=SIDE)
    assert np.array_equal(first, again)


def test_other_arguments_give_other_images():
    images = [render_flower(name, 0, size=SIDE) for name in CLASS_NAMES]
    images.append(render_flower("rose", 1, size=SIDE))
    images.append(render_flower("rose", 0, seed=1, size=SIDE))
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("size", [32, 33, 101])
def test_any_size_from_the_smallest_works(size):
    for index in range(8):
        assert render_flower("tulip", index, size=size).shape == (size, size, 3)


def test_mean_colour_does_not_give_the_class_away():
    means = np.array(
        [
            [render_flower(name, k, size=48).mean(axis=(0, 1)) for k in range(40)]
            for name in CLASS_NAMES
        ]
    )
    centres = means.mean(axis=1)
    distance = np.linalg.norm(means[:, :, None] - centres, axis=-1)
    guesses = distance.argmin(axis=-1)
    truth = np.arange(len(CLASS_NAMES))[:, None]
    assert (guesses == truth).mean() < 0.6


def test_folder_holds_the_images_that_the_arguments_name(tmp_path):
    folder = rendered_flowers(
        tmp_path / "flowers", images_per_class=2, seed=4, size=SIDE
    )
    assert folder == tmp_path / "flowers"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    assert files == {f"{c}/{c}_{k:05d}.jpg" for c in CLASS_NAMES for k in range(2)}
    assert json.loads((folder / "rendered.json").read_text())["seed"] == 4
    stored = np.asarray(Image.open(folder / "rose" / "rose_00001.jpg"), dtype=float)
    drawn = render_flower("rose", 1, seed=4, size=SIDE)
    assert np.abs(stored - drawn).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["flowers"]


def test_finished_folder_is_used_as_it_is(tmp_path, monkeypatch):
    folder = rendered_flowers(tmp_path / "flowers", images_per_class=1, size=SIDE)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(rendered, "_draw_file", lambda job: pytest.fail("drew again"))
    rendered_flowers(folder, images_per_class=1, size=SIDE)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_empty_folder_is_filled(tmp_path):
    rendered_flowers(tmp_path, images_per_class=1, size=SIDE)
    assert len(list(tmp_path.rglob("*.jpg"))) == len(CLASS_NAMES)


def test_interrupted_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    draw = rendered._draw_file

    def stop_in_the_middle(job):
        if "rose" in job[0].name:
            raise KeyboardInterrupt
        draw(job)

    monkeypatch.setattr(rendered, "_draw_file", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        rendered_flowers(tmp_path / "flowers", images_per_class=1, size=SIDE)
    assert list(tmp_path.iterdir()) == []


def test_pool_draws_the_same_images(tmp_path, monkeypatch):
    alone = rendered_flowers(tmp_path / "alone", images_per_class=1, size=SIDE)
    monkeypatch.setattr(rendered, "WORTH_A_POOL", 1)
    pooled = rendered_flowers(tmp_path / "pooled", images_per_class=1, size=SIDE)
    for path in alone.rglob("*.jpg"):
        twin = pooled / path.relative_to(alone)
        assert twin.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("other", [{"seed": 1}, {"size": 65}, {"images_per_class": 2}])
def test_folder_with_other_images_is_refused(tmp_path, other):
    asked = {"images_per_class": 1, "size": SIDE}
    folder = rendered_flowers(tmp_path / "flowers", **asked)
    with pytest.raises(InputError, match="flowers.*delete it or choose another"):
        rendered_flowers(folder, **{**asked, **other})


def test_folder_with_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="delete it or choose another"):
        rendered_flowers(tmp_path, images_per_class=1, size=SIDE)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_unknown_class_is_named_with_the_allowed_ones():
    with pytest.raises(InputError) as caught:
        render_flower("orchid", 0)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ("orchid", *CLASS_NAMES))


@pytest.mark.parametrize(
    "arguments", [{"index": -1}, {"index": 0, "seed": -1}, {"index": 0, "size": 31}]
)
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(InputError, match="too small"):
        render_flower("rose", **arguments)


@pytest.mark.parametrize("arguments", [{"images_per_class": 0}, {"size": 16}])
def test_folder_arguments_out_of_range_draw_nothing(tmp_path, arguments):
    with pytest.raises(InputError, match="too small"):
        rendered_flowers(tmp_path / "f", **{"images_per_class": 1, **arguments})
    assert list(tmp_path.iterdir()) == []
