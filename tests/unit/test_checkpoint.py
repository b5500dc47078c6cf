"""Published weights: equal to the reference, or refused without touching the model."""

import os
import subprocess
import sys
import tarfile

import keras
import numpy as np
import pytest

from edgetpu_lib import build, checkpoint, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels

S = "efficientnet-edgetpu-S"
AVERAGE = "/ExponentialMovingAverage"
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def reference_checkpoint(shared):
    return shared("reference/tiny_checkpoint")


@pytest.fixture(scope="module", params=["ema", "raw"])
def loaded(request, reference_checkpoint):
    """Return the values' kind and the model loaded with them; read only."""
    model = build.build_model(S, width_coefficient=0.1, num_classes=11, image_size=96)
    use_ema = request.param == "ema"
    report = checkpoint.load_weights(model, reference_checkpoint, use_ema=use_ema)
    return request.param, model, report


@pytest.fixture
def golden_input(golden):
    return pixels.normalize(golden["preprocessed_bicubic"])


def endpoint(model, name, images):
    return keras.ops.convert_to_numpy(build.feature_model(model, name)(images))


@pytest.mark.parametrize("name", ["logits", "pooled_features", "reduction_5"])
def test_outputs_equal_the_reference(loaded, golden, golden_input, name):
    kind, model, _ = loaded
    found = endpoint(model, name, golden_input)
    np.testing.assert_allclose(found, golden[f"{kind}/{name}"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "layer"), [("stem", "stem_relu"), ("block_0", "block_0_project_bn")]
)
def test_early_maps_equal_the_reference(loaded, golden, golden_input, name, layer):
    kind, model, _ = loaded
    found = endpoint(model, layer, golden_input[:1])[:, ::8, ::8]
    np.testing.assert_allclose(found, golden[f"{kind}/{name}"], rtol=0, atol=TOLERANCE)


def test_probabilities_equal_the_reference(loaded, golden, golden_input):
    kind, model, _ = loaded
    found = keras.ops.convert_to_numpy(keras.ops.softmax(model(golden_input)))
    np.testing.assert_allclose(found, golden[f"{kind}/probs"], rtol=0, atol=TOLERANCE)


def test_photos_to_logits_equal_the_reference(loaded, golden, shared):
    kind, model, _ = loaded
    folder = shared("data/photos")
    images = np.stack([data.load_image(folder / p, 96) for p in golden["photos"]])
    found = keras.ops.convert_to_numpy(model(pixels.normalize(images)))
    np.testing.assert_allclose(found, golden[f"{kind}/logits"], rtol=0, atol=TOLERANCE)


def test_report_accounts_for_every_tensor(loaded):
    kind, model, report = loaded
    assert report.use_ema == (kind == "ema")
    assert report.global_step == 1234
    assert len(report.loaded) == len(model.weights) == len(set(report.loaded))
    assert all(name.endswith(AVERAGE) == report.use_ema for name in report.loaded)
    assert report.kept == ()
    assert len(report.ignored) == len(model.weights) + 1
    assert "global_step" in report.ignored
    assert not set(report.loaded) & set(report.ignored)


def expected_names(depthwise):
    """Return the variable names of a network by the reference's rule.

    `depthwise` says of each block whether it has a depthwise convolution.
    """
    statistics = ("gamma", "beta", "moving_mean", "moving_variance")
    scopes = {"stem": (["conv2d/kernel"], 1), "head": (["conv2d/kernel"], 1)}
    for index, inverted in enumerate(depthwise):
        kernels = ["conv2d/kernel", "conv2d_1/kernel"]
        if inverted:
            kernels.append("depthwise_conv2d/depthwise_kernel")
        scopes[f"blocks_{index}"] = (kernels, len(kernels))
    names = {f"{S}/head/dense/kernel", f"{S}/head/dense/bias"}
    for scope, (kernels, norms) in scopes.items():
        names |= {f"{S}/{scope}/{kernel}" for kernel in kernels}
        for number in range(norms):
            norm = "tpu_batch_normalization" + (f"_{number}" if number else "")
            names |= {f"{S}/{scope}/{norm}/{leaf}" for leaf in statistics}
    return names


def test_every_weight_has_the_references_name(new_model):
    model = new_model(depth_coefficient=1.0)
    names = checkpoint.reference_names(model)
    assert set(names) == expected_names([False] * 7 + [True] * 11)
    assert len({id(variable) for variable in names.values()}) == len(model.weights)


def weights_of(model):
    return [np.array(value) for value in model.get_weights()]


def same(weights, others):
    return all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))


def assert_holds(model, tensors, suffix):
    for name, variable in checkpoint.reference_names(model).items():
        found = keras.ops.convert_to_numpy(variable)
        assert np.array_equal(found, tensors[name + suffix]), name


@pytest.mark.parametrize(("use_ema", "suffix"), [(True, AVERAGE), (False, "")])
def test_each_variable_gets_its_own_tensor(
    new_model, slim_checkpoint, slim_tensors, use_ema, suffix
):
    model = new_model()
    report = checkpoint.load_weights(model, slim_checkpoint, use_ema=use_ema)
    assert_holds(model, slim_tensors, suffix)
    assert report.global_step == 7


def test_averages_are_the_default(new_model, slim_checkpoint, slim_tensors):
    model = new_model()
    checkpoint.load_weights(model, slim_checkpoint)
    assert_holds(model, slim_tensors, AVERAGE)


def as_tarball(folder, path):
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "efficientnet-edgetpu-S")
    return path


def test_prefix_names_a_checkpoint(new_model, slim_checkpoint, slim_tensors):
    model = new_model()
    checkpoint.load_weights(model, slim_checkpoint / "model.ckpt-7")
    assert_holds(model, slim_tensors, AVERAGE)


def test_path_may_be_a_string(new_model, slim_checkpoint, slim_tensors):
    model = new_model()
    checkpoint.load_weights(model, str(slim_checkpoint))
    assert_holds(model, slim_tensors, AVERAGE)


def test_tarball_names_a_checkpoint(new_model, slim_checkpoint, slim_tensors, tmp_path):
    model = new_model()
    checkpoint.load_weights(model, as_tarball(slim_checkpoint, tmp_path / "S.tar.gz"))
    assert_holds(model, slim_tensors, AVERAGE)


def test_folder_around_the_checkpoint_is_enough(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    write_checkpoint(tmp_path / "outer" / "inner", slim_tensors)
    model = new_model()
    checkpoint.load_weights(model, tmp_path / "outer")
    assert_holds(model, slim_tensors, AVERAGE)


def test_checkpoint_file_may_be_absent(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    (folder / "checkpoint").unlink()
    model = new_model()
    checkpoint.load_weights(model, folder)
    assert_holds(model, slim_tensors, AVERAGE)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x95", b"nonsense\n", b'model_checkpoint_path: "gone"\n']
)
def test_damaged_checkpoint_file_is_an_error_or_harmless(
    new_model, write_checkpoint, slim_tensors, tmp_path, content
):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    (folder / "checkpoint").write_bytes(content)
    model = new_model()
    try:
        checkpoint.load_weights(model, folder)
    except InputError as error:
        assert str(folder) in str(error)
    else:
        assert_holds(model, slim_tensors, AVERAGE)


def test_highest_step_wins_without_a_checkpoint_file(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    (folder / "checkpoint").unlink()
    for path in sorted(folder.iterdir()):
        path.rename(folder / path.name.replace("ckpt-7", "ckpt-10"))
    older = {**slim_tensors, "global_step": np.int64(9)}
    for path in write_checkpoint(tmp_path / "older", older).glob("model*"):
        path.rename(folder / path.name.replace("ckpt-7", "ckpt-9"))
    assert checkpoint.load_weights(new_model(), folder).global_step == 7


STALE = """
import sys
from edgetpu_lib.base.quiet import start_tensorflow
start_tensorflow()
from edgetpu_lib import build, checkpoint
model = build.build_model(
    "efficientnet-edgetpu-S", width_coefficient=0.1, depth_coefficient=0.3,
    num_classes=3, image_size=32,
)
checkpoint.load_weights(model, sys.argv[1])
"""


def test_stale_checkpoint_file_prints_nothing(write_checkpoint, slim_tensors, tmp_path):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    (folder / "checkpoint").write_text('model_checkpoint_path: "gone"\n')
    command = [sys.executable, "-c", STALE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("num_classes", [3, 5])
def test_classifier_can_be_left_as_it_is(
    new_model, slim_checkpoint, slim_tensors, num_classes
):
    model = new_model(num_classes=num_classes)
    own = model.get_layer("logits").get_weights()
    report = checkpoint.load_weights(model, slim_checkpoint, include_classifier=False)
    assert same(own, model.get_layer("logits").get_weights())
    assert set(report.kept) == {f"{S}/head/dense/kernel", f"{S}/head/dense/bias"}
    stem = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    assert np.array_equal(stem, slim_tensors[f"{S}/stem/conv2d/kernel{AVERAGE}"])


LEFTOVERS = {
    f"{S}/stem/conv2d/kernel/RMSProp": (3, 3, 3, 8),
    f"{S}/stem/conv2d/kernel/RMSProp_1": (3, 3, 3, 8),
    f"{S}/stem/conv2d/kernel/Momentum": (3, 3, 3, 8),
    f"{S}/head/dense/bias/Adam": (3,),
    f"{S}/head/dense/bias/Adam_1": (3,),
}


def test_optimizer_slots_are_ignored(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    slots = {name: np.ones(shape, np.float32) for name, shape in LEFTOVERS.items()}
    folder = write_checkpoint(tmp_path / "c", {**slim_tensors, **slots})
    model = new_model()
    report = checkpoint.load_weights(model, folder)
    assert_holds(model, slim_tensors, AVERAGE)
    assert set(LEFTOVERS) <= set(report.ignored)


def test_step_counter_may_be_absent(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    tensors = {n: value for n, value in slim_tensors.items() if n != "global_step"}
    report = checkpoint.load_weights(
        new_model(), write_checkpoint(tmp_path / "c", tensors)
    )
    assert report.global_step is None


def refused(model, path, **options):
    """Return the message of a refusal; the model must not have changed."""
    before = weights_of(model)
    with pytest.raises(InputError) as caught:
        checkpoint.load_weights(model, path, **options)
    assert same(before, weights_of(model))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_missing_path_is_refused(new_model, tmp_path):
    refused(new_model(), tmp_path / "nowhere")


def test_empty_folder_is_refused(new_model, tmp_path):
    refused(new_model(), tmp_path)


def test_file_that_is_no_checkpoint_is_refused(new_model, tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"something else")
    refused(new_model(), path)


def test_folder_of_several_checkpoints_is_refused(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    write_checkpoint(tmp_path / "a", slim_tensors)
    write_checkpoint(tmp_path / "b", slim_tensors)
    refused(new_model(), tmp_path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("suffix", ["data-00000-of-00001", "index"])
def test_truncated_checkpoint_is_refused(
    new_model, write_checkpoint, slim_tensors, tmp_path, suffix, share
):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    path = folder / f"model.ckpt-7.{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(new_model(), folder)


def test_checkpoint_without_data_is_refused(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    (folder / "model.ckpt-7.data-00000-of-00001").unlink()
    refused(new_model(), folder)


def test_flipped_bits_are_refused(new_model, write_checkpoint, slim_tensors, tmp_path):
    folder = write_checkpoint(tmp_path / "c", slim_tensors)
    path = folder / "model.ckpt-7.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), 16):
        content[position] ^= 0x40
    path.write_bytes(content)
    refused(new_model(), folder)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9])
def test_truncated_tarball_is_refused(new_model, slim_checkpoint, tmp_path, share):
    path = as_tarball(slim_checkpoint, tmp_path / "S.tar.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(new_model(), path)


def test_damaged_tarball_is_refused(new_model, slim_checkpoint, tmp_path):
    path = as_tarball(slim_checkpoint, tmp_path / "S.tar.gz")
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    middle = slice(len(content) // 4, 3 * len(content) // 4)
    content[middle] = rng.integers(0, 256, len(content[middle]), np.uint8).tobytes()
    path.write_bytes(content)
    refused(new_model(), path)


def test_tarball_of_something_else_is_refused(new_model, class_folders, tmp_path):
    refused(new_model(), as_tarball(class_folders, tmp_path / "photos.tar.gz"))


def test_other_model_name_is_refused(new_model, slim_checkpoint):
    model = new_model(model_name="efficientnet-edgetpu-M", depth_coefficient=0.3)
    message = refused(model, slim_checkpoint)
    assert S in message
    assert "efficientnet-edgetpu-M" in message


def test_other_width_is_refused(new_model, slim_checkpoint):
    message = refused(new_model(width_coefficient=0.3), slim_checkpoint)
    assert "blocks_" in message or "stem" in message or "head" in message
    assert "of another shape" in message


def test_other_depth_is_refused(new_model, slim_checkpoint):
    deeper = refused(new_model(depth_coefficient=0.6), slim_checkpoint)
    assert "missing" in deeper
    shallower = refused(new_model(depth_coefficient=0.1), slim_checkpoint)
    assert "unexpected" in shallower


def test_other_class_count_is_refused_with_the_remedy(new_model, slim_checkpoint):
    message = refused(new_model(num_classes=5), slim_checkpoint)
    assert "head/dense/kernel" in message
    assert "num_classes" in message


def test_missing_averages_are_refused(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    raw = {n: value for n, value in slim_tensors.items() if AVERAGE not in n}
    folder = write_checkpoint(tmp_path / "c", raw)
    assert "use_ema=False" in refused(new_model(), folder)
    model = new_model()
    checkpoint.load_weights(model, folder, use_ema=False)
    assert_holds(model, raw, "")


@pytest.mark.parametrize("use_ema", [True, False])
def test_one_missing_tensor_is_named(
    new_model, write_checkpoint, slim_tensors, tmp_path, use_ema
):
    gone = f"{S}/blocks_3/tpu_batch_normalization/gamma" + (AVERAGE if use_ema else "")
    tensors = {n: value for n, value in slim_tensors.items() if n != gone}
    folder = write_checkpoint(tmp_path / "c", tensors)
    assert gone in refused(new_model(), folder, use_ema=use_ema)


@pytest.mark.parametrize(
    "name",
    [
        f"{S}/blocks_99/conv2d/kernel",
        f"{S}/blocks_0/se/conv2d/kernel",
        f"{S}/blocks_0/conv2d/bias",
        f"{S}/blocks_0/conv2d/bias{AVERAGE}",
        "other/kernel",
        "stray",
    ],
)
def test_unexpected_tensor_is_named(
    new_model, write_checkpoint, slim_tensors, tmp_path, name
):
    tensors = {**slim_tensors, name: np.ones(3, np.float32)}
    folder = write_checkpoint(tmp_path / "c", tensors)
    assert name in refused(new_model(), folder)


def test_renamed_tensor_is_missing_and_unexpected(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    old, new = f"{S}/stem/conv2d/kernel", f"{S}/stem/conv2d_7/kernel"
    tensors = {n.replace(old, new): value for n, value in slim_tensors.items()}
    message = refused(new_model(), write_checkpoint(tmp_path / "c", tensors))
    assert old in message
    assert new in message


def test_tensor_of_another_shape_is_named_with_both(
    new_model, write_checkpoint, slim_tensors, tmp_path
):
    name = f"{S}/stem/tpu_batch_normalization/beta"
    tensors = {**slim_tensors, name + AVERAGE: np.ones(9, np.float32)}
    message = refused(new_model(), write_checkpoint(tmp_path / "c", tensors))
    assert name in message
    assert "(9,)" in message
    assert "(8,)" in message


def test_saved_model_comes_back_equal(classifier, tmp_path):
    path = checkpoint.save_model(classifier, tmp_path / "deep" / "slim.keras")
    assert path == tmp_path / "deep" / "slim.keras"
    back = checkpoint.load_model(path)
    assert back.name == classifier.name
    assert same(classifier.get_weights(), back.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    predictions = [keras.ops.convert_to_numpy(m(images)) for m in (classifier, back)]
    np.testing.assert_allclose(*predictions, atol=1e-6)
    assert [file.name for file in path.parent.iterdir()] == ["slim.keras"]


def test_saved_model_holds_no_optimizer(tmp_path):
    inputs = keras.Input((100,))
    model = keras.Model(inputs, keras.layers.Dense(300)(inputs))
    plain = checkpoint.save_model(model, tmp_path / "plain.keras")
    model.compile("adam", "mse", jit_compile=False)
    model.train_on_batch(np.zeros((2, 100)), np.zeros((2, 300)))
    trained = checkpoint.save_model(model, tmp_path / "trained.keras")
    assert trained.stat().st_size < 1.1 * plain.stat().st_size


def test_model_must_be_saved_as_keras(classifier, tmp_path):
    with pytest.raises(InputError, match="slim.h5"):
        checkpoint.save_model(classifier, tmp_path / "slim.h5")
    assert list(tmp_path.iterdir()) == []


def test_failed_save_keeps_the_earlier_file(classifier, tmp_path, monkeypatch):
    path = tmp_path / "slim.keras"
    path.write_bytes(b"earlier")

    def fill_the_disk(self, file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", fill_the_disk)
    with pytest.raises(InputError, match="slim.keras"):
        checkpoint.save_model(classifier, path)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "half", "flipped"])
def test_unreadable_model_is_named(classifier, tmp_path, damage):
    path = tmp_path / "slim.keras"
    if damage != "missing":
        whole = checkpoint.save_model(classifier, path).read_bytes()
        middle = len(whole) // 2
        flipped = bytes(255 - byte for byte in whole[middle : middle + 4000])
        content = {
            "empty": b"",
            "text": b"not a model",
            "half": whole[:middle],
            "flipped": whole[:middle] + flipped + whole[middle + 4000 :],
        }
        path.write_bytes(content[damage])
    with pytest.raises(InputError) as caught:
        checkpoint.load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_digest_is_of_weights_alone(new_model):
    """Dropout's random state is no weight; any weight that moves shows."""
    first, second = new_model(seed=1), new_model(seed=2)
    second.set_weights(first.get_weights())
    assert checkpoint.weights_digest(first) == checkpoint.weights_digest(second)
    bias = second.get_layer("logits").bias
    bias.assign(bias + 1)
    assert checkpoint.weights_digest(first) != checkpoint.weights_digest(second)


@pytest.mark.parametrize("name", ["model.tar.gz", "model.tgz", "model.ckpt-1.index"])
def test_pipe_in_place_of_a_checkpoint_is_refused(new_model, tmp_path, name):
    os.mkfifo(tmp_path / name)
    path = tmp_path / name.removesuffix(".index")
    with pytest.raises(InputError, match=path.name):
        checkpoint.load_weights(new_model(), path)
