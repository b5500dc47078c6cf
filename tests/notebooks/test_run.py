"""Run the whole chain with small numbers, as `make smoke` does."""

import copy
import json
import subprocess
import sys

import expected
import nbformat
import profiles
import pytest
import run
from click.testing import CliRunner
from runner import ROOT, start_runner

from edgetpu_lib.base import artifacts
from edgetpu_lib.data import list_images
from edgetpu_lib.datasets import public

MODEL = profiles.MODEL
SMOKE = profiles.PROFILES["smoke"]


def test_every_notebook_ran_without_an_error_and_drew_a_figure(chain):
    folder = chain.folder
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
    folder = chain.folder
    metadata = artifacts.read_metadata(folder / f"{MODEL}.keras")
    assert metadata["image_size"] == SMOKE["image_size"]
    metadata = artifacts.read_metadata(folder / f"{MODEL}_quant.tflite")
    assert metadata["calibration"]["photos"] == SMOKE["calibration_images"]


def test_artefacts_match_their_records(chain):
    folder = chain.folder
    for name in (".keras", "_float.tflite", "_quant.tflite"):
        artifacts.require_artifact(folder, MODEL + name, made_by="the chain")


def test_metrics_are_measured_on_the_held_out_fifth(chain):
    metrics = json.loads((chain.folder / "metrics.json").read_text())
    assert metrics["test_photos"] == 5 * round(0.2 * SMOKE["images_per_class"])
    keras, float_tflite, int8 = metrics["models"]
    assert keras["agreement"] == 1
    assert float_tflite["top1"] == pytest.approx(keras["top1"], abs=0.1)
    assert int8["size_bytes"] < 0.35 * float_tflite["size_bytes"]
    assert all(row["latency_ms"] > 0 for row in (float_tflite, int8))


def test_the_table_and_the_paths_are_printed(chain):
    folder, printed = chain.folder, chain.stdout
    metrics = json.loads((folder / "metrics.json").read_text())
    for row in metrics["models"]:
        assert f"{row['top1']:.1%}" in printed
    assert str(folder / f"{MODEL}_quant.tflite") in printed
    assert str(folder / "executed" / "06_deploy.ipynb") in printed


def test_a_folder_that_is_none_is_refused_before_anything_runs(tmp_path):
    done = start_runner(
        "--artifacts_dir", tmp_path / "a", "--data_dir", tmp_path / "photoz"
    )
    assert done.returncode != 0
    assert "photoz" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "a").exists()


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    done = start_runner("--artifacts_dir", tmp_path / "a", "-p", "epochz", "3")
    assert done.returncode != 0
    assert "epochz" in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_broken_notebook_stops_the_run(tmp_path):
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        run.run(tmp_path / "broken.ipynb", tmp_path / "executed.ipynb", {})
    assert (tmp_path / "executed.ipynb").exists()


# What is expected.


def test_the_numbers_are_as_expected(chain):
    found = expected.measure(chain.folder)
    assert expected.differences("smoke", found) == []


@pytest.mark.parametrize("profile", ["smoke", "default"])
def test_expected_numbers_have_the_tolerances_of_the_rules(profile):
    rows = expected.read()[profile]
    images = rows["test images"]["value"]
    for name, row in rows.items():
        assert row["within"] == expected.tolerance(name, row["value"], images)


def test_expected_photos_are_a_fifth_of_the_profile():
    default = run.papermill.inspect_notebook(str(run.FOLDER / "03_fine_tune.ipynb"))
    each = {
        "smoke": SMOKE["images_per_class"],
        "default": int(default["images_per_class"]["default"]),
    }
    assert set(expected.read()) == set(each)
    for profile, count in each.items():
        images = expected.read()[profile]["test images"]["value"]
        assert images == 5 * round(0.2 * count)


def test_the_library_alone_gives_the_expected_constants_in_every_profile():
    found = expected.constants()
    for rows in expected.read().values():
        for name, value in found.items():
            assert value == pytest.approx(rows[name]["value"], abs=rows[name]["within"])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("test images", 1),
        ("TFLite int8, top-1", -0.06),
        ("TFLite int8, agreement", -0.04),
        ("TFLite int8, bytes", 50_000),
        ("int8, input zero point", 1),
        ("efficientnet-edgetpu-M, parameters", 1),
        ("efficientnet-edgetpu-L, estimated ms", 0.001),
        ("quickstart, sunflower", -0.02),
    ],
)
def test_a_changed_number_is_named(name, change):
    found = {key: row["value"] for key, row in expected.read()["default"].items()}
    assert expected.differences("default", found) == []
    found[name] += change
    (line,) = expected.differences("default", found)
    assert line.startswith(name)


def test_a_lost_and_a_new_number_are_named():
    found = {key: row["value"] for key, row in expected.read()["default"].items()}
    del found["test images"]
    found["novelty"] = 1
    lost_and_new = expected.differences("default", found)
    assert [line.split(":")[0] for line in lost_and_new] == ["novelty", "test images"]


def test_refreshed_numbers_are_expected_from_then_on(tmp_path, monkeypatch):
    before = copy.deepcopy(expected.read())
    monkeypatch.setattr(expected, "EXPECTED", tmp_path / "expected.json")
    found = {key: row["value"] for key, row in before["default"].items()}
    found["TFLite int8, top-1"] = 0.5
    expected.refresh("default", found)
    assert expected.differences("default", found) == []
    found["TFLite int8, top-1"] = 0.7
    assert len(expected.differences("default", found)) == 1


@pytest.fixture
def short_run(monkeypatch):
    """Let the program run no notebook; return what it will have measured."""
    found = {key: row["value"] for key, row in expected.read()["smoke"].items()}
    monkeypatch.setattr(run, "run", lambda *_: None)
    monkeypatch.setattr(run, "report", lambda *_: None)
    monkeypatch.setattr(expected, "measure", lambda _: found)
    return found


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 0), (["--check"], 1)], ids=["reader", "check"]
)
def test_another_number_is_told_to_readers_and_fails_checks(short_run, arguments, code):
    as_expected = CliRunner().invoke(run.main, ["--profile=smoke", *arguments])
    assert as_expected.exit_code == 0
    short_run["TFLite int8, bytes"] *= 2
    done = CliRunner().invoke(run.main, ["--profile=smoke", *arguments])
    assert done.exit_code == code
    assert "TFLite int8, bytes" in done.stderr


def test_other_parameters_are_not_compared(short_run):
    short_run["TFLite int8, bytes"] *= 2
    changed = ["--profile=smoke", "--check", "-p", "epochs", "2"]
    assert CliRunner().invoke(run.main, changed).exit_code == 0


# The benchmark of the tutorial.


def run_benchmark(*options):
    program = ROOT / "benchmarks" / "tutorial.py"
    command = [sys.executable, program, *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_benchmark_has_help():
    done = run_benchmark("--help")
    assert done.returncode == 0
    assert "OPTIONS go to notebooks/run.py" in done.stdout
    assert not done.stderr


def test_the_benchmark_ends_as_the_runner_ends(tmp_path):
    done = run_benchmark("--data_dir", tmp_path / "photoz")
    assert done.returncode == 1
    assert "photoz is not a folder" in done.stderr
    assert "Traceback" not in done.stderr


# Profiles.


def test_every_key_of_a_profile_is_a_parameter_of_some_notebook():
    declared = {path.stem: run.declared(path) for path in run.NOTEBOOKS}
    for profile in profiles.PROFILES.values():
        for name, value in profile.items():
            if isinstance(value, dict):
                assert set(value) <= declared[name], name
            else:
                assert any(name in names for names in declared.values()), name


def test_the_default_profile_is_what_is_committed():
    assert profiles.PROFILES["default"] == {}


def test_a_notebook_s_own_value_goes_before_all_and_the_command_line_before_both():
    full = profiles.merged("full", {})
    names = {"image_size", "epochs"}
    assert profiles.parameters_for("07_search", full, names)["image_size"] == 64
    assert profiles.parameters_for("03_fine_tune", full, names)["image_size"] == 224
    changed = profiles.merged("full", {"image_size": 96})
    assert profiles.parameters_for("07_search", changed, names)["image_size"] == 96
    assert profiles.parameters_for("04_quantize", changed, set()) == {}


def test_public_things_become_folders(tmp_path, monkeypatch, chain):
    drawn = list_images(
        artifacts.read_metadata(chain.folder / f"{MODEL}.keras")["data_dir"]
    )
    splits = {"train": drawn.take(range(0, 60, 2)), "test": drawn.take(range(1, 60, 2))}
    monkeypatch.setattr(public, "open_tfds", lambda name: splits)
    monkeypatch.setattr(
        profiles.fetch, "fetch_checkpoint", lambda name: tmp_path / name
    )
    brought = profiles.bring(profiles.merged("full", {}), tmp_path)
    assert brought["ckpt_dir"] == str(tmp_path / MODEL)
    again = list_images(brought["data_dir"])
    assert again.class_names == drawn.class_names
    for label in range(5):
        assert (again.labels == label).sum() == (drawn.labels == label).sum()
    # The second time nothing is asked for.
    monkeypatch.setattr(public, "open_tfds", None)
    assert profiles.bring({"data_dir": "tf_flowers"}, tmp_path)["data_dir"]


def test_other_parameters_leave_folders_and_checkpoints_alone(tmp_path):
    given = {"data_dir": "mine", "ckpt_dir": "", "epochs": 3}
    assert profiles.bring(given, tmp_path) == given
