"""What a submission leaves behind is saved as data, and loaded as nothing else."""

import json
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from edgetpu_lib import data
from edgetpu_lib.teaching.grading import values


def never(*_):
    raise AssertionError("nothing is called")


def there_and_back(value, folder):
    values.save({"value": value}, folder / "saved")
    return values.load(folder / "saved", never)["value"]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 2.5, float("inf"), "words ä \udcff", b"bytes", [], [1, [2]]),
        *((1, "a"), {"a": (1, None), 2: [b"b"]}, Path("/somewhere/file.png")),
    ],
)
def test_plain_values_come_back(value, tmp_path):
    found = there_and_back(value, tmp_path)
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


def test_arrays_come_back_with_their_type(tmp_path):
    for number, array in enumerate((np.arange(6, dtype=np.uint8), np.ones((2, 3)))):
        (tmp_path / str(number)).mkdir()
        found = there_and_back(array, tmp_path / str(number))
        assert found.dtype == array.dtype and (found == array).all()
    found = there_and_back(np.float32(0.5), tmp_path)
    assert found == 0.5 and found.dtype == np.float32


def test_images_come_back_with_their_attributes(tmp_path):
    images = data.Images((Path("a.png"),), np.array([1]), ("x", "y"))
    found = there_and_back({"train": images}, tmp_path)["train"]
    assert found.paths == (Path("a.png").absolute(),)
    assert found.labels.tolist() == [1] and found.class_names == ("x", "y")
    assert type(found).__name__ == "Images"


def test_a_model_comes_back_and_predicts_the_same(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    inputs = np.ones((1, 4), np.float32)
    found = there_and_back(model, tmp_path)
    assert found.output_shape == (None, 2)
    assert np.allclose(found(inputs), model(inputs))


class Hostile:
    def __getattribute__(self, name):
        raise RuntimeError("no")


class Pickled:
    def __reduce__(self):
        return print, ("this ran",)


def test_what_is_no_data_becomes_its_description(tmp_path, capsys):
    loop = []
    loop.append(loop)
    for number, value in enumerate(
        (Pickled(), np.array([Pickled()]), types, loop, Pickled, 10**5000)
    ):
        (tmp_path / str(number)).mkdir()
        assert there_and_back(value, tmp_path / str(number)) != value
    there_and_back(Hostile(), tmp_path)
    assert "this ran" not in capsys.readouterr().out


def test_a_function_is_called_where_it_is_and_gives_data(tmp_path):
    values.save({"f": lambda x, by=2: [x * by, Pickled()]}, tmp_path / "saved")

    def call(number, arguments, named):
        content = {"number": number, "arguments": arguments, "named": named}
        values.save(content, tmp_path / "given")
        values.call_saved(tmp_path / "given", tmp_path / "result")
        return values.load(tmp_path / "result", never)["result"]

    function = values.load(tmp_path / "saved", call)["f"]
    product, other = function(np.arange(3), by=3)
    assert product.tolist() == [0, 3, 6]
    assert not isinstance(other, Pickled)


@pytest.mark.parametrize(
    "tree",
    [
        {"kind": "array", "file": "../../etc/passwd"},
        {"kind": "model", "file": 3},
        {"kind": "dict", "items": [[[], 1]]},
        {"kind": "object", "type": "a\0b", "fields": {"x": {"kind": 7}}},
        {"kind": "bytes", "file": -1},
        {"file": 1},
        {},
    ],
)
def test_damaged_values_are_loaded_as_far_as_possible(tree, tmp_path):
    (tmp_path / values.FILE).write_text(json.dumps({"good": 1, "bad": tree}))
    found = values.load(tmp_path, never)
    assert found["good"] == 1 and set(found) == {"good", "bad"}


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '{"a":' * 5000])
def test_a_damaged_file_holds_nothing(content, tmp_path):
    (tmp_path / values.FILE).write_text(content)
    assert values.load(tmp_path, never) == {}
    assert values.load(tmp_path / "none", never) == {}
