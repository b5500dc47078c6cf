"""Written checkpoints: the reference's own format, whole or not at all."""

import contextlib
import errno
import resource
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgetpu_lib import build, checkpoint
from edgetpu_lib.base.artifacts import InputError, sha256_of
from edgetpu_lib.weights import tf1_writer

S = "efficientnet-edgetpu-S"
AVERAGE = "/ExponentialMovingAverage"
KERNEL = f"{S}/head/dense/kernel"


@pytest.fixture(scope="module")
def averages(slim_tensors):
    """Return the averages of the slim checkpoint, by the names of the raw weights."""
    return {
        name.removesuffix(AVERAGE): value
        for name, value in slim_tensors.items()
        if name.endswith(AVERAGE)
    }


@pytest.fixture(scope="module")
def trained(new_model, slim_checkpoint):
    """Return a model with the raw values of the slim checkpoint; read only."""
    model = new_model()
    checkpoint.load_weights(model, slim_checkpoint, use_ema=False)
    return model


@pytest.fixture(scope="module")
def other(new_model):
    """Return a model to load into."""
    return new_model(seed=9)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(folder):
    """Return all tensors of a checkpoint, as TensorFlow reads them."""
    reader = tf.train.load_checkpoint(str(folder))
    return {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert np.array_equal(found[name], value), name


def test_bytes_equal_the_references(shared, tmp_path):
    path = shared("reference/tiny_checkpoint")
    model = build.build_model(S, width_coefficient=0.1, num_classes=11, image_size=96)
    checkpoint.load_weights(model, path, use_ema=False)
    whole = read(path)
    averages = {n: whole[n + AVERAGE] for n in checkpoint.reference_names(model)}
    folder = tf1_writer.save_weights(
        model, tmp_path / "c", averages=averages, global_step=1234
    )
    assert_equal(read(folder), whole)
    assert whole["global_step"].dtype == np.int64
    for file in folder.iterdir():
        assert file.read_bytes() == (path / file.name).read_bytes(), file.name


def test_every_tensor_comes_back(trained, averages, slim_tensors, tmp_path):
    folder = tf1_writer.save_weights(
        trained, tmp_path / "new" / "c", averages=averages, global_step=7
    )
    assert folder == tmp_path / "new" / "c"
    assert_equal(read(folder), {k: np.asarray(v) for k, v in slim_tensors.items()})
    assert names(folder.parent) == ["c"]
    assert names(folder) == [
        "checkpoint",
        "model.ckpt-7.data-00000-of-00001",
        "model.ckpt-7.index",
    ]


@pytest.mark.parametrize("name", ["c", "c.tar.gz", "c.tgz"])
@pytest.mark.parametrize(("use_ema", "suffix"), [(True, AVERAGE), (False, "")])
def test_load_weights_reads_it(
    trained, averages, slim_tensors, other, tmp_path, name, use_ema, suffix
):
    path = tf1_writer.save_weights(
        trained, str(tmp_path / name), averages=averages, global_step=7
    )
    report = checkpoint.load_weights(other, path, use_ema=use_ema)
    for key, variable in checkpoint.reference_names(other).items():
        found = keras.ops.convert_to_numpy(variable)
        assert np.array_equal(found, slim_tensors[key + suffix]), key
    assert report.global_step == 7


def test_without_averages_the_weights_stand_for_them(trained, tmp_path):
    found = read(tf1_writer.save_weights(trained, tmp_path / "c"))
    raw = {n: v for n, v in found.items() if "/" in n and not n.endswith(AVERAGE)}
    assert len(raw) == len(trained.weights)
    for name, value in raw.items():
        assert np.array_equal(found[name + AVERAGE], value)
    assert found["global_step"] == 0


def restore_averages(folder, averages, count_steps):
    """Return what a TensorFlow-1 Saver restores for shadow names, as the reference."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [
            v1.get_variable(name, value.shape) for name, value in averages.items()
        ]
        step = v1.train.get_or_create_global_step() if count_steps else None
        to_restore = tf.train.ExponentialMovingAverage(0.0).variables_to_restore(
            variables
        )
        latest = tf.train.latest_checkpoint(str(folder))
        v1.train.Saver(to_restore).restore(session, latest)
        if count_steps:
            assert session.run(step) == 7
        return dict(zip(averages, session.run(variables), strict=True))


@pytest.mark.parametrize("alone", [False, True])
def test_tensorflow_1_restores_the_averages(trained, averages, tmp_path, alone):
    saved = tf1_writer.save_weights(
        trained, tmp_path / "c", averages=averages, global_step=7, only_averages=alone
    )
    folder = saved.rename(tmp_path / "moved")
    assert_equal(restore_averages(folder, averages, not alone), averages)


def test_averages_alone(trained, averages, other, tmp_path):
    folder = tf1_writer.save_weights(
        trained, tmp_path / "c", averages=averages, global_step=7, only_averages=True
    )
    assert_equal(read(folder), {n + AVERAGE: v for n, v in averages.items()})
    assert checkpoint.load_weights(other, folder).global_step is None
    found = keras.ops.convert_to_numpy(other.get_layer("logits").kernel)
    assert np.array_equal(found, averages[KERNEL])
    before = [w.copy() for w in other.get_weights()]
    with pytest.raises(InputError, match="use_ema=True"):
        checkpoint.load_weights(other, folder, use_ema=False)
    for value, after in zip(before, other.get_weights(), strict=True):
        assert np.array_equal(value, after)


# Zeros, ties to both sides, ties that carry, the largest, subnormal, infinite.
AWKWARD = np.array(
    [
        0x00000000,
        0x80000000,
        0x3F808000,
        0x3F818000,
        0x3F80FFFF,
        0x3FFF8000,
        0x7F7F7FFF,
        0x7F7FFFFF,
        0xFF7FFFFF,
        0x00000001,
        0x00008001,
        0x807FFFFF,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
    ],
    np.uint32,
).view(np.float32)


def test_bfloat16_rounds_to_nearest_even(trained, averages, tmp_path):
    kernel = np.random.default_rng(3).normal(0, 1, averages[KERNEL].shape)
    kernel = kernel.astype(np.float32)
    kernel.flat[: len(AWKWARD)] = AWKWARD
    folder = tf1_writer.save_weights(
        trained,
        tmp_path / "c",
        averages={**averages, KERNEL: kernel},
        round_to_bfloat16=True,
    )
    found = read(folder)
    assert found.pop("global_step").dtype == np.int64
    for name, value in found.items():
        assert value.dtype == np.float32
        assert not (value.view(np.uint32) & 0xFFFF).any(), name
    with np.errstate(over="ignore"):
        nearest = kernel.astype(tf.bfloat16.as_numpy_dtype).astype(np.float32)
    rounded = found[KERNEL + AVERAGE]
    np.testing.assert_array_equal(rounded, nearest)
    assert np.array_equal(np.signbit(rounded), np.signbit(kernel))


def test_packed_bytes_depend_on_the_values_alone(trained, averages, tmp_path):
    paths = [tmp_path / "a.tar.gz", tmp_path / "deep" / "b.tar.gz"]
    for path in paths:
        tf1_writer.save_weights(trained, path, averages=averages, global_step=7)
    assert sha256_of(paths[0]) == sha256_of(paths[1])
    assert names(paths[1].parent) == ["b.tar.gz"]
    with tarfile.open(paths[0]) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        f"{S}/checkpoint",
        f"{S}/model.ckpt-7.data-00000-of-00001",
        f"{S}/model.ckpt-7.index",
    ]
    for member in members:
        assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
        assert (member.uname, member.gname, member.mode) == ("", "", 0o644)


def test_rounding_halves_the_packed_size(new_model, tmp_path):
    model = new_model(width_coefficient=0.3)

    def size(**options):
        path = tf1_writer.save_weights(
            model, tmp_path / "c.tgz", only_averages=True, **options
        )
        return path.stat().st_size

    assert size(round_to_bfloat16=True) < 0.55 * size()


@pytest.mark.parametrize("name", ["c", "c.tar.gz"])
def test_older_checkpoint_is_replaced_whole(trained, averages, other, tmp_path, name):
    path = tmp_path / name
    tf1_writer.save_weights(trained, path, global_step=5)
    tf1_writer.save_weights(trained, path, averages=averages, global_step=12)
    assert checkpoint.load_weights(other, path).global_step == 12
    found = keras.ops.convert_to_numpy(other.get_layer("logits").kernel)
    assert np.array_equal(found, averages[KERNEL])
    assert names(tmp_path) == [name]
    if path.is_dir():
        assert not [file for file in names(path) if "-5." in file]


def refused(model, path, **options):
    """Return the message of a refusal; the folder around `path` must not change."""
    before = sha256_of(path.parent), names(path.parent)
    with pytest.raises(InputError) as caught:
        tf1_writer.save_weights(model, path, **options)
    assert (sha256_of(path.parent), names(path.parent)) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["notes.txt", "checkpoint.old", "a.index", "photos"])
def test_folder_with_anything_else_is_kept(trained, tmp_path, name):
    folder = tf1_writer.save_weights(trained, tmp_path / "c")
    (folder / name).write_text("mine")
    message = refused(trained, folder)
    assert name in message
    assert str(folder) in message


def test_averages_must_be_complete(trained, averages, tmp_path):
    incomplete = {n: value for n, value in averages.items() if n != KERNEL}
    message = refused(trained, tmp_path / "c", averages=incomplete)
    assert f"1 missing ({KERNEL})" in message


def test_unexpected_average_is_named(trained, averages, tmp_path):
    shadow = KERNEL + AVERAGE
    given = {**averages, shadow: averages[KERNEL]}
    message = refused(trained, tmp_path / "c", averages=given)
    assert f"1 unexpected ({shadow})" in message


def test_average_of_another_shape_is_named_with_both(trained, averages, tmp_path):
    given = {**averages, KERNEL: averages[KERNEL].T}
    message = refused(trained, tmp_path / "c", averages=given)
    assert KERNEL in message
    assert str(averages[KERNEL].shape) in message
    assert str(averages[KERNEL].T.shape) in message


def test_other_model_is_refused(tmp_path):
    inputs = keras.Input((100,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs))
    assert "dense" in refused(model, tmp_path / "c")


def test_negative_step_is_refused(trained, tmp_path):
    assert "-1" in refused(trained, tmp_path / "c", global_step=-1)


def test_plain_tar_is_refused(trained, tmp_path):
    assert ".tar.gz" in refused(trained, tmp_path / "c.tar")


@pytest.mark.parametrize("name", ["c", "c.tar.gz"])
def test_target_below_a_file_is_refused(trained, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / name
    with pytest.raises(InputError, match=str(target)):
        tf1_writer.save_weights(trained, target)
    assert names(tmp_path) == ["file"]


def test_file_in_the_way_of_a_folder_is_kept(trained, tmp_path):
    (tmp_path / "c").write_text("mine")
    assert str(tmp_path / "c") in refused(trained, tmp_path / "c")


@contextlib.contextmanager
def full_disk(kind):
    """Fail as a full disk does, at one of the files that are written."""

    def no_space(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        if kind == "state":
            patch.setattr(Path, "write_text", no_space)
        elif kind == "archive":
            patch.setattr(tf1_writer.tarfile.TarFile, "addfile", no_space)
        else:
            # The operating system itself refuses TensorFlow's file. For this block
            # alone: the report of the tests may be a longer file.
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            yield
        finally:
            if kind == "data":
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(params=[False, True], ids=["new", "replaced"])
def earlier(request, trained, tmp_path):
    """Return a target, with an older checkpoint or without."""
    path = tmp_path / "c.tar.gz"
    if request.param:
        tf1_writer.save_weights(trained, path, global_step=5)
    return path


@pytest.mark.parametrize("kind", ["data", "state", "archive"])
def test_full_disk_leaves_nothing(earlier, trained, kind):
    with full_disk(kind):
        message = refused(trained, earlier, global_step=12)
    assert str(earlier) in message
    assert "{{" not in message
    assert ".partial" not in message
