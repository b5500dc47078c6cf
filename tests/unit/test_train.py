"""Training repeats to the bit, resumes anywhere, and reports what fails."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from edgetpu_lib import checkpoint, data, train
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.training import batches as training_batches
from edgetpu_lib.training import loop
from edgetpu_lib.training.recipe import Recipe

QUICK = Recipe(epochs=4, batch_size=10, warmup_epochs=0, min_crop_area=0.5)
VARIED = dataclasses.replace(QUICK, randaugment=True, mixup=True)
STATE = "training_state.safetensors"


def trained_arrays(model, trained):
    raw = checkpoint.reference_names(model)
    arrays = {name: keras.ops.convert_to_numpy(v) for name, v in raw.items()}
    return arrays | {f"{name}:average": v for name, v in trained.averages.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module", params=[QUICK, VARIED], ids=["plain", "varied"])
def uninterrupted(request, new_model, images, tmp_path_factory):
    model = new_model()
    folder = tmp_path_factory.mktemp("uninterrupted")
    trained = train.train(model, images, request.param, folder, validation=images)
    return request.param, trained_arrays(model, trained), trained


class Stopped(Exception):
    """Stands for whatever ends a process."""


def stop_at(monkeypatch, step):
    take = loop._step

    def step_or_stop(state, *rest):
        if state.step == step:
            raise Stopped
        take(state, *rest)

    monkeypatch.setattr(loop, "_step", step_or_stop)


@pytest.mark.parametrize("stops", [(7,), (1, 11)])
def test_resumed_training_ends_with_the_same_weights(
    uninterrupted, new_model, images, tmp_path, stops
):
    recipe, expected, whole = uninterrupted
    options = {"validation": images, "keep_steps": 2}
    for step in stops:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            stop_at(patch, step)
            train.train(new_model(), images, recipe, tmp_path, **options)
    keras.utils.set_random_seed(99)
    model = new_model()
    trained = train.train(model, images, recipe, tmp_path, **options)
    assert_same(trained_arrays(model, trained), expected)
    times = {"seconds": 0.0}
    rows = [dataclasses.replace(row, **times) for row in trained.history]
    assert rows == [dataclasses.replace(row, **times) for row in whole.history]


def test_finished_training_takes_no_further_step(
    new_model, images, tmp_path, monkeypatch
):
    once = train.train(new_model(), images, QUICK, tmp_path)
    stop_at(monkeypatch, once.step)
    again = train.train(new_model(), images, QUICK, tmp_path)
    assert again.step == once.step == 12
    assert again.history == once.history


def test_training_learns(new_model, images, tmp_path):
    recipe = dataclasses.replace(
        QUICK, epochs=15, optimizer="adamw", base_learning_rate=0.15
    )
    trained = train.train(new_model(), images, recipe, tmp_path, validation=images)
    assert trained.history[-1].loss < 0.8 * trained.history[0].loss
    assert trained.history[-1].top1 > 0.7


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_decides_order_and_pixels(images, seed):
    def first(seed, step=0):
        batches = training_batches.TrainingBatches(images, QUICK, 32, seed=seed)
        with batches.from_step(step, step + 1) as stream:
            return next(stream)

    one, same, other = first(seed), first(seed), first(seed + 1)
    np.testing.assert_array_equal(one[0], same[0])
    assert not np.array_equal(one[0], other[0])
    assert one[0].dtype == np.float32 and one[0].shape == (10, 32, 32, 3)
    assert np.abs(one[0]).max() <= 1
    np.testing.assert_array_equal(one[1].sum(axis=1), 1)


def test_every_pass_shows_every_photo_once(images):
    batches = training_batches.TrainingBatches(images, QUICK, 32)
    counts = np.zeros(3)
    with batches.from_step(0, 6) as stream:
        for number, (_, targets) in enumerate(stream):
            counts += targets.sum(axis=0)
            if number == 2:
                np.testing.assert_array_equal(counts, 10)
    np.testing.assert_array_equal(counts, 20)


def test_batches_from_the_middle_are_those_from_the_start(images):
    def last(first):
        batches = training_batches.TrainingBatches(images, VARIED, 32, parts=2)
        with batches.from_step(first, 8) as stream:
            return list(stream)[-1]

    for early, late in zip(last(0), last(7), strict=True):
        np.testing.assert_array_equal(early, late)


@pytest.mark.parametrize("parts", [2, 4])
def test_processes_share_the_batches_of_one(images, monkeypatch, parts):
    recipe = dataclasses.replace(VARIED, batch_size=12)

    def read(index, count):
        monkeypatch.setattr(training_batches.devices, "process", lambda: (index, count))
        batches = training_batches.TrainingBatches(images, recipe, 32, parts=parts)
        with batches.from_step(2, 3) as stream:
            return next(stream)

    shares = zip(read(0, 2), read(1, 2), strict=True)
    for whole, share in zip(read(0, 1), shares, strict=True):
        np.testing.assert_array_equal(np.concatenate(share), whole)


def test_parts_are_divided_evenly_over_processes(images, monkeypatch):
    monkeypatch.setattr(training_batches.devices, "process", lambda: (0, 2))
    with pytest.raises(InputError, match="parts=3 .* 2 processes"):
        training_batches.TrainingBatches(images, QUICK, 32, parts=3)


def test_background_shifts_the_labels(images):
    batches = training_batches.TrainingBatches(images, QUICK, 32, label_offset=1)
    with batches.from_step(0, 3) as stream:
        targets = np.concatenate([targets for _, targets in stream])
    assert targets.shape == (30, 4)
    np.testing.assert_array_equal(targets.sum(axis=0), [0, 10, 10, 10])


@pytest.fixture
def damaged(draw_folders, tmp_path):
    folder = draw_folders(tmp_path / "photos")
    for name in ("blue/00.jpg", "red/03.png"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:100])
    return data.list_images(folder)


def test_damaged_photo_stops_the_training_by_name(new_model, damaged, tmp_path):
    with pytest.raises(InputError, match="blue/00.jpg|red/03.png"):
        train.train(new_model(), damaged, QUICK, tmp_path / "out")


def test_damaged_photos_are_skipped_and_counted(new_model, damaged, tmp_path):
    trained = train.train(
        new_model(), damaged, QUICK, tmp_path / "out", on_error="skip"
    )
    assert trained.step == 12
    assert len(trained.skipped) == 2
    assert any("00.jpg" in line for line in trained.skipped)


def test_loss_that_is_not_finite_stops_and_keeps_the_last_state(
    new_model, images, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(QUICK, base_learning_rate=0.016)
    take = loop._step

    def poison(state, batches, arrays, targets):
        take(state, batches, arrays, targets * (np.nan if state.step == 6 else 1))

    monkeypatch.setattr(loop, "_step", poison)
    with pytest.raises(InputError) as caught:
        train.train(new_model(), images, recipe, tmp_path, keep_steps=4)
    message = str(caught.value)
    batches = training_batches.TrainingBatches(images, recipe, 32)
    assert "step 7" in message and batches.describe(6) in message
    assert "keeps step 4" in message
    with safetensors.safe_open(tmp_path / STATE, "numpy") as file:
        assert file.metadata()["step"] == "4"
        assert all(np.isfinite(file.get_tensor(name)).all() for name in file.keys())


def test_weights_that_are_not_finite_are_never_kept(
    new_model, images, tmp_path, monkeypatch
):
    take = loop._step

    def overflow(state, *rest):
        take(state, *rest)
        state.model.get_layer("stem_bn").gamma.assign(np.full(8, np.inf))

    monkeypatch.setattr(loop, "_step", overflow)
    with pytest.raises(InputError, match="after step 1"):
        train.train(new_model(), images, QUICK, tmp_path, keep_steps=1)
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "seed"), ({"label_offset": 1}, "logits"), ({"parts": 2}, "parts")],
)
def test_state_of_another_training_is_refused(
    new_model, images, tmp_path, change, named
):
    recipe = dataclasses.replace(QUICK, epochs=1)
    train.train(new_model(), images, recipe, tmp_path)
    before = (tmp_path / STATE).read_bytes()
    model = new_model(num_classes=3 + change.get("label_offset", 0))
    with pytest.raises(InputError, match=named):
        train.train(model, images, recipe, tmp_path, **change)
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b'{"a": 1}' * 20])
def test_damaged_state_is_named(new_model, images, tmp_path, content):
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(InputError, match=STATE):
        train.train(new_model(), images, QUICK, tmp_path)


def test_classes_and_logits_must_match(new_model, images, tmp_path):
    with pytest.raises(InputError, match="num_classes=4"):
        train.train(new_model(), images, QUICK, tmp_path, label_offset=1)


@pytest.mark.parametrize("batch_size", [31, 7])
def test_batches_must_fit_photos_and_parts(new_model, images, tmp_path, batch_size):
    recipe = dataclasses.replace(QUICK, batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch_size={batch_size}"):
        train.train(new_model(), images, recipe, tmp_path, parts=2)


# The command, killed.

# A busy machine takes minutes for the first step.
HANGS_AFTER_S = 900


@pytest.fixture(scope="module")
def arguments(slim, class_folders):
    recipe = "--epochs=40 --batch_size=10 --warmup_epochs=0 --min_crop_area=0.5"
    return [
        *(sys.executable, "-m", "edgetpu_lib", "train", *slim),
        *(f"--data_dir={class_folders}", "--keep_steps=3", *recipe.split(), "--json"),
    ]


def wait_for(path, process):
    limit = time.monotonic() + HANGS_AFTER_S
    while not path.exists():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)


def checkpoint_arrays(folder):
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder))
    return {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("kind", ["SIGKILL", "SIGTERM"])
def test_killed_command_resumes_to_the_same_weights(arguments, tmp_path, kind):
    whole = subprocess.Popen([*arguments, f"--output={tmp_path}/whole"])
    command = [*arguments, f"--output={tmp_path}/killed"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as killed:
        wait_for(tmp_path / "killed" / STATE, killed)
        killed.send_signal(getattr(signal, kind))
        assert killed.wait(HANGS_AFTER_S) != 0
    assert not (tmp_path / "killed/checkpoint").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert whole.wait(HANGS_AFTER_S) == 0
    expected = checkpoint_arrays(tmp_path / "whole/checkpoint")
    assert_same(checkpoint_arrays(tmp_path / "killed/checkpoint"), expected)
    assert expected["global_step"] == 80


@pytest.mark.parametrize("kind", ["folders", "shards"])
def test_two_processes_take_the_steps_of_one(arguments, shards, tmp_path, kind):
    def losses(name, *more):
        result = subprocess.run(
            [
                *arguments,
                # Sums of two processes round otherwise than those of one, and training
                # amplifies that: on some processors a fourth epoch differs by 0.1 %.
                "--epochs=3",
                "--batch_size=20",
                "--base_learning_rate=0.004",
                f"--output={tmp_path}/{name}",
                *([f"--data_dir={shards}"] if kind == "shards" else []),
                *more,
            ],
            env={**os.environ, "KERAS_BACKEND": "jax"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        # The processes greet each other on stdout before the answer.
        return [
            row["loss"] for row in json.loads(result.stdout.splitlines()[-1])["epochs"]
        ]

    alone = losses("one", "--parts=2")
    together = losses("two", "--processes=2")
    assert len(alone) == 3 and len(set(alone)) == 3
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_trainings_in_other_threads_leave_signals_alone(new_model, images, tmp_path):
    recipe = dataclasses.replace(QUICK, epochs=1)
    before = signal.getsignal(signal.SIGINT)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(
            train.train(new_model(), images, recipe, tmp_path).step
        )
    )
    thread.start()
    thread.join()
    assert results == [3]
    assert signal.getsignal(signal.SIGINT) is before


def test_command_checks_validation_photos_first(
    slim, draw_folders, cut_photo, tmp_path, capfd, monkeypatch
):
    from edgetpu_lib.commands import main as cli

    cut = cut_photo(draw_folders(tmp_path / "photos"), "validation")
    arguments = [
        *("train", *slim, f"--data_dir={tmp_path / 'photos'}", "--batch_size=7"),
        *("--epochs=1", "--json", f"--output={tmp_path}/out"),
    ]
    with monkeypatch.context() as patch:
        stop_at(patch, 0)
        assert cli.main(arguments) == 2
    assert f"error: {cut} " in capfd.readouterr().err
    assert cli.main([*arguments, "--on_error=skip"]) == 0
    (line,) = json.loads(capfd.readouterr().out)["skipped"]
    assert str(cut) in line


def test_command_tells_what_it_skipped(slim, damaged, tmp_path, capfd):
    from edgetpu_lib.commands import main as cli

    recipe = "--epochs=1 --batch_size=7 --on_error=skip --json"
    folder = f"--data_dir={damaged.data_dir}"
    tarball = tmp_path / "averages.tar.gz"
    code = cli.main(
        ["train", *slim, folder, *recipe.split(), f"--output={tmp_path}/out"]
        + [f"--output_tarball={tarball}"]
    )
    out, _ = capfd.readouterr()
    prediction = json.loads(out)
    assert code == 0
    trained_on = {str(path) for path in data.split_images(damaged)["train"].paths}
    bad = {f"{damaged.data_dir}/{name}" for name in ("blue/00.jpg", "red/03.png")}
    assert len(prediction["skipped"]) == len(bad & trained_on) > 0
    assert prediction["step"] == 3
    assert tarball.stat().st_size > 1000


# Full disks, damaged states, the archive.


def test_full_disk_is_one_line_and_keeps_the_state(
    slim, class_folders, tmp_path, monkeypatch, capfd
):
    from edgetpu_lib.commands import main as cli

    output = tmp_path / "out"
    arguments = [
        *("train", *slim, f"--data_dir={class_folders}", f"--output={output}"),
        *("--batch_size=10", "--epochs=2", "--keep_steps=1", "--min_crop_area=0.5"),
    ]
    write, sizes = Path.write_bytes, []

    def fill(path, content):
        if path.suffix == ".safetensors":
            sizes.append(len(content))
            if len(sizes) == 3:
                write(path, content[:100])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        assert cli.main(arguments) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and "No space left" in line
    assert str(output / STATE) in line
    with safetensors.safe_open(output / STATE, "numpy") as file:
        assert file.metadata()["step"] == "2"
    assert not list(output.glob(".*"))
    assert cli.main(arguments) == 0
    assert (output / "checkpoint").is_dir()
    capfd.readouterr()


LIMITED = """
import resource, sys
from edgetpu_lib.commands.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


def test_limit_on_file_sizes_is_one_line(arguments, tmp_path):
    command = [sys.executable, "-c", LIMITED, *arguments[3:], f"--output={tmp_path}/o"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o" / STATE).exists()


def test_state_with_another_number_in_it_is_refused(new_model, images, tmp_path):
    recipe = dataclasses.replace(QUICK, epochs=1)
    train.train(new_model(), images, recipe, tmp_path)
    content = bytearray((tmp_path / STATE).read_bytes())
    content[-2] ^= 1
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(InputError, match=f"{STATE}.*checksum"):
        train.train(new_model(), images, recipe, tmp_path)


@pytest.mark.parametrize(
    ("flag", "kept"), [([], True), (["--archive_ckpt=False"], False)]
)
def test_best_checkpoint_is_archived(
    slim, class_folders, tmp_path, monkeypatch, capfd, flag, kept
):
    from edgetpu_lib.commands import main as cli

    accuracies = iter([0.25, 0.75, 0.75, 0.5])
    monkeypatch.setattr(loop, "evaluate", lambda *_, **options: (1.0, next(accuracies)))
    arguments = [
        *("train", *slim, f"--data_dir={class_folders}", f"--output={tmp_path}/out"),
        *("--batch_size=10", "--epochs=4", "--min_crop_area=0.5", "--json", *flag),
    ]
    assert cli.main(arguments) == 0
    rows = json.loads(capfd.readouterr().out)["epochs"]
    assert [row["validation_top1"] for row in rows] == [0.25, 0.75, 0.75, 0.5]
    archive = tmp_path / "out/archive"
    assert archive.is_dir() == kept
    if kept:
        found = checkpoint_arrays(archive)
        assert found["global_step"] == rows[2]["step"]
        last = checkpoint_arrays(tmp_path / "out/checkpoint")
        assert found.keys() == last.keys()


def test_second_training_with_the_same_output_says_so(
    slim, class_folders, tmp_path, capfd
):
    from edgetpu_lib.base.single_run import only_run
    from edgetpu_lib.commands import main as cli

    with only_run(tmp_path / "out"):
        code = cli.main(
            ["train", *slim, f"--data_dir={class_folders}", f"--output={tmp_path}/out"]
        )
    assert code == 2
    assert f"process {os.getpid()}" in capfd.readouterr().err.splitlines()[-1]
