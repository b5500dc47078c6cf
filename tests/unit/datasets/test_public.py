"""Sets of TensorFlow Datasets open by their names, with their own splits."""

import pytest

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import labelled, public


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
    splits = public.open_tfds("three_colours")
    known = dict(
        zip(map(labelled.file_digest, images.paths), images.labels, strict=True)
    )
    for side in splits.values():
        for path, label in zip(side.paths, side.labels, strict=True):
            assert known[labelled.file_digest(path)] == label
    assert splits["train"].class_names == images.class_names


def test_set_without_a_test_split_is_split_with_the_given_seed(images, monkeypatch):
    monkeypatch.setattr(data, "open_tfds", lambda name, **reading: {"train": images})
    splits = data.open_splits("tf_flowers", seed=7)
    expected = data.split_images(images, seed=7)
    assert splits["test"].paths == expected["test"].paths
    assert splits["test"].paths != data.split_images(images, seed=0)["test"].paths


def test_unknown_set_is_told(monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(InputError, match="no_such_set_1"):
        data.open_splits("no_such_set_1")


def test_set_that_cannot_be_prepared_is_told(builder, monkeypatch):
    import tensorflow_datasets as tfds

    class Offline(type(builder)):
        def download_and_prepare(self):
            raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(tfds, "builder", lambda name: Offline(data_dir="elsewhere"))
    with pytest.raises(InputError, match="elsewhere") as caught:
        data.open_splits("three_colours")
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
    assert public._sides(name, splits) == expected
