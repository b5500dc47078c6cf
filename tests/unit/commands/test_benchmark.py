"""`benchmark` prints what each file takes, and draws it."""

import json

import pytest
from PIL import Image

from edgetpu_lib.base.artifacts import data_file

SMALL = data_file("quickstart_quant.tflite")


def test_a_row_for_each_file_and_number_of_threads(run, float_tflite):
    code, output, _ = run(
        "benchmark", SMALL, float_tflite, "--num_threads=1,2", "--runs=2"
    )
    assert code == 0
    rows = output.splitlines()[1:5]
    assert [row.split()[0] for row in rows] == [SMALL.name] * 2 + [
        float_tflite.name
    ] * 2
    assert [row.split()[2] for row in rows] == ["1", "2", "1", "2"]


def test_json_and_a_figure(run, tmp_path):
    figure = tmp_path / "new" / "benchmark.png"
    code, output, _ = run(
        "benchmark", SMALL, "--runs=2", f"--output={figure}", "--json"
    )
    assert code == 0
    (found,) = json.loads(output)["timings"]
    assert found["inference"]["p50_ms"] > 0
    assert found["preprocessing"]["p99_ms"] > 0
    with Image.open(figure) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    "flag",
    [
        *("--num_threads=0", "--num_threads=two", "--num_threads=1,", "--runs=0"),
        *("--num_threads=99999", "--output=figure.txt", "--image=none.jpg"),
    ],
)
def test_flags_that_make_no_sense_are_one_line(run, flag):
    code, output, errors = run("benchmark", SMALL, flag)
    assert code == 2
    assert not output
    assert len(errors.strip().splitlines()) == 1
    assert flag.split("=")[1] in errors


def test_without_any_device_a_compiled_file_alone_is_an_error(run, shared):
    path = shared("models/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    code, output, errors = run("benchmark", path)
    assert (code, output) == (2, "")
    assert path.name in errors
