"""`dummy` and `to-tf1`: an architecture without weights, and weights without it."""

import json
import math

import numpy as np
import pytest

from edgetpu_lib import checkpoint
from edgetpu_lib.base import artifacts
from edgetpu_lib.hardware import check
from edgetpu_lib.tflite import file as tflite_file


@pytest.fixture
def slim_flags(slim):
    return [flag for flag in slim if "ckpt" not in flag]


def test_dummy_has_the_operators_of_the_trained_network(
    run, slim_flags, int8_tflite, tmp_path
):
    output = tmp_path / "new" / "dummy.tflite"
    code, out, err = run("dummy", *slim_flags, f"--output_tflite={output}", "--json")
    assert code == 0, err
    assert json.loads(out) == {"tflite": str(output)}
    found, trained = map(tflite_file.read_tflite, (output, int8_tflite))
    for one, other in zip(found.operators, trained.operators, strict=True):
        assert one.kind == other.kind
        sizes = [
            [math.prod(file.tensors[i].shape) for i in (*o.inputs, *o.outputs)]
            for file, o in ((found, one), (trained, other))
        ]
        assert sizes[0] == sizes[1]
    assert check.check_tflite(output).ready
    metadata = artifacts.read_metadata(output)
    assert metadata["weights"] == "random"
    assert metadata["sha256"] == artifacts.sha256_of(output)


def test_dummy_is_the_same_again_and_ends_where_told(run, slim_flags, tmp_path):
    outputs = [tmp_path / name for name in ("a.tflite", "b.tflite")]
    for output in outputs:
        end = "--endpoint_name=block_1"
        code, _, err = run("dummy", *slim_flags, end, f"--output_tflite={output}")
        assert code == 0, err
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    kinds = [o.kind for o in tflite_file.read_tflite(outputs[0]).operators]
    assert "SOFTMAX" not in kinds


@pytest.mark.parametrize("flag", ["--model_name=resnet50", "--endpoint_name=nose"])
def test_dummy_of_nothing_known_is_refused(run, slim_flags, tmp_path, flag):
    output = tmp_path / "dummy.tflite"
    code, out, err = run("dummy", *slim_flags, flag, f"--output_tflite={output}")
    assert (code, out) == (2, "")
    assert flag.split("=")[1] in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "packed.tar.gz"])
@pytest.mark.parametrize("flags", [[], ["--only_averages"], ["--global_step=7"]])
def test_model_becomes_a_checkpoint_of_the_reference(
    run, classifier, new_model, tmp_path, name, flags
):
    path, output = tmp_path / "slim.keras", tmp_path / name
    checkpoint.save_model(classifier, path)
    code, out, err = run("to-tf1", f"--model={path}", f"--output={output}", *flags)
    assert code == 0, err
    assert str(output) in out
    model = new_model(seed=5)
    report = checkpoint.load_weights(model, output)
    for found, expected in zip(
        model.get_weights(), classifier.get_weights(), strict=True
    ):
        assert np.array_equal(found, expected)
    steps = {"--global_step=7": 7, "--only_averages": None}
    assert report.global_step == steps.get("".join(flags), 0)


def test_what_is_no_network_of_this_family_is_refused(run, tmp_path):
    import keras

    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Conv2D(3, 3, name="stem_other")(images))
    path = tmp_path / "other.keras"
    model.save(path)
    code, out, err = run("to-tf1", f"--model={path}", f"--output={tmp_path / 'c'}")
    assert (code, out) == (2, "")
    assert "stem_other" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]
