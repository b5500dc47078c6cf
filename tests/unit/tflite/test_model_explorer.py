"""Files for Google's Model Explorer, whose format these tests hold."""

import json
import re

import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands.main import main
from edgetpu_lib.tflite import model_explorer
from edgetpu_lib.tflite.file import read_tflite


def require_valid(path):
    """Return the values of a file, which must be as Model Explorer takes it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content.keys() == {"results", "gradient"}
    for key, result in content["results"].items():
        assert str(int(key)) == key
        assert {"value"} <= result.keys() <= {"value", "bgColor"}
        assert isinstance(result["value"], (int, float))
    assert [stop["stop"] for stop in content["gradient"]] == [0, 1]
    for stop in content["gradient"]:
        assert re.fullmatch("#[0-9a-f]{6}", stop["bgColor"])
    return {int(key): result["value"] for key, result in content["results"].items()}


def test_values_go_by_operator_and_in_order(tmp_path):
    path = tmp_path / "values.json"
    values = {2: 0.5, 0: 1, 1: float("nan"), 3: float("inf")}
    assert model_explorer.write(path, values, low="#ffffff", high="#ff0000") == path
    assert list(require_valid(path).items()) == [(0, 1), (2, 0.5)]


@pytest.mark.parametrize(("value", "colour"), [(0, "#ffffff"), (1, "#ff0000")])
def test_equal_values_have_a_colour_of_their_own(tmp_path, value, colour):
    path = tmp_path / "values.json"
    model_explorer.write(path, {0: value, 1: value}, low="#ffffff", high="#ff0000")
    assert require_valid(path) == {0: value, 1: value}
    results = json.loads(path.read_text(encoding="utf-8"))["results"].values()
    assert {result["bgColor"] for result in results} == {colour}


def test_what_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        model_explorer.write(
            tmp_path / "file/x.json", {0: 1.0}, low="#ffffff", high="#ff0000"
        )


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_commands_give_a_value_to_every_operator(repo_root, tmp_path, capsys, command):
    model = repo_root / "tests/golden/check/tile.tflite"
    path = tmp_path / "values.json"
    assert main([command, str(model), f"--model_explorer={path}"]) == 0
    assert capsys.readouterr().out
    values = require_valid(path)
    assert list(values) == [operator.index for operator in read_tflite(model).operators]
    if command == "check":
        assert set(values.values()) == {1}
    else:
        assert max(values.values()) > 0


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_nothing_is_printed_where_it_cannot_be_written(
    repo_root, tmp_path, capsys, command
):
    model = repo_root / "tests/golden/check/tile.tflite"
    (tmp_path / "file").write_text("")
    assert main([command, str(model), f"--model_explorer={tmp_path}/file/x.json"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_diagnose_gives_a_ratio_to_every_layer(
    tmp_path, capsys, float_tflite, int8_tflite, class_folders
):
    path = tmp_path / "ratios.json"
    files = [f"--float={float_tflite}", f"--int8={int8_tflite}"]
    images = [f"--data_dir={class_folders}", "--num_images=4"]
    assert main(["diagnose", *files, *images, f"--model_explorer={path}"]) in (0, 1)
    ratios = require_valid(path)
    operators = read_tflite(int8_tflite).operators
    layers = {o.index for o in operators if o.kind in ("CONV_2D", "FULLY_CONNECTED")}
    assert layers <= ratios.keys() <= {operator.index for operator in operators}
    assert min(ratios.values()) > 0
