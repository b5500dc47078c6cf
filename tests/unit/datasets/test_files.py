"""Images and a file of their labels belong together."""

import pytest
from PIL import Image

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import files


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
    images = files.open_ground_truth(*validation)
    assert [path.name for path in images.paths] == [f"{n}.JPEG" for n in "abcd"]
    assert images.labels.tolist() == [7, 0, 999, 3]
    assert len(images.class_names) == 1000
    pattern, labels = validation
    some = data.open_images(
        imagenet_eval_glob=pattern, imagenet_eval_label=labels, num_images=2
    )
    assert (len(some), some.labels.tolist()) == (2, [7, 0])


@pytest.mark.parametrize(
    ("labels", "named"),
    [("1 2 3", "3 labels"), ("1 2 x 3", "x"), ("1 2 -1 3", "-1"), (None, "truth.txt")],
)
def test_ground_truth_that_does_not_fit_is_refused(validation, labels, named):
    pattern, path = validation
    path.unlink() if labels is None else path.write_text(labels)
    with pytest.raises(InputError, match=named):
        files.open_ground_truth(pattern, path)


def test_ground_truth_of_no_image_or_too_few_names_is_refused(validation, tmp_path):
    pattern, path = validation
    with pytest.raises(InputError, match="no image"):
        files.open_ground_truth(f"{tmp_path}/*.png", path)
    with pytest.raises(InputError, match="999"):
        files.open_ground_truth(pattern, path, class_names=["a"] * 20)
