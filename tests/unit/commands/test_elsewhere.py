"""Models that were trained and converted elsewhere: their contract is obeyed."""

import io
import json
import zipfile

import foreign
import keras
import numpy as np
import pytest
import zoo

from edgetpu_lib import data
from edgetpu_lib.base import artifacts
from edgetpu_lib.commands import main as cli

KINDS = ["uint8", "int8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return foreign.draw(tmp_path_factory.mktemp("foreign") / "shades")


def call(capsys, *arguments, code=0):
    """Run a command and return what it printed, or its one line of error."""
    assert cli.main(list(map(str, arguments))) == code
    printed = capsys.readouterr()
    if code != 2:
        return printed.out
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def top1(capsys, model, folder, tmp_path, *flags):
    flags = [f"--journal_dir={tmp_path / 'journal'}", "--json", *flags]
    out = call(capsys, "evaluate", f"--model={model}", f"--data_dir={folder}", *flags)
    return json.loads(out)["top1"]


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", ["raw", "unit", "signed", "own"])
def test_int8_file_tells_that_it_takes_bytes(scale, kind, folder, tmp_path, capsys):
    model = foreign.classifier(scale)
    content = foreign.to_tflite(model, *foreign.ends_of(scale), kind)
    path = write(tmp_path / "model.tflite", content)
    assert top1(capsys, path, folder, tmp_path) == 1
    checked = json.loads(call(capsys, "check", path, "--json"))
    assert checked["feed"].startswith("raw RGB bytes")
    assert "input-contract" not in {each["code"] for each in checked["findings"]}
    image = folder / "dark" / "0.png"
    out = call(capsys, "classify", f"--model={path}", f"--example_img={image}")
    assert "(class 1)" in out.splitlines()[0]


def test_unknown_contract_is_told_and_given(folder, tmp_path, capsys):
    content = foreign.to_tflite(foreign.classifier("odd"), -2.0, 4.0)
    path = write(tmp_path / "odd.tflite", content)
    image = f"--example_img={folder / 'middle' / '0.png'}"
    known = ["--mean=90", "--std=40"]
    for command in (
        ["classify", f"--model={path}", image],
        ["evaluate", f"--model={path}", f"--data_dir={folder}"],
        ["diagnose", f"--float={path}", f"--int8={path}", f"--data_dir={folder}"],
    )[:2]:
        line = call(capsys, *command, code=2)
        assert "--mean" in line and "--std" in line and "odd.tflite" in line
    assert "--mean" in call(capsys, "check", path)
    assert "90" in call(capsys, "check", path, *known).split("Feed: ")[1].split("\n")[0]
    assert top1(capsys, path, folder, tmp_path, *known) == 1
    out = call(capsys, "classify", f"--model={path}", image, *known)
    assert "(class 2)" in out.splitlines()[0]


@pytest.mark.parametrize("given", [["--mean=0"], ["--mean=0", "--std=nan"]])
def test_half_a_contract_is_refused(given, folder, tmp_path, capsys):
    path = tmp_path / "nowhere.tflite"
    image = folder / "dark" / "0.png"
    line = call(
        capsys, "classify", f"--model={path}", f"--example_img={image}", *given, code=2
    )
    assert "--std" in line


FRONTS = {
    "rescaling to 0..1": ("unit", [lambda: keras.layers.Rescaling(1 / 255)]),
    "rescaling to -1..1": ("signed", [lambda: keras.layers.Rescaling(1 / 127.5, -1)]),
    "normalization": (
        "odd",
        [lambda: keras.layers.Normalization(mean=90, variance=1600)],
    ),
    "0..1 to -1..1, of 0..1": ("signed", [lambda: keras.layers.Rescaling(2, -1)]),
    "back to bytes, of -1..1": (
        "unit",
        [
            lambda: keras.layers.Rescaling(127.5, 127.5),
            lambda: keras.layers.Rescaling(1 / 255),
        ],
    ),
    "arithmetic": ("signed", [lambda: lambda x: x / 127.5 - 1.0]),
    "a model in front": (
        "unit",
        [
            lambda: keras.Sequential(
                [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255)]
            )
        ],
    ),
    "augmentation": (
        "unit",
        [
            lambda: keras.layers.RandomFlip("horizontal"),
            lambda: keras.layers.Rescaling(1 / 255),
        ],
    ),
}


@pytest.mark.parametrize("front", FRONTS)
def test_keras_file_is_obeyed(front, folder, tmp_path, capsys):
    scale, layers = FRONTS[front]
    model = foreign.classifier(scale, front=[make() for make in layers])
    path = tmp_path / "model.keras"
    model.save(path)
    assert top1(capsys, path, folder, tmp_path) == 1


@pytest.mark.parametrize("front", ["rescaling to -1..1", "arithmetic"])
def test_float_file_is_obeyed(front, folder, tmp_path, capsys):
    scale, layers = FRONTS[front]
    model = foreign.classifier(scale, front=[make() for make in layers])
    path = write(tmp_path / "float.tflite", foreign.to_tflite(model))
    assert top1(capsys, path, folder, tmp_path) == 1


def test_keras_file_of_bytes_is_obeyed(folder, tmp_path, capsys):
    model = foreign.classifier("raw", dtype="uint8")
    model.save(tmp_path / "model.keras")
    assert top1(capsys, tmp_path / "model.keras", folder, tmp_path) == 1


@pytest.mark.parametrize("suffix", ["keras", "tflite"])
def test_float_model_that_tells_nothing_needs_flags(suffix, folder, tmp_path, capsys):
    model, path = foreign.classifier("unit"), tmp_path / f"model.{suffix}"
    if suffix == "keras":
        model.save(path)
    else:
        path.write_bytes(foreign.to_tflite(model))
    command = ["evaluate", f"--model={path}", f"--data_dir={folder}"]
    assert "--mean" in call(capsys, *command, code=2)
    assert top1(capsys, path, folder, tmp_path, "--mean=0", "--std=255") == 1


@pytest.mark.parametrize("ends", ["sigmoid", None])
@pytest.mark.parametrize("suffix", ["keras", "tflite"])
def test_one_score_is_of_two_classes(ends, suffix, folder, tmp_path, capsys):
    two = tmp_path / "two"
    two.mkdir()
    for number, name in enumerate(("dark", "bright")):
        (two / f"{number}").symlink_to(folder / name, target_is_directory=True)
    model, path = foreign.binary(ends), tmp_path / f"model.{suffix}"
    if suffix == "keras":
        model.save(path)
    else:
        path.write_bytes(foreign.to_tflite(model))
    assert top1(capsys, path, two, tmp_path, "--mean=0", "--std=255") == 1


PAIRS = {
    "rescaling inside, .keras": ("unit", 1 / 255, 0.0, "raw", "keras"),
    "rescaling to -1..1, .tflite": ("signed", 1 / 127.5, -1.0, "raw", "tflite"),
    "0..1": ("unit", None, None, "unit", "tflite"),
    "-1..1": ("signed", None, None, "signed", "keras"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_healthy_pair_is_healthy(pair, folder, tmp_path, capsys):
    scale, factor, offset, taken, suffix = PAIRS[pair]
    front = [keras.layers.Rescaling(factor, offset)] if factor else []
    model = foreign.classifier(scale, front=front)
    path = tmp_path / f"float.{suffix}"
    if suffix == "keras":
        model.save(path)
    else:
        path.write_bytes(foreign.to_tflite(model))
    images_u8 = data.load_pixels(data.list_images(folder), foreign.SIZE)
    ends = foreign.ends_of(taken)
    content = foreign.to_tflite(model, *ends, images_u8=images_u8)
    int8 = write(tmp_path / "int8.tflite", content)
    command = ["diagnose", f"--float={path}", f"--int8={int8}", f"--data_dir={folder}"]
    found = json.loads(call(capsys, *command, "--json"))
    assert found["healthy"], found["causes"]
    assert found["float_top1"] == found["int8_top1"] == found["agreement"] == 1


@pytest.mark.parametrize("given", [True, False])
def test_report_gives_the_true_accuracy(given, folder, tmp_path, capsys):
    front = [] if given else [keras.layers.Rescaling(1 / 255)]
    path = tmp_path / "model.keras"
    foreign.classifier("unit", front=front).save(path)
    flags = ["--mean=0", "--std=255"] if given else []
    command = ["report", path, f"--data_dir={folder}", f"--output={tmp_path / 'made'}"]
    call(capsys, *command, "--json", *flags)
    (row,) = json.loads((tmp_path / "made" / "report.json").read_text())
    assert row["float"]["top1"] == 1
    assert row["int8"]["top1"] == 1


def test_logits_are_not_shown_as_per_cents(folder, tmp_path, capsys):
    content = foreign.to_tflite(foreign.classifier("raw", ends=None), 0, 255)
    path = write(tmp_path / "logits.tflite", content)
    image = f"--example_img={folder / 'dark' / '0.png'}"
    found = json.loads(call(capsys, "classify", f"--model={path}", image, "--json"))
    shares = [each["probability"] for each in found["predictions"]]
    assert 0 <= min(shares) <= max(shares) <= 1
    assert sum(shares) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("suffix", ["keras", "tflite"])
def test_not_a_number_is_no_result(suffix, folder, tmp_path, capsys):
    model = foreign.classifier("own")
    kernel, bias = model.get_layer("nearness").get_weights()
    model.get_layer("nearness").set_weights([kernel * np.nan, bias])
    path = tmp_path / f"model.{suffix}"
    if suffix == "keras":
        model.save(path)
    else:
        path.write_bytes(foreign.to_tflite(model))
    image = f"--example_img={folder / 'dark' / '0.png'}"
    given = ["--mean=127", "--std=128"]
    for command in (["classify", image], ["evaluate", f"--data_dir={folder}"]):
        line = call(capsys, *command, f"--model={path}", *given, code=2)
        assert "nearness" in line


@pytest.mark.parametrize("suffix", ["keras", "tflite"])
def test_oblong_model_predicts(suffix, folder, tmp_path, capsys):
    model = foreign.classifier("raw", shape=(16, 10))
    path = tmp_path / f"model.{suffix}"
    if suffix == "keras":
        model.save(path)
    else:
        path.write_bytes(foreign.to_tflite(model, 0, 255))
    assert top1(capsys, path, folder, tmp_path, "--mean=0", "--std=1") == 1
    image = f"--example_img={folder / 'dark' / '0.png'}"
    given = ["--mean=0", "--std=1"]
    out = call(capsys, "classify", f"--model={path}", image, *given)
    assert "(class 1)" in out.splitlines()[0]


def with_labels(content, files):
    """Append a ZIP archive, as TensorFlow's metadata writer does."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return content + archive.getvalue()


@pytest.fixture(scope="module")
def raw_file():
    return foreign.to_tflite(foreign.classifier("raw"), 0, 255)


def test_a_model_that_gives_the_class_itself_gives_no_scores(folder, tmp_path, capsys):
    model = foreign.classifier("raw", ends=None)
    classes = keras.ops.cast(model.output, "int32")
    content = foreign.to_tflite(keras.Model(model.input, classes))
    path = write(tmp_path / "classes.tflite", content)
    image = f"--example_img={folder / 'dark' / '0.png'}"
    given = ["--mean=0", "--std=1"]
    line = call(capsys, "classify", f"--model={path}", image, *given, code=2)
    assert "int" in line and "scores" in line


def test_labels_inside_a_file_are_read(raw_file, folder, tmp_path, capsys):
    files = {"notes.txt": "a\nb", "labels.txt": "light\ndim\nhalf\n"}
    path = write(tmp_path / "model.tflite", with_labels(raw_file, files))
    image = f"--example_img={folder / 'dark' / '0.png'}"
    out = call(capsys, "classify", f"--model={path}", image)
    assert "dim" in out.splitlines()[0]
    # Other names than the folder's are other classes.
    command = ["evaluate", f"--model={path}", f"--data_dir={folder}"]
    assert "light" in call(capsys, *command, code=2)


def test_classes_of_another_order_are_found_by_name(folder, tmp_path, capsys):
    model = foreign.classifier("raw")
    order = [1, 2, 0]
    kernel, bias = model.get_layer("nearness").get_weights()
    model.get_layer("nearness").set_weights([kernel[:, order], bias[order]])
    content = foreign.to_tflite(model, 0, 255)
    files = {"labels.txt": "Dark\nMiddle\nBright\n"}
    path = write(tmp_path / "model.tflite", with_labels(content, files))
    assert top1(capsys, path, folder, tmp_path) == 1


def test_damaged_labels_inside_are_one_line(raw_file, folder, tmp_path, capsys):
    whole = with_labels(raw_file, {"labels.txt": "a\nb\nc\n" * 50})
    broken = bytearray(whole)
    broken[len(raw_file) + 50 : len(raw_file) + 60] = b"\xff" * 10
    path = write(tmp_path / "model.tflite", bytes(broken))
    image = f"--example_img={folder / 'dark' / '0.png'}"
    line = call(capsys, "classify", f"--model={path}", image, code=2)
    assert "labels_map_file" in line


# Metadata belong to a file.


@pytest.fixture
def stale(raw_file, tmp_path):
    path = write(tmp_path / "model.tflite", b"another file")
    artifacts.save_metadata(path, class_names=["x", "y", "z"])
    path.write_bytes(raw_file)
    return path


def test_stale_metadata_are_refused_where_names_depend_on_them(stale, folder, capsys):
    image = f"--example_img={folder / 'dark' / '0.png'}"
    for command in (["classify", image], ["evaluate", f"--data_dir={folder}"]):
        line = call(capsys, *command, f"--model={stale}", code=2)
        assert "model.tflite.json" in line


def test_stale_metadata_are_ignored_with_a_line(stale, folder, tmp_path, capsys):
    labels = tmp_path / "names.txt"
    labels.write_text("one\ntwo\nthree\n")
    image = folder / "dark" / "0.png"
    code = cli.main(
        [
            "classify",
            f"--model={stale}",
            f"--example_img={image}",
            f"--labels_map_file={labels}",
        ]
    )
    printed = capsys.readouterr()
    assert code == 0
    assert "two" in printed.out.splitlines()[0]
    assert "model.tflite.json" in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        {"class_names": 5},
        {"class_names": ["a", 3]},
        {"class_names": {"0": "a"}},
        {"seed": "x", "data_dir": "y"},
        {"sha256": 3},
        {"calibration": []},
        {"data_dir": 7},
    ],
)
def test_malformed_metadata_are_one_line(content, raw_file, folder, tmp_path, capsys):
    path = write(tmp_path / "model.tflite", raw_file)
    artifacts.metadata_path(path).write_text(json.dumps(content))
    image = f"--example_img={folder / 'dark' / '0.png'}"
    for command in (["classify", image], ["evaluate", f"--data_dir={folder}"]):
        line = call(capsys, *command, f"--model={path}", code=2)
        assert "model.tflite.json" in line


# Files that kill a process.


def with_parts(content, parts):
    """Return a file whose SPLIT says another number of parts than it has outputs."""

    def change(model):
        for operator in model.subgraphs[0].operators:
            if hasattr(operator.builtinOptions, "numSplits"):
                operator.builtinOptions.numSplits = parts

    return zoo.edited(content, change)


@pytest.mark.parametrize("parts", [0, 2, 5, 7, 1000])
def test_split_that_says_another_number_of_parts_is_refused(
    parts, shared, folder, tmp_path, capsys
):
    content = shared("models/split_concat.tflite").read_bytes()
    content = with_parts(content, parts)
    path = write(tmp_path / "split.tflite", content)
    image = f"--example_img={folder / 'dark' / '0.png'}"
    assert "SPLIT" in call(capsys, "check", path, code=2)
    assert "SPLIT" in call(capsys, "classify", f"--model={path}", image, code=2)


@pytest.mark.parametrize("zero_point", [1000, -129, 256, 2**40])
def test_zero_point_beyond_its_type_is_refused(
    zero_point, raw_file, folder, tmp_path, capsys
):
    def change(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.type == zoo.schema.TensorType.INT8 and tensor.quantization:
                tensor.quantization.zeroPoint = [zero_point]

    path = write(tmp_path / "model.tflite", zoo.edited(raw_file, change))
    assert str(zero_point) in call(capsys, "check", path, code=2)
    image = f"--example_img={folder / 'dark' / '0.png'}"
    assert "zero point" in call(capsys, "classify", f"--model={path}", image, code=2)


def test_a_crash_of_the_runtime_is_one_line(
    raw_file, folder, tmp_path, capsys, monkeypatch
):
    from edgetpu_lib.tflite import trial

    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(trial, "_CHILD", crash)
    path = write(tmp_path / "model.tflite", raw_file)
    image = f"--example_img={folder / 'dark' / '0.png'}"
    for command in (["classify", image], ["evaluate", f"--data_dir={folder}"]):
        line = call(capsys, *command, f"--model={path}", code=2)
        assert "SIGSEGV" in line and "model.tflite" in line
    # A file of this library is trusted.
    artifacts.save_metadata(path)
    call(capsys, "classify", f"--model={path}", image)


def test_a_file_that_never_ends_is_one_line(
    raw_file, folder, tmp_path, capsys, monkeypatch
):
    from edgetpu_lib.tflite import trial

    monkeypatch.setattr(trial, "_CHILD", "import time; time.sleep(30)")
    monkeypatch.setattr(trial, "TIMEOUT_S", 0.2)
    path = write(tmp_path / "model.tflite", raw_file)
    image = f"--example_img={folder / 'dark' / '0.png'}"
    line = call(capsys, "classify", f"--model={path}", image, code=2)
    assert "0.2 s" in line
