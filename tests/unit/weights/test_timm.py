"""timm's files: equal to timm, or refused without touching the model."""

import json
import struct

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgetpu_lib import build, specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.weights import timm

S = "efficientnet-edgetpu-S"
TOLERANCE = 5e-5


def tiny(**overrides):
    given = {"width_coefficient": 0.1, "num_classes": 10, "image_size": 96}
    return build.build_model(S, **{**given, **overrides})


@pytest.fixture(scope="module")
def timm_file(repo_root):
    return repo_root / "tests/golden/tiny_timm.safetensors"


@pytest.fixture(scope="module")
def timm_golden(repo_root):
    with np.load(repo_root / "tests/golden/tiny_timm_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def loaded(timm_file):
    """Return a model with timm's weights, and the report; read only."""
    model = tiny()
    return model, timm.load_timm_weights(model, timm_file)


@pytest.fixture(scope="module")
def fresh():
    """Return a model for refusals, which leave it as it is."""
    return tiny()


@pytest.fixture
def tensors(timm_file):
    return load_file(timm_file)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes tensors as a file."""

    def write(tensors):
        path = tmp_path / "model.safetensors"
        save_file(tensors, path)
        return path

    return write


@pytest.mark.parametrize(
    ("key", "layer"), [("logits", "logits"), ("features", "head_relu")]
)
def test_outputs_equal_timm(loaded, timm_golden, key, layer):
    part = build.feature_model(loaded[0], layer)
    found = keras.ops.convert_to_numpy(part(timm_golden["input"]))
    np.testing.assert_allclose(found, timm_golden[key], rtol=0, atol=TOLERANCE)


def test_report_accounts_for_every_tensor(loaded, tensors, timm_file):
    model, report = loaded
    assert report.checkpoint == str(timm_file)
    assert set(report.loaded) == set(tensors)
    assert len(report.loaded) == len(model.weights)
    assert report.kept == report.ignored == ()
    assert report.global_step is None
    assert not report.use_ema


def test_values_are_loaded_unchanged(loaded, tensors):
    for name, variable in timm.timm_names(loaded[0]).items():
        found = np.sort(keras.ops.convert_to_numpy(variable), axis=None)
        assert np.array_equal(found, np.sort(tensors[name], axis=None)), name


# Source: block strings of timm's `_gen_efficientnet_edge`, repeats scaled by the depth.
@pytest.mark.parametrize(
    ("name", "depth", "repeats"),
    [
        ("S", None, [1, 2, 4, 5, 4, 2]),
        ("M", None, [2, 3, 5, 6, 5, 3]),
        ("L", None, [2, 3, 6, 7, 6, 3]),
        ("S", 0.3, [1, 1, 2, 2, 2, 1]),
        ("S", 2.0, [2, 4, 8, 10, 8, 4]),
    ],
)
def test_every_weight_has_timms_name(name, depth, repeats):
    model = build.build_model(
        f"efficientnet-edgetpu-{name}",
        width_coefficient=0.1,
        depth_coefficient=depth,
        image_size=32,
    )
    scopes = {"conv_stem": "w", "bn1": "n", "conv_head": "w", "bn2": "n"}
    for stage, count in enumerate(repeats):
        fused = {"conv_exp": "w", "bn1": "n", "conv_pwl": "w", "bn2": "n"}
        inverted = {"conv_pw": "w", "conv_dw": "w", "conv_pwl": "w"}
        inverted |= {"bn1": "n", "bn2": "n", "bn3": "n"}
        layers = fused if stage < 3 else inverted
        for block in range(count):
            scopes |= {f"blocks.{stage}.{block}.{k}": v for k, v in layers.items()}
    leaves = {"w": ["weight"], "n": ["weight", "bias", "running_mean", "running_var"]}
    expected = {f"{s}.{leaf}" for s, kind in scopes.items() for leaf in leaves[kind]}
    expected |= {"classifier.weight", "classifier.bias"}
    names = timm.timm_names(model)
    assert set(names) == expected
    assert len({id(variable) for variable in names.values()}) == len(model.weights)


def test_number_of_blocks_tells_the_stages():
    for depth in np.linspace(0.05, 3, 400):
        spec = specs.model_spec(S, depth_coefficient=float(depth))
        stages = [block.stage - 1 for block in specs.expand_blocks(spec)]
        found = timm._block_positions(len(stages))
        assert [stage for stage, _ in found] == stages, depth


def test_model_of_another_family_is_refused(timm_file):
    inputs = keras.Input((100,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs))
    with pytest.raises(InputError, match="dense"):
        timm.load_timm_weights(model, timm_file)


def test_counters_of_batches_are_ignored(tensors, write, timm_golden):
    counter = "blocks.3.0.bn2.num_batches_tracked"
    model = tiny()
    path = write({**tensors, counter: np.array(5, np.int64)})
    report = timm.load_timm_weights(model, path)
    assert report.ignored == (counter,)
    found = keras.ops.convert_to_numpy(model(timm_golden["input"]))
    np.testing.assert_allclose(found, timm_golden["logits"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("num_classes", [5, 10])
def test_classifier_can_be_left_as_it_is(timm_file, tensors, num_classes):
    model = tiny(num_classes=num_classes)
    own = [w.copy() for w in model.get_layer("logits").get_weights()]
    report = timm.load_timm_weights(model, timm_file, include_classifier=False)
    kept = model.get_layer("logits").get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(own, kept, strict=True))
    assert set(report.kept) == {"classifier.weight", "classifier.bias"}
    assert set(report.ignored) == set(report.kept)
    assert set(report.loaded) == set(tensors) - set(report.kept)
    stem = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    assert np.array_equal(stem, tensors["conv_stem.weight"].transpose(2, 3, 1, 0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_become_float32_exactly(tensors, write, dtype):
    import ml_dtypes

    dtype = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
    short = {name: value.astype(dtype) for name, value in tensors.items()}
    model = tiny()
    timm.load_timm_weights(model, write(short))
    found = keras.ops.convert_to_numpy(model.get_layer("head_conv").kernel)[0, 0].T
    assert found.dtype == np.float32
    expected = short["conv_head.weight"].astype(np.float32)[:, :, 0, 0]
    assert np.array_equal(found, expected)


def refused(model, path, **options):
    """Return the message of a refusal; the model must not have changed."""
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(InputError) as caught:
        timm.load_timm_weights(model, path, **options)
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_background_class_is_refused_with_the_remedy(timm_file):
    message = refused(tiny(num_classes=11), timm_file)
    assert "classifier.weight" in message
    assert "num_classes=10" in message
    assert "background" in message
    assert "include_classifier=False" in message


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ({"width_coefficient": 0.3}, "of another shape (conv_stem.weight is"),
        ({"depth_coefficient": 0.3}, "unexpected (blocks.1.1."),
        ({"depth_coefficient": 2.0}, "missing (blocks.0.1."),
    ],
)
def test_another_network_is_refused(timm_file, override, problem):
    message = refused(tiny(**override), timm_file)
    assert problem in message
    assert "width, depth" in message


@pytest.mark.parametrize(
    "name",
    ["conv_stem.weight", "blocks.3.2.conv_dw.weight", "bn2.running_var"],
)
def test_missing_tensor_is_named(fresh, tensors, write, name):
    del tensors[name]
    message = refused(fresh, write(tensors))
    assert f"1 missing ({name})" in message


def test_missing_classifier_is_refused_with_the_remedy(fresh, tensors, write):
    del tensors["classifier.weight"], tensors["classifier.bias"]
    assert "include_classifier=False" in refused(fresh, write(tensors))


@pytest.mark.parametrize(
    "name",
    ["conv_stem.bias", "blocks.3.9.conv_dw.weight", "blocks.0.0.se.weight", "stray"],
)
def test_unexpected_tensor_is_named(fresh, tensors, write, name):
    message = refused(fresh, write({**tensors, name: np.ones(3, np.float32)}))
    assert f"1 unexpected ({name})" in message


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv_stem.weight", (3, 3, 3, 8)),
        ("blocks.3.0.conv_dw.weight", (1, 64, 5, 5)),
        ("blocks.3.0.conv_pw.weight", (64, 8)),
        ("bn1.weight", (9,)),
        ("bn1.bias", ()),
    ],
)
def test_tensor_of_another_shape_is_named_with_both(fresh, tensors, write, name, shape):
    needed = tensors[name].shape
    message = refused(fresh, write({**tensors, name: np.ones(shape, np.float32)}))
    assert f"1 of another shape ({name} is {shape}" in message
    assert str(needed) in message


@pytest.mark.parametrize("dtype", ["int8", "int64", "float64"])
def test_tensor_of_another_type_is_named(fresh, tensors, write, dtype):
    value = tensors["conv_stem.weight"].astype(dtype)
    message = refused(fresh, write({**tensors, "conv_stem.weight": value}))
    assert f"conv_stem.weight is {dtype}" in message


@pytest.mark.parametrize(
    "damage", ["missing", "folder", "empty", "text", "zip", "half", "header"]
)
def test_unreadable_file_is_refused(fresh, timm_file, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    whole = timm_file.read_bytes()
    content = {
        "empty": b"",
        "text": b"not a model",
        "zip": b"PK\x03\x04" + bytes(1000),
        "half": whole[: len(whole) // 2],
        "header": whole[:100] + b"\xff" * 50 + whole[150:],
    }
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[damage])
    assert "model.safetensors" in refused(fresh, path)


def test_numbers_that_numpy_lacks_are_refused(fresh, tmp_path):
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    header = json.dumps({"conv_stem.weight": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    refused(fresh, path)


def test_inputs_of_the_golden_values_are_normalised_as_ours(timm_golden, golden):
    found = pixels.normalize(golden["preprocessed_bicubic"])
    assert np.array_equal(found, timm_golden["input"])
