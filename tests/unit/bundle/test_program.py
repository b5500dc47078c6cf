"""A bundle classifies, watches, tests itself; what it cannot do is one line."""

import dataclasses
import io
import itertools
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import deploy
from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.bundle import contents, program, sources, watch, write
from edgetpu_lib.deploy import Labels
from edgetpu_lib.images import listing

MODEL = data_file("quickstart_quant.tflite")
FLOWER = data_file("samples/rose_1.jpg")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Return the path of a bundle; read only."""
    return write.write_bundle(MODEL, tmp_path_factory.mktemp("bundle") / "app.zip")


@pytest.fixture(scope="module")
def with_compiled(tmp_path_factory):
    """Return the path of a bundle with a file that no CPU runs; read only."""
    import zoo

    folder = tmp_path_factory.mktemp("compiled")
    compiled = folder / "quickstart_edgetpu.tflite"
    content = zoo.as_custom(MODEL.read_bytes(), "SOFTMAX", b"edgetpu-custom-op")
    compiled.write_bytes(content)
    return write.write_bundle(MODEL, folder / "app.zip", compiled=compiled)


@pytest.fixture
def call(capsys):
    """Return a function: bundle and arguments to (exit code, output, errors)."""

    def run(path, *arguments):
        with zipfile.ZipFile(path) as archive:
            code = program.main(archive.read, str(path), list(map(str, arguments)))
        return code, *capsys.readouterr()

    return run


def changed(path, target, **files):
    """Copy a bundle with other contents of files; return the copy."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, files.get(name, old.read(name)))
    return target


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_predictions_are_those_of_deploy(call, app):
    code, out, _ = call(app, FLOWER, "--json", "--top_k=2")
    (record,) = records(out)
    assert code == 0
    expected = deploy.classify(MODEL, FLOWER, top=2)
    assert record["image"] == str(FLOWER)
    assert record["predictions"] == [dataclasses.asdict(each) for each in expected]


def test_lines_for_a_person_name_image_and_classes(call, app):
    code, out, _ = call(app, FLOWER, FLOWER, "--top_k", 1)
    assert code == 0
    assert [line.split()[1:2] for line in out.splitlines()] == [[], ["rose"]] * 2


def test_a_folder_gives_its_images_and_those_below(call, app, tmp_path):
    for name in ("b.jpg", "a.JPG", ".c.jpg", ".hidden/d.jpg", "below/e.jpg", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(FLOWER, tmp_path / name)
    code, out, _ = call(app, tmp_path, FLOWER, "--json")
    found = [record["image"] for record in records(out)]
    names = ("a.JPG", "b.jpg", "below/e.jpg")
    assert found == [*(str(tmp_path / name) for name in names), str(FLOWER)]


def test_paths_are_read_from_standard_input(app, tmp_path):
    done = run_in_clean_folder(
        sys.executable, app, "-", "--json", cwd=tmp_path, input=f"{FLOWER}\n\nno.jpg\n"
    )
    found = [list(record)[1] for record in records(done.stdout)]
    assert (done.returncode, found) == (2, ["predictions", "error"])


@pytest.mark.parametrize("as_json", [True, False])
def test_a_bad_image_does_not_end_the_others(call, app, tmp_path, as_json):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    code, out, err = call(app, bad, FLOWER, *["--json"] * as_json)
    assert code == 2
    assert "rose" in out
    if as_json:
        assert "error" in records(out)[0]
        assert records(out)[0]["image"] == str(bad)
    else:
        assert err.startswith("error: ") and str(bad) in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["missing.jpg"],
        ["--watch=missing"],
        ["--device=usb:0", "x.jpg"],
        ["--device=nonsense", "x.jpg"],
        ["--top_k=0", "x.jpg"],
        ["--top_k=many", "x.jpg"],
        ["--watch=.", "--interval_s=nan"],
        ["--nonsense"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(app, tmp_path, arguments):
    done = run_in_clean_folder(sys.executable, app, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_folder_without_images_is_named(call, app, tmp_path):
    code, _, err = call(app, tmp_path)
    assert code == 2 and str(tmp_path) in err


def run_in_clean_folder(python, path, *arguments, cwd, input=""):
    """Run a bundle by a Python that sees neither this repository nor its own extras."""
    command = [str(python), "-I", str(path), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, input=input, capture_output=True, text=True, timeout=100
    )


# The self-test.


def test_self_test_compares_three_stored_images(call, app):
    code, out, _ = call(app, "--self_test", "--json")
    (record,) = records(out)
    assert code == 0
    assert record["self_test"]["images"] == 3
    assert record["self_test"]["largest_difference_steps"] <= 1
    with zipfile.ZipFile(app) as archive:
        images = [name for name in archive.namelist() if name.endswith(".png")]
        sizes = [archive.getinfo(name).file_size for name in images]
    assert len(images) == 3 and max(sizes) < 40_000


@pytest.mark.parametrize(("steps", "code"), [(0.9, 0), (1, 0), (2, 2), (np.nan, 2)])
def test_self_test_allows_one_quantization_step(call, app, tmp_path, steps, code):
    with zipfile.ZipFile(app) as archive:
        settings = json.loads(archive.read(contents.SETTINGS))
    scores = next(iter(settings["expected"].values()))
    scores[1] += steps * settings["tolerance"]
    files = {contents.SETTINGS: json.dumps(settings)}
    other = changed(app, tmp_path / "other.zip", **files)
    assert call(other, "--self_test")[0] == code


def test_self_test_sees_another_model_and_other_pixels(
    call, app, tmp_path, int8_tflite
):
    with zipfile.ZipFile(app) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".png"))
        upside_down = np.asarray(Image.open(io.BytesIO(archive.read(name))))[::-1]
    stream = io.BytesIO()
    Image.fromarray(upside_down).save(stream, "PNG")
    other = changed(app, tmp_path / "other.zip", **{name: stream.getvalue()})
    assert call(other, "--self_test")[0] == 2


# The Edge TPU.


@pytest.fixture
def opened(monkeypatch):
    """Let an Edge TPU answer; return the list of what was opened."""
    real, compiled = contents.scores.open_scorer, []

    def open_scorer(content, **options):
        if b"edgetpu-custom-op" in content:
            compiled.append(options)
            content = MODEL.read_bytes()
        return real(content, **options)

    monkeypatch.setattr(contents.scores, "open_scorer", open_scorer)
    return compiled


def test_the_edge_tpu_is_used_where_it_opens(call, with_compiled, opened):
    code, out, err = call(with_compiled, "--self_test", "--json")
    assert (code, err) == (0, "")
    assert records(out)[0]["self_test"]["device"] == "Edge TPU"
    assert len(opened) == 1
    call(with_compiled, FLOWER, "--device=cpu")
    assert len(opened) == 1


def test_without_an_edge_tpu_a_line_says_why_and_the_cpu_computes(call, with_compiled):
    code, out, err = call(with_compiled, FLOWER, "--self_test", "--json")
    assert code == 0
    assert records(out)[0]["self_test"]["device"] == "CPU"
    assert records(out)[1]["predictions"][0]["label"] == "rose"
    assert err.count("\n") == 1 and "libedgetpu" in err


def test_an_edge_tpu_that_is_asked_for_must_open(call, with_compiled):
    code, out, err = call(with_compiled, FLOWER, "--device=usb:0")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_a_bundle_needs_the_model_before_compilation(run, tmp_path):
    import zoo

    compiled = tmp_path / "flowers_edgetpu.tflite"
    compiled.write_bytes(
        zoo.as_custom(MODEL.read_bytes(), "SOFTMAX", b"edgetpu-custom-op")
    )
    output = tmp_path / "app.zip"
    for arguments in (
        [compiled],
        [MODEL, f"--compiled={MODEL}"],
        [MODEL, f"--compiled={tmp_path / 'none.tflite'}"],
    ):
        code, _, err = run("bundle", *arguments, f"--output={output}")
        assert code == 2 and err.count("\n") == 1
        assert not output.exists()


def test_a_bundle_does_not_replace_its_model(run, tmp_path):
    model = tmp_path / "flowers.tflite"
    shutil.copy(MODEL, model)
    assert run("bundle", model, f"--output={tmp_path}/./flowers.tflite")[0] == 2
    assert model.read_bytes() == MODEL.read_bytes()


def test_a_compiled_file_of_another_model_is_refused(run, tmp_path, int8_tflite):
    import zoo

    other = tmp_path / "other_edgetpu.tflite"
    other.write_bytes(
        zoo.as_custom(int8_tflite.read_bytes(), "SOFTMAX", b"edgetpu-custom-op")
    )
    arguments = [MODEL, f"--compiled={other}", f"--output={tmp_path / 'app.zip'}"]
    code, _, err = run("bundle", *arguments)
    assert code == 2 and str(other) in err


# What is inside.


def test_the_same_model_gives_the_same_bytes(app, tmp_path):
    again = write.write_bundle(MODEL, tmp_path / "app.zip")
    assert again.read_bytes() == app.read_bytes()


def test_a_bundle_holds_only_modules_that_its_program_imports(app):
    with zipfile.ZipFile(app) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".py")}
    assert {"__main__.py", "edgetpu_lib/tflite/scores.py"} <= modules
    heavy = ("build", "convert", "commands", "training", "search", "plots", "costs")
    assert not [
        name for name in modules if name.split("/")[1:2] in [[h] for h in heavy]
    ]
    assert "edgetpu_lib/bundle/write.py" not in modules


def test_imports_are_followed_into_functions_and_folders():
    found = sources.needed_sources("edgetpu_lib.deploy")
    assert {"edgetpu_lib/deploy.py", "edgetpu_lib/tflite/__init__.py"} <= found.keys()
    # Imported within a function alone.
    assert "edgetpu_lib/base/environment.py" in found


def test_names_are_text_of_any_kind_but_one_line(call, tmp_path):
    names = ["crème brûlée", "ب", "a, b", "$x {y}", "ä\u0301"]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(names), "utf-8")
    labels = Labels(labels_map_file=str(path))
    app = write.write_bundle(MODEL, tmp_path / "app.zip", labels=labels)
    _, out, _ = call(app, FLOWER, "--json", "--top_k=9")
    assert {p["label"] for p in records(out)[0]["predictions"]} == set(names)
    for bad in ("two\nlines", "", "next\u2028line"):
        path.write_text(json.dumps([bad, *names[1:]]), "utf-8")
        with pytest.raises(InputError):
            write.write_bundle(MODEL, tmp_path / "no.zip", labels=labels)
    assert not (tmp_path / "no.zip").exists()


def test_every_text_is_shown_and_the_service_knows_this_machine(call, app, tmp_path):
    for name in contents.TEXTS:
        code, out, _ = call(app, f"--show={name}")
        assert code == 0 and out.strip()
    folder = tmp_path / "a b%c$d"
    _, service, _ = call(app, "--show=watch.service", f"--watch={folder}")
    (command,) = [line for line in service.splitlines() if "ExecStart=" in line]
    assert f'"{sys.executable}" "{app}" --watch' in command
    assert "a b%%c$$d" in command
    assert "${" not in service


def test_systemd_takes_the_service(call, app, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    _, service, _ = call(app, "--show=watch.service", f"--watch={tmp_path / 'a b%'}")
    unit = tmp_path / "classify.service"
    unit.write_text(service)
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True
    )
    assert str(unit.name) not in done.stderr, done.stderr


def test_the_readme_names_the_bundle_and_every_system(call, app, with_compiled):
    _, text, _ = call(app, "--show=README.txt")
    for word in ("app.zip", "Raspberry Pi OS", "Debian", "macOS", "Windows", "systemd"):
        assert word.lower() in text.lower()
    assert "udevadm" not in text and "${" not in text
    assert "udevadm" in call(with_compiled, "--show=README.txt")[1]


def test_a_model_in_a_float_file_is_bundled_too(call, float_tflite, tmp_path):
    app = write.write_bundle(float_tflite, tmp_path / "app.zip")
    assert call(app, "--self_test")[0] == 0


def test_the_command_writes_a_bundle_that_runs(run, tmp_path):
    output = tmp_path / "my app.zip"
    code, out, _ = run("bundle", MODEL, f"--output={output}")
    assert code == 0 and str(output) in out
    done = run_in_clean_folder(sys.executable, output, FLOWER, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rose" in done.stdout


def test_an_unpacked_bundle_runs_too(app, tmp_path):
    with zipfile.ZipFile(app) as archive:
        archive.extractall(tmp_path / "app")
    done = run_in_clean_folder(sys.executable, "app", "--self_test", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_it_runs_on_a_board(board_python, app, tmp_path, which):
    python = board_python(which)
    found = [
        run_in_clean_folder(python, app, *arguments, cwd=tmp_path)
        for arguments in (["--self_test"], [FLOWER, "--json"], ["--show=README.txt"])
    ]
    for done in found:
        assert (done.returncode, done.stderr) == (0, "")
    (record,) = records(found[1].stdout)
    assert record["predictions"][0]["label"] == "rose"
    # Nothing was unpacked.
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_it_watches_on_a_board_until_it_is_ended(board_python, app, tmp_path, which):
    command = [board_python(which), "-I", app, "--watch=.", "--interval_s=0.1"]
    shutil.copy(FLOWER, tmp_path / "first.jpg")
    with subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline()]
            shutil.copy(FLOWER, tmp_path / "second.jpg")
            lines.append(process.stdout.readline())
        finally:
            process.terminate()
    names = [json.loads(line)["image"] for line in lines]
    assert names == ["first.jpg", "second.jpg"]


def test_without_numpy_a_line_says_what_to_install(app, tmp_path):
    # Isolated, and without what is installed.
    command = [sys.executable, "-I", "-S", str(app), "photo.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install" in done.stderr


# The watch.


@pytest.fixture
def looks(monkeypatch):
    """Let a list of functions happen between two looks; the end is an interruption."""
    steps = []

    def sleep(seconds):
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr(watch.time, "sleep", sleep)
    return steps


def nothing():
    pass


def test_an_image_is_taken_once_it_no_longer_grows(call, app, tmp_path, looks):
    content, path = FLOWER.read_bytes(), tmp_path / "new.jpg"
    half = len(content) // 2
    looks += [
        lambda: path.write_bytes(content[:half]),
        lambda: path.write_bytes(content[: half + 9]),
        lambda: path.write_bytes(content),
        *[nothing] * 4,
    ]
    code, out, err = call(app, "--watch", tmp_path)
    (record,) = records(out)
    assert code == 130 and err == ""
    assert record["image"] == str(path)
    assert record["predictions"][0]["label"] == "rose"


def test_images_there_before_changed_ones_and_bad_ones(call, app, tmp_path, looks):
    path, bad, empty = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    shutil.copy(FLOWER, path)
    other = data_file("samples/tulip_1.jpg")
    looks += [
        nothing,
        lambda: (bad.write_bytes(b"no image"), empty.touch()),
        nothing,
        lambda: shutil.copy(other, path),
        nothing,
        path.unlink,
        nothing,
    ]
    _, out, _ = call(app, "--watch", tmp_path)
    found = [(Path(record["image"]).name, "error" in record) for record in records(out)]
    assert found == [("a.jpg", False), ("b.jpg", True), ("a.jpg", False)]


def test_a_folder_that_is_taken_away_ends_the_watch(call, app, tmp_path, looks):
    folder = tmp_path / "images"
    folder.mkdir()
    looks += [folder.rmdir, nothing]
    code, _, err = call(app, "--watch", folder)
    assert code == 2 and str(folder) in err


def test_an_image_that_cannot_be_read_here_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(listing.opening, "readable_suffixes", lambda: {".jpg"})
    for name in ("a.heic", "b.jpg", ".c.heic", "d.txt"):
        (tmp_path / name).touch()
    found = [path.name for path in watch.images_in(tmp_path)]
    assert found == ["a.heic", "b.jpg"]


def test_a_file_gone_before_it_is_read_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "images_in", lambda folder: [tmp_path / "gone.jpg"])
    turns = itertools.count()

    def sleep(seconds):
        if next(turns) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        list(watch.arriving(tmp_path, interval_s=1))


def test_a_reader_that_leaves_ends_the_watch_quietly(app, tmp_path):
    shutil.copy(FLOWER, tmp_path / "a.jpg")
    command = f"'{sys.executable}' '{app}' --watch . --interval_s=0.05 | head -n 1"
    adder = "sleep 1.5; cp a.jpg b.jpg; sleep 0.6; cp a.jpg c.jpg"
    done = subprocess.run(
        ["sh", "-c", f"({adder}) & {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert len(records(done.stdout)) == 1


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("--show=README.txt | head -n 1", 0),
        (f"'{FLOWER}' --json > /dev/full", 1),
        ("--show=README.txt > /dev/full", 1),
    ],
)
def test_an_output_that_ends_early_is_at_most_one_line(app, tmp_path, command, lines):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    program = f"'{sys.executable}' '{app}' {command}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True)
    assert done.stderr.count("\n") == lines
    assert "Traceback" not in done.stderr
