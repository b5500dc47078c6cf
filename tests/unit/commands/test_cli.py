"""The command line: the reference's flags, JSON for programs, one line for mistakes."""

import errno
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import checkpoint, convert, data, fine_tune
from edgetpu_lib.base import artifacts
from edgetpu_lib.commands.main import main
from edgetpu_lib.conversion import agreement
from edgetpu_lib.tflite import file as tflite_file
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.training import phases

NETWORK = [
    "--model_name=efficientnet-edgetpu-S",
    "--width_coefficient=0.1",
    "--num_classes=11",
    "--image_size=96",
]


@pytest.fixture
def run_json(run):
    """Return a function: arguments to what was printed as JSON."""

    def call(*arguments):
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def red(class_folders):
    return class_folders / "red" / "01.png"


@pytest.fixture
def label_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("blue\ngreen\nred\n")
    return path


@pytest.fixture
def fed(monkeypatch):
    """Note what export would convert, and how; write a stand-in for the file."""
    noted = {}
    content = artifacts.data_file("quickstart_quant.tflite").read_bytes()

    def floats(model):
        noted.update(kind="float", model=model, content=content)
        return content

    def integers(model, calibration, **pixels):
        noted.update(kind="int8", model=model, calibration=calibration, content=content)
        return content

    monkeypatch.setattr(convert, "to_float_tflite", floats)
    monkeypatch.setattr(convert, "to_int8_tflite", integers)
    # The stand-in agrees with nothing.
    monkeypatch.setattr(
        agreement, "verify", lambda *given, **least: agreement.Agreement(1.0, 6)
    )
    return noted


# The four commands of the reference, on its own tiny checkpoint.


@pytest.fixture(scope="module")
def reference(shared):
    return shared("reference/tiny_checkpoint")


def test_reference_classify(run_json, reference, golden, shared, tmp_path):
    labels = tmp_path / "labels_map.txt"
    labels.write_text(json.dumps({str(i): f"class {i + 1}" for i in range(10)}))
    for index, image in enumerate(golden["photos"][:2]):
        prediction = run_json(
            "classify",
            *NETWORK,
            f"--ckpt_dir={reference}",
            f"--example_img={shared('data/photos') / image}",
            f"--labels_map_file={labels}",
            "--include_background_label",
        )
        probs = golden["ema/probs"][index]
        best = np.argsort(-probs)[:5]
        assert [p["index"] for p in prediction["predictions"]] == best.tolist()
        found = [p["probability"] for p in prediction["predictions"]]
        np.testing.assert_allclose(found, probs[best], atol=5e-5)
        names = ["background", *(f"class {i}" for i in range(1, 11))]
        assert [p["label"] for p in prediction["predictions"]] == [
            names[i] for i in best
        ]


def test_reference_export_of_integers(run, reference, shared, tmp_path):
    images = shared("data/photos")
    output = tmp_path / "S_quant.tflite"
    code, out, err = run(
        "export",
        *NETWORK,
        f"--ckpt_dir={reference}",
        f"--data_dir={images}/",
        f"--output_tflite={output}",
        "--num_steps=5",
    )
    assert code == 0, err
    assert str(output) in out
    opened = interpreter.open_interpreter(output)
    contract = interpreter.input_contract(opened)
    assert contract == interpreter.TensorContract("uint8", (1, 96, 96, 3), 1 / 128, 127)
    assert interpreter.output_contract(opened).shape == (1, 11)
    metadata = artifacts.read_metadata(output)
    assert metadata["sha256"] == artifacts.sha256_of(output)
    assert metadata["calibration"]["photos"] == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "S_quant.tflite",
        "S_quant.tflite.json",
    ]


def test_reference_export_of_floats_and_saved_model(
    run, reference, golden, shared, tmp_path
):
    import tensorflow as tf

    output, folder = tmp_path / "S_float.tflite", tmp_path / "OUT"
    code, _, err = run(
        "export",
        *NETWORK,
        f"--ckpt_dir={reference}",
        f"--output_saved_model_dir={folder}/",
        f"--output_tflite={output}",
        "--quantize=False",
    )
    assert code == 0, err
    images = (golden["preprocessed_bicubic"] - 127) / 128
    served = tf.saved_model.load(folder).signatures["serving_default"]
    (probabilities,) = served(tf.constant(images)).values()
    np.testing.assert_allclose(probabilities, golden["ema/probs"], atol=5e-5)
    opened = interpreter.open_interpreter(output)
    found = interpreter.run(opened, golden["preprocessed_bicubic"][0])
    np.testing.assert_allclose(found, golden["ema/probs"][0], atol=5e-5)


def test_reference_export_of_floats(run, fed, slim, slim_checkpoint, tmp_path):
    output = tmp_path / "S_float.tflite"
    code, out, err = run(
        "export",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        f"--output_tflite={output}",
        "--quantize=False",
    )
    assert code == 0, err
    assert out.count("\n") == 1
    assert fed["kind"] == "float"
    assert fed["model"].output_shape == (None, 3)
    assert output.read_bytes() == fed["content"]
    metadata = artifacts.read_metadata(output)
    assert metadata["image_size"] == 32
    assert metadata["sha256"] == artifacts.sha256_of(output)


# Flags.


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (["--quantize=False"], "float"),
        (["--quantize=false"], "float"),
        (["--quantize", "False"], "float"),
        (["--quantize=0"], "float"),
        (["--noquantize"], "float"),
        (["--quantize=True"], "int8"),
        (["--quantize", "true"], "int8"),
        (["--quantize"], "int8"),
        ([], "int8"),
    ],
)
def test_switches_take_every_spelling(
    run, fed, slim, slim_checkpoint, class_folders, tmp_path, flags, kind
):
    output = tmp_path / "model.tflite"
    code, _, err = run(
        "export",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        f"--data_dir={class_folders}",
        f"--output_tflite={output}",
        *flags,
    )
    assert code == 0, err
    assert fed["kind"] == kind


def test_flags_take_dashes_and_spaces(
    run, fed, slim_checkpoint, class_folders, tmp_path
):
    code, _, err = run(
        *("export", "--model-name", "efficientnet-edgetpu-S"),
        *("--width-coefficient", "0.1", "--depth_coefficient", "0.3"),
        *("--num-classes", "3", "--image-size", "64"),
        *("--ckpt-dir", slim_checkpoint, "--data-dir", class_folders),
        *("--num-steps", "4", "--seed", "3"),
        *("--output-tflite", tmp_path / "model.tflite"),
    )
    assert code == 0, err
    assert fed["model"].input_shape == (None, 64, 64, 3)
    assert len(fed["calibration"]) == 4


def test_calibration_photos_are_drawn_by_seed(
    run, fed, slim, slim_checkpoint, class_folders, tmp_path
):
    drawn = []
    for seed in (1, 1, 2):
        code, _, err = run(
            "export",
            *slim,
            f"--ckpt_dir={slim_checkpoint}",
            f"--data_dir={class_folders}",
            f"--output_tflite={tmp_path / 'model.tflite'}",
            f"--seed={seed}",
            "--num_steps=6",
        )
        assert code == 0, err
        drawn.append(fed["calibration"].paths)
    assert drawn[0] == drawn[1] != drawn[2]


def test_record_says_what_the_file_came_from(
    run, fed, slim, slim_checkpoint, class_folders, tmp_path
):
    output, folder = tmp_path / "model.tflite", tmp_path / "saved"
    code, _, err = run(
        *("export", *slim, f"--ckpt_dir={slim_checkpoint}", "--num_steps=6"),
        *(f"--data_dir={class_folders}", f"--output_tflite={output}", "--seed=3"),
        f"--output_saved_model_dir={folder}",
    )
    assert code == 0, err
    metadata = artifacts.read_metadata(output)
    assert metadata["model_name"] == "efficientnet-edgetpu-S"
    assert (metadata["image_size"], metadata["num_classes"]) == (32, 3)
    assert (metadata["width_coefficient"], metadata["depth_coefficient"]) == (0.1, 0.3)
    assert metadata["weights_sha256"] == checkpoint.weights_digest(fed["model"])
    assert metadata["calibration"] == {
        "data_dir": str(class_folders),
        "photos": 6,
        "sha256": data.digest_of(fed["calibration"]),
    }
    assert metadata["input"] == {
        "dtype": "uint8",
        "shape": [1, 96, 96, 3],
        "scale": 1 / 128,
        "zero_point": 127,
    }
    assert (metadata["edge_tpu_operators"], metadata["cpu_operators"]) == (66, 0)
    assert "tensorflow" in metadata["versions"]
    of_folder = artifacts.read_metadata(folder)
    assert of_folder["weights_sha256"] == metadata["weights_sha256"]
    assert of_folder["sha256"] == artifacts.sha256_of(folder)


def test_endpoint_is_exported(run, fed, slim, slim_checkpoint, tmp_path):
    code, _, err = run(
        "export",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        "--quantize=False",
        "--endpoint_name=pooled_features",
        f"--output_tflite={tmp_path / 'features.tflite'}",
    )
    assert code == 0, err
    assert fed["model"].output_shape == (None, 1, 1, 128)
    metadata = artifacts.read_metadata(tmp_path / "features.tflite")
    assert metadata["output"] == "pooled_features"


def test_image_size_defaults_to_the_models_own(
    run, fed, write_checkpoint, new_model, tmp_path
):
    name = "efficientnet-edgetpu-L"
    model = new_model(model_name=name, depth_coefficient=0.1, image_size=300)
    names = checkpoint.reference_names(model)
    tensors = {n: keras.ops.convert_to_numpy(v) for n, v in names.items()}
    folder = write_checkpoint(tmp_path / "L", tensors)
    code, _, err = run(
        *("export", "--model_name", name, "--width_coefficient=0.1"),
        *("--depth_coefficient=0.1", "--num_classes=3", "--enable_ema=False"),
        *("--ckpt_dir", folder, "--quantize=False"),
        *("--output_tflite", tmp_path / "L.tflite"),
    )
    assert code == 0, err
    assert fed["model"].input_shape == (None, 300, 300, 3)


def best_probability(prediction):
    return prediction["predictions"][0]["probability"]


def test_averages_can_be_left_out(run_json, slim, slim_checkpoint, red):
    common = [
        "classify",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        f"--example_img={red}",
    ]
    averaged = best_probability(run_json(*common))
    assert averaged == best_probability(run_json(*common, "--enable_ema=True"))
    assert averaged != best_probability(run_json(*common, "--enable_ema=False"))


def test_tarball_is_a_checkpoint(run_json, slim, slim_checkpoint, red, tmp_path):
    import tarfile

    tarball = tmp_path / "efficientnet-edgetpu-S.tar.gz"
    with tarfile.open(tarball, "w:gz") as tar:
        tar.add(slim_checkpoint, "efficientnet-edgetpu-S")
    predictions = [
        run_json("classify", *slim, f"--ckpt_dir={path}", f"--example_img={red}")
        for path in (slim_checkpoint, tarball)
    ]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize("switch", [[], ["--include_background_label=False"]])
def test_labels_are_optional_and_top_counts(run_json, float_tflite, red, switch):
    prediction = run_json(
        "classify",
        f"--model={float_tflite}",
        f"--example_img={red}",
        "--top=2",
        *switch,
    )
    assert [p["label"] for p in prediction["predictions"]] == [
        "2",
        answer_index(prediction, 1),
    ]
    assert set(prediction) == {"predictions"}
    for row in prediction["predictions"]:
        assert set(row) == {"index", "label", "probability"}


def answer_index(prediction, place):
    return str(prediction["predictions"][place]["index"])


@pytest.mark.parametrize(
    "switch",
    [
        ["--include_background_label"],
        ["--include-background-label"],
        ["--include_background_label=True"],
        ["--include_background_label", "true"],
    ],
)
def test_background_switch_in_every_spelling(
    run_json, int8_tflite, red, tmp_path, switch
):
    labels = tmp_path / "labels.txt"
    labels.write_text("green\nred\n")
    prediction = run_json(
        "classify",
        f"--model={int8_tflite}",
        f"--example_img={red}",
        f"--labels_map_file={labels}",
        *switch,
    )
    assert prediction["predictions"][0]["label"] == "red"
    assert {p["label"] for p in prediction["predictions"]} == {
        "background",
        "green",
        "red",
    }


def test_classify_prints_for_people(run, int8_tflite, red, label_file):
    code, out, err = run(
        "classify",
        f"--model={int8_tflite}",
        f"--example_img={red}",
        f"--labels_map_file={label_file}",
    )
    assert code == 0, err
    assert "red" in out.splitlines()[0]
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize("kind", ["float_tflite", "int8_tflite"])
def test_evaluate_a_file(request, run_json, class_folders, kind):
    model = request.getfixturevalue(kind)
    prediction = run_json("evaluate", f"--model={model}", f"--data_dir={class_folders}")
    assert prediction["images"] == 30
    assert prediction["top1"] == prediction["top5"] == 1
    assert prediction["classes"] == 3


def test_evaluate_a_checkpoint(run_json, slim, slim_checkpoint, class_folders):
    prediction = run_json(
        "evaluate",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        f"--data_dir={class_folders}",
        "--split=test",
    )
    assert prediction["images"] == 6
    assert prediction["split"] == "test"
    assert 0 <= prediction["top1"] <= prediction["top5"] == 1


def test_evaluate_with_a_background_class(
    run_json, float_tflite, class_folders, tmp_path
):
    import shutil

    for name in ("green", "red"):
        shutil.copytree(class_folders / name, tmp_path / "two" / name)
    prediction = run_json(
        "evaluate",
        f"--model={float_tflite}",
        f"--data_dir={tmp_path / 'two'}",
        "--include_background_label",
    )
    assert (prediction["images"], prediction["top1"]) == (20, 1)


def test_evaluate_prints_for_people(run, int8_tflite, class_folders):
    code, out, err = run(
        "evaluate", f"--model={int8_tflite}", f"--data_dir={class_folders}"
    )
    assert code == 0, err
    assert "30 images" in out
    assert "100.00 [88.65, 100.00]" in out


def test_evaluate_two_models_and_write_all_down(
    run_json, float_tflite, int8_tflite, class_folders, tmp_path
):
    folder = tmp_path / "result"
    prediction = run_json(
        "evaluate",
        f"--model={float_tflite}",
        f"--against={int8_tflite}",
        f"--data_dir={class_folders}",
        f"--output={folder}",
    )
    assert prediction["top1_low"] < prediction["top1"] == prediction["top1_high"] == 1
    assert prediction["against"]["agreement"] == prediction["against"]["p_value"] == 1
    assert prediction["confusion"] == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert [row["name"] for row in prediction["per_class"]] == ["blue", "green", "red"]
    assert prediction["latency"]["p50_ms"] > 0
    assert prediction["label_shift"] == 0
    assert json.loads((folder / "evaluation.json").read_text()) == prediction
    text = (folder / "evaluation.md").read_text()
    assert "| top-1, % [95 % interval]" in text
    assert {path.stem for path in folder.glob("*.png")} == {
        *("accuracy", "classes", "confusion", "probabilities"),
    }


def test_evaluate_as_the_reference_does(run_json, run, shared):
    images = shared("data/photos")
    arguments = [
        "evaluate",
        f"--model={shared('models/mobilenet_v2_1.0_224_quant.tflite')}",
        f"--imagenet_eval_glob={images}/*.JPEG",
        f"--imagenet_eval_label={images / 'ground_truth.txt'}",
    ]
    prediction = run_json(*arguments, "--num_images=100")
    assert (prediction["top1"], prediction["top5"], prediction["images"]) == (
        0.87,
        0.99,
        100,
    )
    assert prediction["include_background_label"] is True
    assert run_json(*arguments, "--num_images=7")["images"] == 7
    shifted = run_json(
        *arguments, "--num_images=-1", "--include_background_label=False"
    )
    assert (shifted["images"], shifted["label_shift"]) == (100, 1)
    _, out, _ = run(*arguments, "--include_background_label=False")
    assert "shifted" in out


def test_evaluate_a_saved_model_with_its_own_pixels(
    run_json, classifier, class_folders, tmp_path
):
    folder = convert.save_saved_model(convert.with_softmax(classifier), tmp_path / "s")
    arguments = ["evaluate", f"--model={folder}", f"--data_dir={class_folders}"]
    assert run_json(*arguments)["top1"] == 1
    assert run_json(*arguments, "--mean=127,127,127", "--std=128")["top1"] == 1
    assert run_json(*arguments, "--mean=0", "--std=1e5")["top1"] < 1


def test_weights_of_timm_are_given_as_a_checkpoint(
    run_json, repo_root, class_folders, tmp_path
):
    path = repo_root / "tests" / "golden" / "tiny_timm.safetensors"
    network = ["--width_coefficient=0.1", "--num_classes=10", "--image_size=96"]
    output = tmp_path / "float.tflite"
    run_json(
        *("export", *network, f"--ckpt_dir={path}", "--quantize=False"),
        f"--output_tflite={output}",
    )
    with np.load(repo_root / "tests" / "golden" / "tiny_timm_golden.npz") as golden:
        image, logits = golden["input"][0], golden["logits"][0]
    # timm's own input is given in its own normalisation.
    scores = interpreter.run(interpreter.open_interpreter(output), image * 128 + 127)
    powers = np.exp(logits - logits.max())
    np.testing.assert_allclose(scores, powers / powers.sum(), atol=1e-4)


def test_report_measures_float_and_int8_of_every_checkpoint(
    run, run_json, slim, slim_checkpoint, class_folders, tmp_path
):
    import shutil

    for name in ("efficientnet-edgetpu-M", "efficientnet-edgetpu-S"):
        shutil.copytree(slim_checkpoint, tmp_path / "family" / name)
    arguments = [
        "report",
        tmp_path / "family",
        *slim,
        f"--data_dir={class_folders}",
        "--split=test",
        "--num_steps=6",
        f"--output={tmp_path / 'out'}",
    ]
    # S and M differ in depth, and so in what a checkpoint must hold.
    code, _, err = run(*arguments)
    assert (code, "efficientnet-edgetpu-M" in err) == (2, True)
    shutil.rmtree(tmp_path / "family" / "efficientnet-edgetpu-M")
    (row,) = run_json(*arguments)
    assert row["model_name"] == row["name"] == "efficientnet-edgetpu-S"
    assert row["float"]["images"] == row["int8"]["images"] == 6
    assert row["published"] == {}, "three classes are not ImageNet's thousand"
    assert 0 <= row["comparison"]["agreement"] <= 1
    made = Path(row["int8_file"])
    assert artifacts.read_metadata(made)["calibration"]["photos"] == 6
    first = made.stat().st_mtime_ns
    code, out, err = run(*arguments)
    assert code == 0, err
    assert "int8 top-1" in out
    assert made.stat().st_mtime_ns == first, "the same file is not made twice"
    assert "float top-1" in (tmp_path / "out" / "report.md").read_text()


# The whole way: fine-tune, export, evaluate, classify.


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, draw_folders):
    """Fine-tune from nothing and export; return the folder of all files."""
    folder = tmp_path_factory.mktemp("tuned")
    draw_folders(folder / "colours", per_class=15, seed=3)
    commands = [
        [
            *("fine-tune", f"--data_dir={folder / 'colours'}"),
            *("--width_coefficient=0.1", "--depth_coefficient=0.3"),
            *("--image_size=32", "--epochs=3", "--batch_size=8", "--seed=4"),
            f"--output={folder / 'model.keras'}",
        ],
        [
            *("export", f"--model={folder / 'model.keras'}"),
            *(f"--data_dir={folder / 'colours'}", "--num_steps=500"),
            f"--output_tflite={folder / 'model_quant.tflite'}",
        ],
    ]
    for command in commands:
        assert main(command) == 0, command
    return folder


def test_tuned_model_has_a_record(tuned):
    metadata = artifacts.read_metadata(tuned / "model.keras")
    assert metadata["class_names"] == ["blue", "green", "red"]
    assert metadata["image_size"] == 32
    assert metadata["seed"] == 4
    assert 1 <= len(metadata["history"]) <= 3
    assert metadata["test"]["images"] == 9
    assert metadata["pretrained"] is None
    rows = metadata["per_class"]
    assert [row["name"] for row in rows] == ["blue", "green", "red"]
    right = sum(row["top1"] * row["images"] for row in rows)
    assert right / 9 == pytest.approx(metadata["test"]["top1"])
    assert metadata["sha256"] == artifacts.sha256_of(tuned / "model.keras")


def test_nothing_half_written_is_left(tuned):
    assert sorted(path.name for path in tuned.iterdir()) == [
        "colours",
        "model.keras",
        "model.keras.json",
        "model_quant.tflite",
        "model_quant.tflite.json",
    ]


@pytest.mark.parametrize("name", ["model.keras", "model_quant.tflite"])
def test_tuned_model_is_evaluated_on_its_test_photos(tuned, run_json, name):
    data_dir = f"--data_dir={tuned / 'colours'}"
    prediction = run_json("evaluate", f"--model={tuned / name}", data_dir)
    assert (prediction["split"], prediction["images"]) == ("test", 9)
    if name == "model.keras":
        assert (
            prediction["top1"] == artifacts.read_metadata(tuned / name)["test"]["top1"]
        )
    everything = run_json(
        "evaluate", f"--model={tuned / name}", data_dir, "--split=all"
    )
    assert everything["images"] == 45


def test_test_split_is_found_from_another_folder(tuned, run_json, monkeypatch):
    monkeypatch.chdir(tuned)
    prediction = run_json(
        "evaluate", "--model=model_quant.tflite", "--data_dir=colours"
    )
    assert prediction["split"] == "test"


def test_relative_training_folder_is_recorded_for_good(
    tuned, run, run_json, monkeypatch, tmp_path
):
    monkeypatch.chdir(tuned)

    def stand_in(model, splits, **options):
        return []

    monkeypatch.setattr(fine_tune, "fine_tune", stand_in)
    output = tmp_path / "model.keras"
    code, _, err = run(
        *("fine-tune", "--data_dir=colours", "--width_coefficient=0.1"),
        *("--depth_coefficient=0.3", "--image_size=32", f"--output={output}"),
    )
    assert code == 0, err
    monkeypatch.chdir(tmp_path)
    data_dir = f"--data_dir={tuned / 'colours'}"
    assert run_json("evaluate", f"--model={output}", data_dir)["split"] == "test"


def test_test_photos_set_no_ranges(tuned):
    metadata = artifacts.read_metadata(tuned / "model_quant.tflite")
    # 45 images: 9 are for the test, 6 for validation.
    assert metadata["calibration"]["photos"] == 30


@pytest.mark.parametrize("name", ["model.keras", "model_quant.tflite"])
def test_tuned_model_classifies_by_name(tuned, run_json, name):
    image = tuned / "colours" / "red" / "01.png"
    prediction = run_json(
        "classify", f"--model={tuned / name}", f"--example_img={image}"
    )
    assert {p["label"] for p in prediction["predictions"]} == {"blue", "green", "red"}
    assert sum(p["probability"] for p in prediction["predictions"]) == pytest.approx(
        1, abs=0.01
    )


def test_tuned_integer_file_is_ready_for_a_device(tuned):
    operators = tflite_file.read_tflite(tuned / "model_quant.tflite").operators
    kinds = [operator.kind for operator in operators]
    assert kinds.count("AVERAGE_POOL_2D") == 1
    assert "MEAN" not in kinds


def test_seed_decides_the_fresh_weights(run, class_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tune, "fine_tune", lambda *arguments, **options: [])
    kernels = []
    for number, seed in enumerate((1, 1, 2)):
        output = tmp_path / f"{number}.keras"
        code, _, err = run(
            *("fine-tune", f"--data_dir={class_folders}", "--width_coefficient=0.1"),
            *("--depth_coefficient=0.1", "--image_size=32", f"--seed={seed}"),
            f"--output={output}",
        )
        assert code == 0, err
        layer = checkpoint.load_model(output).get_layer("head_conv")
        kernels.append(keras.ops.convert_to_numpy(layer.kernel))
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_fine_tuning_starts_from_a_checkpoint(
    run_json, reference, class_folders, tmp_path
):
    import tensorflow as tf

    output = tmp_path / "model.keras"
    prediction = run_json(
        *("fine-tune", f"--data_dir={class_folders}", f"--ckpt_dir={reference}"),
        *("--width_coefficient=0.1", "--image_size=32", "--epochs=1"),
        *("--batch_size=7", f"--output={output}"),
    )
    assert prediction["model"] == str(output)
    assert prediction["test"]["images"] == 6
    assert prediction["test"]["classes"] == 3
    metadata = artifacts.read_metadata(output)
    assert metadata["pretrained"] == str(reference)
    assert len({epoch["phase"] for epoch in metadata["history"]}) == 2
    stem = checkpoint.load_model(output).get_layer("stem_conv").kernel
    kernel = "efficientnet-edgetpu-S/stem/conv2d/kernel/ExponentialMovingAverage"
    averages = tf.train.load_checkpoint(str(reference))
    assert np.array_equal(keras.ops.convert_to_numpy(stem), averages.get_tensor(kernel))


# Bad input: exit code 2, one line that names the value, nothing half written.


def one_error(run, *arguments):
    """Run a command that must fail, and return its one line."""
    code, out, err = run(*arguments)
    assert code == 2, (out, err)
    assert out == ""
    # What is left on the screen once progress bars are erased.
    err = err.rsplit("\r", 1)[-1].lstrip()
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    return err


def files_below(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


CLASSIFY = ["classify", "--example_img=PHOTO"]
EXPORT = ["export", "--ckpt_dir=CHECKPOINT", "--output_tflite=TMP/out.tflite"]
EVALUATE = ["evaluate", "--model=MODEL"]
FINE_TUNE = ["fine-tune", "--output=TMP/out.keras", "--image_size=32", "--epochs=1"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        # the command itself
        (["clasify"], "clasify"),
        (["classify", "--exmple_img=x"], "exmple"),
        (["classify"], "example_img"),
        (["evaluate", "--model=MODEL"], "data_dir"),
        ([*EVALUATE, "--data_dir=FOLDERS", "--mean=grey"], "grey"),
        ([*EVALUATE, "--data_dir=FOLDERS", "--std=0"], "0"),
        ([*EVALUATE, "--data_dir=FOLDERS", "--against=TMP/no.keras"], "no.keras"),
        ([*EVALUATE, "--imagenet_eval_glob=TMP/*"], "imagenet_eval_label"),
        (["report", "TMP/nowhere", "--data_dir=FOLDERS"], "nowhere"),
        (["report", "CHECKPOINT", "--imagenet_eval_glob=x"], "calibration_dir"),
        ([*CLASSIFY, "--image_size=big", "--ckpt_dir=CHECKPOINT"], "big"),
        ([*CLASSIFY, "--top=0", "--model=MODEL"], "0"),
        ([*CLASSIFY, "--enable_ema=perhaps", "--ckpt_dir=CHECKPOINT"], "perhaps"),
        ([*EVALUATE, "--data_dir=FOLDERS", "--split=half"], "half"),
        ([*CLASSIFY], "ckpt_dir"),
        (["export", "--ckpt_dir=CHECKPOINT"], "output_tflite"),
        ([*EXPORT], "data_dir"),
        ([*EXPORT, "--data_dir=FOLDERS", "--num_steps=0"], "0"),
        ([*EXPORT, "SLIM", "--quantize=False", "--endpoint_name=nose"], "nose"),
        (["fine-tune", "--output=TMP/model.h5"], "model.h5"),
        ([*FINE_TUNE, "--data_dir=FOLDERS", "--epochs=0"], "0"),
        # the network
        ([*CLASSIFY, "--ckpt_dir=CHECKPOINT", "--model_name=resnet50"], "resnet50"),
        ([*CLASSIFY, "--ckpt_dir=CHECKPOINT", "--image_size=8"], "image_size=8"),
        ([*CLASSIFY, "--ckpt_dir=CHECKPOINT", "--num_classes=1"], "num_classes=1"),
        (
            [*CLASSIFY, "--ckpt_dir=CHECKPOINT", "--width_coefficient=-1"],
            "width_coefficient=-1",
        ),
        # the weights
        ([*CLASSIFY, "--ckpt_dir=TMP/nowhere"], "nowhere"),
        ([*CLASSIFY, "--ckpt_dir=TMP"], "TMP"),
        ([*CLASSIFY, "--ckpt_dir=CHECKPOINT"], "CHECKPOINT"),
        (
            [*CLASSIFY, "--ckpt_dir=CHECKPOINT", "--model_name=efficientnet-edgetpu-M"],
            "efficientnet-edgetpu-M",
        ),
        ([*CLASSIFY, "--ckpt_dir=TMP/garbage"], "garbage"),
        ([*CLASSIFY, "--ckpt_dir=TMP/empty"], "empty"),
        ([*CLASSIFY, "--ckpt_dir=TMP/cut.tar.gz"], "cut.tar.gz"),
        ([*CLASSIFY, "--model=TMP/nowhere.keras"], "nowhere.keras"),
        ([*CLASSIFY, "--model=TMP/broken.keras"], "broken.keras"),
        ([*CLASSIFY, "--model=TMP/nowhere.tflite"], "nowhere.tflite"),
        ([*CLASSIFY, "--model=TMP/broken.tflite"], "broken.tflite"),
        ([*CLASSIFY, "--model=TMP/cut.tflite"], "cut.tflite"),
        ([*CLASSIFY, "--model=TMP/recorded.tflite"], "recorded.tflite"),
        # the image
        (["classify", "--model=MODEL", "--example_img=TMP/nowhere.jpg"], "nowhere.jpg"),
        (["classify", "--model=MODEL", "--example_img=TMP"], "TMP"),
        (["classify", "--model=MODEL", "--example_img=TMP/empty.jpg"], "empty.jpg"),
        (["classify", "--model=MODEL", "--example_img=TMP/text.jpg"], "text.jpg"),
        (["classify", "--model=MODEL", "--example_img=TMP/cut.jpg"], "cut.jpg"),
        (["classify", "--model=MODEL", "--example_img=TMP/huge.png"], "huge.png"),
        # the labels
        ([*CLASSIFY, "--model=MODEL", "--labels_map_file=TMP/nowhere.txt"], "nowhere"),
        ([*CLASSIFY, "--model=MODEL", "--labels_map_file=TMP/four.txt"], "4 labels"),
        ([*CLASSIFY, "--model=MODEL", "--labels_map_file=TMP/two.txt"], "2 labels"),
        ([*CLASSIFY, "--model=MODEL", "--labels_map_file=TMP/bad.json"], "bad.json"),
        (
            [
                *CLASSIFY,
                "--model=MODEL",
                "--labels_map_file=LABELS",
                "--include_background_label",
            ],
            "3 labels",
        ),
        # the folder
        ([*EVALUATE, "--data_dir=TMP/nowhere"], "nowhere"),
        ([*EVALUATE, "--data_dir=FOLDERS/red"], "red"),
        ([*EVALUATE, "--data_dir=TMP/one"], "only"),
        ([*EVALUATE, "--data_dir=TMP/two"], "2 classes"),
        ([*EVALUATE, "--data_dir=TMP/damaged"], "broken.png"),
        ([*EVALUATE, "--data_dir=FOLDERS", "--include_background_label"], "3 classes"),
        ([*FINE_TUNE, "--data_dir=TMP/nowhere"], "nowhere"),
        ([*FINE_TUNE, "--data_dir=TMP/one"], "only"),
        ([*FINE_TUNE, "--data_dir=TMP/few"], "few"),
        ([*FINE_TUNE, "--data_dir=FOLDERS", "--num_classes=4"], "4"),
        ([*EXPORT, "SLIM", "--data_dir=TMP/nowhere"], "nowhere"),
        ([*EXPORT, "SLIM", "--data_dir=TMP/empty"], "empty"),
        # the output
        (
            [
                *("export", "SLIM", "--ckpt_dir=CHECKPOINT", "--quantize=False"),
                "--output_tflite=TMP/two.txt/out.tflite",
            ],
            "two.txt",
        ),
        (
            [
                *("export", "SLIM", "--ckpt_dir=CHECKPOINT"),
                "--output_saved_model_dir=TMP/two.txt/out",
            ],
            "two.txt",
        ),
    ],
)
def test_bad_input_is_answered_in_one_line(
    run,
    bad_files,
    fed,
    slim,
    slim_checkpoint,
    float_tflite,
    class_folders,
    red,
    label_file,
    arguments,
    named,
):
    places = {
        "TMP": bad_files,
        "CHECKPOINT": slim_checkpoint,
        "MODEL": float_tflite,
        "FOLDERS": class_folders,
        "PHOTO": red,
        "LABELS": label_file,
    }

    def fill(text):
        for word, path in places.items():
            text = text.replace(word, str(path))
        return text

    filled = []
    for argument in arguments:
        filled += slim if argument == "SLIM" else [fill(argument)]
    before = files_below(bad_files)
    assert fill(named) in one_error(run, *filled)
    assert files_below(bad_files) == before


def huge_picture():
    """Return a PNG of 20,000 × 20,000 pixels that holds none of them."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.fixture
def bad_files(tmp_path, slim_checkpoint, float_tflite, draw_folders):
    """Return a folder of everything that cannot be used."""
    folder = tmp_path / "bad"
    garbage = folder / "garbage"
    garbage.mkdir(parents=True)
    for source in slim_checkpoint.iterdir():
        content = source.read_bytes()
        (garbage / source.name).write_bytes(content[: len(content) // 2])
    (folder / "empty").mkdir()
    (folder / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08\x00 cut")
    for name in ("broken.keras", "broken.tflite", "text.jpg"):
        (folder / name).write_bytes(b"something else entirely")
    (folder / "cut.tflite").write_bytes(float_tflite.read_bytes()[:5000])
    (folder / "recorded.tflite").write_bytes(float_tflite.read_bytes())
    (folder / "recorded.tflite.json").write_text("[]")
    (folder / "empty.jpg").touch()
    Image.effect_noise((90, 90), 60).convert("RGB").save(folder / "cut.jpg")
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "huge.png").write_bytes(huge_picture())
    (folder / "two.txt").write_text("a\nb\n")
    (folder / "four.txt").write_text("a\nb\nc\nd\n")
    (folder / "bad.json").write_text('{"0": "a", "7": "b"}')
    rng = np.random.default_rng(0)
    for label, count in (
        ("one/only", 4),
        ("two/a", 4),
        ("two/b", 4),
        ("few/a", 4),
        ("few/few", 2),
    ):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
            image.save(folder / label / f"{index}.png")
    draw_folders(folder / "damaged", 4)
    (folder / "damaged" / "red" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize(
    "name", ["deeplabv3_mnv2_dm05_pascal_quant", "mobilenet_v1_0.25_128_quant_edgetpu"]
)
def test_models_that_cannot_be_used_are_named(run, shared, red, name):
    model = shared(f"models/{name}.tflite")
    line = one_error(run, "classify", f"--model={model}", f"--example_img={red}")
    assert name in line


@pytest.fixture
def fine_tune_slim(draw_folders, tmp_path):
    """Return a folder of images and the arguments that fine-tune on it."""
    folder = draw_folders(tmp_path / "colours", 6)
    return folder, [
        *("fine-tune", f"--data_dir={folder}", "--width_coefficient=0.1"),
        *("--depth_coefficient=0.3", "--image_size=32", "--epochs=1"),
        f"--output={tmp_path / 'model.keras'}",
    ]


@pytest.fixture
def trained(monkeypatch):
    """Note every call of the training loop instead of training."""
    calls = []
    monkeypatch.setattr(
        phases, "fit", lambda *arguments, **options: calls.append(1) or []
    )
    return calls


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_damaged_photo_is_found_before_training(
    run, fine_tune_slim, cut_photo, trained, tmp_path, side
):
    folder, arguments = fine_tune_slim
    cut = cut_photo(folder, side)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    # TensorFlow's decoder may speak first.
    line = err.replace("\r", "\n").splitlines()[-1]
    assert line.startswith(f"error: {cut} ")
    assert not trained
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_damaged_photo_is_left_out_and_told(
    run, run_json, fine_tune_slim, cut_photo, trained, tmp_path, side
):
    folder, arguments = fine_tune_slim
    cut = cut_photo(folder, side)
    prediction = run_json(*arguments, "--on_error=skip")
    assert trained
    (line,) = prediction["skipped"]
    assert str(cut) in line
    assert artifacts.read_metadata(tmp_path / "model.keras")["skipped"] == [line]
    assert prediction["test"]["images"] == (2 if side == "test" else 3)
    code, out, _ = run(*arguments, "--on_error=skip")
    assert code == 0
    assert f"skipped: {line}" in out.splitlines()


def test_damaged_record_is_named_or_left_out_and_told(
    run, run_json, shards, trained, tmp_path, fine_tune_slim
):
    path = shards / "train-00001-of-00003"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    place = f"{path} record 0 (byte 0)"
    arguments = [*fine_tune_slim[1], f"--data_dir={shards}"]
    assert place in one_error(run, *arguments)
    prediction = run_json(*arguments, "--on_error=skip")
    assert [line for line in prediction["skipped"] if place in line] == prediction[
        "skipped"
    ]
    assert len(prediction["skipped"]) == 1


def test_split_folders_train_with_their_classes(
    run, trained, fine_tune_slim, draw_folders, tmp_path
):
    for name, count in (("train", 6), ("valid", 2), ("test", 3)):
        draw_folders(tmp_path / "splits" / name, per_class=count, seed=count)
    arguments = [*fine_tune_slim[1], f"--data_dir={tmp_path / 'splits'}"]
    code, out, err = run(*arguments)
    assert code == 0
    metadata = artifacts.read_metadata(tmp_path / "model.keras")
    assert metadata["class_names"] == ["blue", "green", "red"]
    assert metadata["test"]["images"] == 9
    assert "valid/ as validation" in err
    rows = [line.split() for line in err.splitlines()]
    assert ["class", "train", "validation", "test"] in rows
    assert ["red", "6", "2", "3"] in rows
    assert [line.split()[0] for line in out.splitlines()[-3:]].count("red") == 1


def test_nothing_damaged_is_nothing_skipped(run_json, fine_tune_slim, trained):
    assert run_json(*fine_tune_slim[1])["skipped"] == []


def test_other_classes_than_trained_for_are_refused(tuned, run, draw_folders, tmp_path):
    folder = draw_folders(tmp_path / "colours", 3)
    (folder / "red").rename(folder / "yellow")
    line = one_error(
        run, "evaluate", f"--model={tuned / 'model.keras'}", f"--data_dir={folder}"
    )
    assert "yellow" in line
    assert "red" in line


def test_full_disk_is_named_and_keeps_the_earlier_file(
    run, fed, slim, slim_checkpoint, tmp_path, monkeypatch
):
    output = tmp_path / "model.tflite"
    output.write_bytes(b"earlier")

    def fill(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    line = one_error(
        run,
        "export",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        "--quantize=False",
        f"--output_tflite={output}",
    )
    assert str(output) in line
    assert output.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [output]


def test_bad_photos_are_found_before_anything_is_written(
    run, slim, slim_checkpoint, tmp_path
):
    folder = tmp_path / "saved"
    one_error(
        run,
        "export",
        *slim,
        f"--ckpt_dir={slim_checkpoint}",
        f"--output_saved_model_dir={folder}",
        f"--output_tflite={tmp_path / 'model.tflite'}",
        f"--data_dir={tmp_path / 'nowhere'}",
    )
    assert list(tmp_path.iterdir()) == []


def test_interruption_keeps_the_earlier_model(
    run, class_folders, tmp_path, monkeypatch
):
    output = tmp_path / "model.keras"
    output.write_bytes(b"earlier")

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fine_tune, "fine_tune", interrupt)
    code, out, err = run(
        *("fine-tune", f"--data_dir={class_folders}", "--width_coefficient=0.1"),
        *("--depth_coefficient=0.3", "--image_size=32", f"--output={output}"),
    )
    assert code == 130
    assert out == ""
    assert "Traceback" not in err
    assert output.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [output]


# Help, and a process of its own.


COMMANDS = (
    "classify export evaluate report diagnose estimate".split()
    + "fine-tune train fetch check compile targets".split()
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_every_flag(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert "--json" in out


def test_help_lists_the_commands(run):
    code, out, _ = run("--help")
    assert code == 0
    for command in COMMANDS:
        assert command in out


# check.


def test_check_of_a_ready_model(run, run_json, int8_tflite):
    prediction = run_json("check", int8_tflite)
    assert prediction["ready"] is True
    assert prediction["cpu_operators"] == 0
    assert prediction["findings"] == []
    contract = prediction["input"]
    assert (contract["dtype"], contract["scale"]) == ("uint8", 1 / 128)
    assert contract["zero_point"] == 127
    code, out, err = run("check", int8_tflite)
    assert (code, err) == (0, "")
    operators = prediction["edge_tpu_operators"]
    assert f"Number of operations that will run on Edge TPU: {operators}\n" in out
    assert "raw RGB bytes" in out


def test_check_of_a_float_model(run, float_tflite):
    code, out, err = run("check", float_tflite, "--json")
    assert (code, err) == (1, "")
    prediction = json.loads(out)
    assert prediction["ready"] is False
    assert prediction["edge_tpu_operators"] == 0
    (finding,) = prediction["findings"]
    assert finding["code"] == "float-model"
    assert finding.keys() >= {"operator", "tensor", "reason", "remedy"}
    code, out, err = run("check", float_tflite)
    assert (code, err) == (1, "")
    assert "float-model" in out
    assert finding["remedy"] in out


def test_check_names_operators(run, shared):
    code, out, _ = run(
        "check", shared("models/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    )
    assert code == 1
    assert "operator 71, ARG_MAX v1" in out
    assert "Number of operations that will run on CPU: 8\n" in out


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n", b"\x1c\0\0\0TFL3junk"])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_check_of_something_else(run, tmp_path, content, as_json):
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    line = one_error(run, "check", path, *as_json)
    assert str(path) in line


def test_check_of_an_unknown_runtime(run, int8_tflite):
    one_error(run, "check", int8_tflite, "--runtime=15")


def test_check_imports_no_tensorflow(int8_tflite, tmp_path):
    program = (
        "import sys; from edgetpu_lib.commands.main import main;"
        f"code = main(['check', {str(int8_tflite)!r}]);"
        "sys.exit(code or bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0


def test_no_command_shows_the_help(run):
    code, out, err = run()
    assert code == 2
    assert "fine-tune" in out + err


def test_version_is_told(run):
    from edgetpu_lib import __version__

    code, out, _ = run("--version")
    assert code == 0
    assert __version__ in out


HEAVY = ("tensorflow", "keras", "jax", "matplotlib", "ai_edge_litert")
HELP = f"""
import sys
from edgetpu_lib.commands.main import main
for arguments in (["--help"], ["classify", "--help"], ["fine-tune", "--help"],
                  ["--version"], ["classify"], ["nonsense"]):
    main(arguments)
loaded = [name for name in {HEAVY} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""


def test_help_and_slips_load_nothing_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def own_process_error(folder, *arguments):
    """Run `classify` as a user does, and return its only line of output."""
    done = subprocess.run(
        [sys.executable, "-m", "edgetpu_lib", "classify", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_error_in_its_own_process_is_one_line(float_tflite, tmp_path):
    huge = tmp_path / "huge.png"
    # Above this project's limit, and between Pillow's own two.
    huge.write_bytes(huge_picture().replace(*_smaller()))
    line = own_process_error(
        tmp_path, f"--model={float_tflite}", f"--example_img={huge}"
    )
    assert "huge.png" in line


def _smaller():
    """Return the header chunk of the huge image and that of a smaller one."""

    def chunk(side):
        body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return body + struct.pack(">I", zlib.crc32(body))

    return chunk(20_000), chunk(11_000)


def test_checkpoint_error_in_its_own_process_is_one_line(red, tmp_path):
    line = own_process_error(tmp_path, "--ckpt_dir=nowhere", f"--example_img={red}")
    assert "nowhere" in line
