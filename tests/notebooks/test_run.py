"""Run the whole chain with small numbers, as `make tutorial` does."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import papermill
import pytest

from edgetpu_lib import artifacts

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "notebooks" / "run.py"
MODEL = "efficientnet-edgetpu-S"
SMALL = {
    "images_per_class": 12,
    "image_size": 32,
    "epochs": 1,
    "batch_size": 8,
    "calibration_images": 8,
}


def start_runner(*arguments):
    return subprocess.run(
        [sys.executable, RUNNER, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Return (artefact folder, what the runner printed)."""
    folder = tmp_path_factory.mktemp("chain") / "artifacts"
    overrides = [text for pair in SMALL.items() for text in ("-p", *map(str, pair))]
    done = start_runner("--artifacts_dir", folder, *overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_every_notebook_ran_without_an_error_and_drew_a_figure(chain):
    folder, _ = chain
    names = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert [path.name for path in sorted((folder / "executed").iterdir())] == names
    for name in names:
        cells = nbformat.read(folder / "executed" / name, as_version=4).cells
        outputs = [out for cell in cells for out in cell.get("outputs", [])]
        assert not [out for out in outputs if out.output_type == "error"], name
        assert [
            out
            for out in outputs
            if {"image/png", "image/jpeg"} & set(out.get("data", {}))
        ], name


def test_parameters_reach_the_notebooks(chain):
    folder, _ = chain
    record = artifacts.read_record(folder / f"{MODEL}.keras")
    assert record["image_size"] == SMALL["image_size"]
    record = artifacts.read_record(folder / f"{MODEL}_quant.tflite")
    assert record["calibration"]["photos"] == SMALL["calibration_images"]


def test_artefacts_match_their_records(chain):
    folder, _ = chain
    for name in (".keras", "_float.tflite", "_quant.tflite"):
        artifacts.require_artifact(folder, MODEL + name, made_by="the chain")


def test_metrics_are_measured_on_the_held_out_fifth(chain):
    metrics = json.loads((chain[0] / "metrics.json").read_text())
    assert metrics["test_photos"] == 5 * round(0.2 * SMALL["images_per_class"])
    keras, float_tflite, int8 = metrics["models"]
    assert keras["agreement"] == 1
    assert float_tflite["top1"] == pytest.approx(keras["top1"], abs=0.1)
    assert int8["size_bytes"] < 0.35 * float_tflite["size_bytes"]
    assert all(row["latency_ms"] > 0 for row in (float_tflite, int8))


def test_the_table_and_the_paths_are_printed(chain):
    folder, printed = chain
    metrics = json.loads((folder / "metrics.json").read_text())
    for row in metrics["models"]:
        assert f"{row['top1']:.1%}" in printed
    assert str(folder / f"{MODEL}_quant.tflite") in printed
    assert str(folder / "executed" / "06_deploy.ipynb") in printed


def test_a_missing_artefact_names_the_notebook_that_makes_it(tmp_path):
    with pytest.raises(artifacts.InputError, match="03_fine_tune"):
        artifacts.require_artifact(tmp_path, f"{MODEL}.keras", made_by="03_fine_tune")


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    done = start_runner("--artifacts_dir", tmp_path / "a", "-p", "epochz", "3")
    assert done.returncode != 0
    assert "epochz" in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_broken_notebook_stops_the_run(tmp_path):
    sys.path.insert(0, str(RUNNER.parent))
    try:
        import run
    finally:
        sys.path.remove(str(RUNNER.parent))
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        run.run(tmp_path / "broken.ipynb", tmp_path / "executed.ipynb", {})
    assert (tmp_path / "executed.ipynb").exists()


def test_the_wheel_is_enough_to_run_a_notebook_in_an_empty_folder(
    tmp_path, monkeypatch
):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        + ["--no-build-isolation", "--wheel-dir", tmp_path, ROOT],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    # The kernel inherits it, and finds the wheel's files before the clone's.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    papermill.execute_notebook(
        ROOT / "notebooks" / "00_quickstart.ipynb",
        tmp_path / "executed.ipynb",
        cwd=str(tmp_path / "empty"),
        kernel_name="python3",
    )
    outputs = (tmp_path / "executed.ipynb").read_text()
    assert "sunflower" in outputs
    where = "import edgetpu_lib; print(edgetpu_lib.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], capture_output=True, text=True, cwd=tmp_path
    )
    assert str(tmp_path / "site") in found.stdout
