"""`fine-tune --quantize` writes a model that `export` quantizes with its ranges."""

import pytest

from edgetpu_lib import checkpoint, convert
from edgetpu_lib.base.artifacts import read_metadata

QUICK = ["--quantize", "--epochs=1", "--quantize_epochs=1", "--batch_size=8"]


@pytest.fixture
def quantized(tmp_path, class_folders, slim, run):
    """Return the path of a model that was trained in 8 bits."""
    output = tmp_path / "quantized.keras"
    arguments = [f"--data_dir={class_folders}", f"--output={output}"]
    code, _, errors = run(
        "fine-tune", *slim, "--depth_coefficient=0.1", *arguments, *QUICK
    )
    assert code == 0, errors
    return output


def test_export_takes_the_ranges_of_the_training(quantized, class_folders, run):
    metadata = read_metadata(quantized)
    assert [row["phase"] for row in metadata["history"]] == ["all layers", "8 bits"]
    accuracies = metadata["int8_top1"]
    assert accuracies.keys() == {"post_training", "quantization_aware"}
    assert all(0 <= share <= 1 for share in accuracies.values())
    assert not quantized.with_name("quantized.keras.state").exists()
    file = quantized.with_suffix(".tflite")
    code, _, errors = run(
        *("export", f"--model={quantized}", f"--data_dir={class_folders}"),
        *(f"--output_tflite={file}", "--min_agreement=0"),
    )
    assert code == 0, errors
    model = convert.with_softmax(checkpoint.load_model(quantized))
    expected = convert.to_int8_with_limits(model, metadata["limits"])
    assert file.read_bytes() == expected
    code, _, _ = run("check", str(file))
    assert code == 0


def test_trained_model_is_trained_on(classifier, tmp_path, class_folders, run):
    start, again = tmp_path / "start.keras", tmp_path / "again.keras"
    checkpoint.save_model(classifier, start)
    arguments = [f"--data_dir={class_folders}", f"--output={again}"]
    code, _, errors = run("fine-tune", f"--model={start}", *arguments, *QUICK)
    assert code == 0, errors
    assert {row["phase"] for row in read_metadata(again)["history"]} == {"8 bits"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model=mine.keras"], "--quantize"),
        (["--model=mine.keras", "--quantize", "--width_coefficient=0.5"], "mine.keras"),
        (["--model=missing.keras", "--quantize"], "missing.keras"),
    ],
)
def test_wrong_start_is_one_line(
    arguments, named, tmp_path, class_folders, run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("fine-tune", f"--data_dir={class_folders}", *arguments)
    assert code == 2
    assert named in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.keras"))
