"""`split` writes segments that are checked alone and know their part of the whole."""

import json
import shutil

import pytest

from edgetpu_lib.base.artifacts import data_file, read_metadata
from edgetpu_lib.base.metadata import verified_metadata
from edgetpu_lib.tflite import pipeline

SMALL = data_file("quickstart_quant.tflite")


@pytest.fixture
def small(tmp_path):
    """Return a copy of the small network with its metadata, in a folder of its own."""
    folder = tmp_path / "whole"
    folder.mkdir()
    for path in (SMALL, SMALL.with_name(SMALL.name + ".json")):
        shutil.copy(path, folder)
    return folder / SMALL.name


def test_segments_are_checked_alone_and_equal_the_whole(run, small, tmp_path):
    code, output, _ = run(
        *("split", small, "--segments=3", "--nostop", f"--output_dir={tmp_path}/out"),
        "--json",
    )
    assert code == 0
    found = json.loads(output)
    paths = [each["tflite"] for each in found["segments"]]
    assert [path[-20:] for path in paths] == [
        f"segment_{k}_of_3.tflite"[-20:] for k in range(3)
    ]
    for path in paths:
        assert run("check", path)[0] == 0
        assert run("estimate", path)[0] == 0
    pipeline.require_equal(small, [open(path, "rb").read() for path in paths])
    assert found["latency_ms"] > found["interval_ms"]


def test_metadata_go_where_they_belong(run, small, tmp_path):
    run("split", small, "--segments=2", f"--output_dir={tmp_path}/out")
    paths = sorted((tmp_path / "out").glob("*.tflite"))
    first, last = map(verified_metadata, paths)
    whole = read_metadata(small)
    assert last["class_names"] == whole["class_names"]
    assert "class_names" not in first
    assert first["image_size"] == whole["image_size"]
    assert "image_size" not in last
    assert first["segment"]["index"] == 0
    assert last["segment"]["of"]["sha256"] == whole["sha256"]


def test_segments_lie_beside_the_model_unless_told_otherwise(run, small):
    code, output, _ = run("split", small, "--segments=9")
    assert code == 0
    assert "2 segments instead of 9" in output
    assert len(list(small.parent.glob("*_segment_?_of_2.tflite"))) == 2


@pytest.mark.parametrize("given", ["float", "missing", "damaged", "one", "compiled"])
def test_what_cannot_be_split_is_one_line_and_no_file(
    run, float_tflite, small, tmp_path, given, shared
):
    model, segments = small, "2"
    if given == "float":
        model = float_tflite
    elif given == "missing":
        model = tmp_path / "none.tflite"
    elif given == "damaged":
        model.write_bytes(model.read_bytes()[:3000])
    elif given == "compiled":
        model = shared("models/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    else:
        segments = "1"
    out = tmp_path / "out"
    code, output, errors = run(
        "split", model, f"--segments={segments}", f"--output_dir={out}"
    )
    assert code == 2
    assert not output
    assert len(errors.strip().splitlines()) == 1
    assert not out.exists()
