"""The Keras model: sizes, layers, fresh weights, stochastic depth, other backends."""

import ast
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from edgetpu_lib import build, specs
from edgetpu_lib.base.artifacts import InputError

S, M, L = specs.SPECS


@pytest.fixture(scope="module")
def full_size():
    """Return S as published, with fresh weights; read only."""
    keras.utils.set_random_seed(0)
    return build.build_model(S)


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


@pytest.mark.parametrize(("name", "num_classes"), [(S, 1000), (M, 1001), (L, 1001)])
def test_built_model_has_as_many_parameters_as_its_spec(name, num_classes):
    model = build.build_model(name, num_classes=num_classes)
    counted = specs.count_parameters(specs.model_spec(name, num_classes=num_classes))
    assert (count(model.trainable_variables), model.count_params()) == counted


def test_s_has_as_many_parameters_as_published(full_size):
    assert count(full_size.trainable_variables) == 5_439_673
    assert full_size.count_params() == 5_491_113


@pytest.mark.parametrize("width", [0.1, 0.5])
def test_slim_model_has_as_many_parameters_as_its_spec(width):
    model = build.build_model(M, num_classes=7, width_coefficient=width)
    spec = specs.model_spec(M, num_classes=7, width_coefficient=width)
    assert model.count_params() == specs.count_parameters(spec)[1]


@pytest.mark.parametrize(("name", "size"), [(S, 224), (M, 240), (L, 300)])
def test_image_size_defaults_to_the_models_own(name, size):
    model = build.build_model(name, width_coefficient=0.1)
    assert model.name == name
    assert model.input_shape == (None, size, size, 3)
    assert model.output_shape == (None, 1001)


def test_first_block_widens_32_channels_to_96(full_size):
    first = full_size.get_layer("block_0_expand_conv")
    assert first.kernel.shape == (3, 3, 32, 96)


def test_only_plain_layers_are_used(full_size):
    assert {type(layer).__name__ for layer in full_size.layers} == {
        "InputLayer",
        "Conv2D",
        "DepthwiseConv2D",
        "BatchNormalization",
        "ReLU",
        "Dropout",
        "Add",
        "AveragePooling2D",
        "Flatten",
        "Dense",
    }


def test_relu_is_the_only_activation(full_size):
    for layer in full_size.layers:
        activation = getattr(layer, "activation", keras.activations.linear)
        assert activation is keras.activations.linear, layer.name
    for relu in layers_of(full_size, layers.ReLU):
        assert (relu.max_value, relu.negative_slope, relu.threshold) == (None, 0, 0)


def test_every_convolution_pads_as_tensorflow_and_has_no_bias(full_size):
    kernels = layers_of(full_size, (layers.Conv2D, layers.DepthwiseConv2D))
    assert len(kernels) == 1 + 7 * 2 + 11 * 3 + 1
    for layer in kernels:
        assert layer.padding == "same", layer.name
        assert not layer.use_bias, layer.name


def test_every_convolution_is_normalised_as_published(full_size):
    norms = layers_of(full_size, layers.BatchNormalization)
    assert len(norms) == 1 + 7 * 2 + 11 * 3 + 1
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.99, 1e-3)}


def test_last_map_is_pooled_as_a_whole(full_size):
    pool = full_size.get_layer("pooled_features")
    assert pool.pool_size == (7, 7)
    assert pool.output.shape == (None, 1, 1, 1280)


@pytest.mark.parametrize("name", [S, L])
def test_dropout_before_the_classifier(name):
    model = build.build_model(name, width_coefficient=0.1, image_size=32)
    assert model.get_layer("head_dropout").rate == specs.SPECS[name].dropout_rate
    other = build.build_model(name, width_coefficient=0.1, dropout_rate=0.45)
    assert other.get_layer("head_dropout").rate == 0.45


def fan_out(layer):
    kernel = layer.kernel
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.shape[0] * kernel.shape[1]
    return kernel.shape[0] * kernel.shape[1] * kernel.shape[3]


def test_fresh_convolutions_are_normal_by_fan_out(full_size):
    for layer in layers_of(full_size, (layers.Conv2D, layers.DepthwiseConv2D)):
        values = keras.ops.convert_to_numpy(layer.kernel).ravel()
        unit = values / np.sqrt(2 / fan_out(layer))
        # Five standard errors of a mean and of a standard deviation.
        assert abs(unit.mean()) < 5 / np.sqrt(len(unit)), layer.name
        assert abs(unit.std() - 1) < 5 / np.sqrt(2 * len(unit)), layer.name


def test_fresh_convolutions_are_not_truncated(full_size):
    layer = full_size.get_layer("head_conv")
    unit = keras.ops.convert_to_numpy(layer.kernel) / np.sqrt(2 / fan_out(layer))
    assert np.mean(np.abs(unit) > 2) == pytest.approx(0.0455, abs=0.002)


def test_fresh_classifier_is_uniform_by_units(full_size):
    kernel, bias = full_size.get_layer("logits").get_weights()
    limit = 1 / np.sqrt(1001)
    assert np.abs(kernel).max() <= limit
    assert np.abs(kernel).max() > 0.999 * limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert not bias.any()


def test_seed_decides_the_fresh_weights(new_model):
    first, again, other = (new_model(seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_every_skip_drops_as_its_block_says():
    model = build.build_model(M, width_coefficient=0.1, survival_prob=0.6)
    spec = specs.model_spec(M, width_coefficient=0.1, survival_prob=0.6)
    expected = {
        f"block_{block.index}_drop": pytest.approx(block.drop_rate)
        for block in specs.expand_blocks(spec)
        if block.skip
    }
    found = {
        layer.name: layer.rate
        for layer in layers_of(model, layers.Dropout)
        if layer.name.startswith("block_")
    }
    assert found == expected
    assert len(found) == len(layers_of(model, layers.Add)) > 10


@pytest.fixture(scope="module")
def last_skip(new_model):
    """Return a model of what enters, what is computed in, and what leaves a block."""
    # The block's rate is half of 0.9 times its place, so many samples are dropped.
    model = new_model(survival_prob=0.1)
    adds = layers_of(model, layers.Add)
    entering = adds[-1].input[0]
    computed = model.get_layer(adds[-1].name.replace("_add", "_project_bn")).output
    drop = model.get_layer(adds[-1].name.replace("_add", "_drop"))
    probe = keras.Model(model.input, [entering, computed, adds[-1].output])
    return probe, 1 - drop.rate


def run(model, images, training):
    outputs = model(images, training=training)
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def test_training_drops_whole_samples_and_scales_survivors(last_skip):
    probe, survival = last_skip
    keras.utils.set_random_seed(3)
    images = np.random.default_rng(3).normal(size=(400, 32, 32, 3)).astype("float32")
    entering, computed, leaving = run(probe, images, training=True)
    added = leaving - entering
    dropped = np.array([not sample.any() for sample in added])
    assert 1 - dropped.mean() == pytest.approx(survival, abs=0.1)
    np.testing.assert_allclose(
        added[~dropped], computed[~dropped] / survival, rtol=1e-3, atol=1e-4
    )


def test_inference_drops_nothing(last_skip):
    probe, _ = last_skip
    images = np.random.default_rng(3).normal(size=(8, 32, 32, 3)).astype("float32")
    entering, computed, leaving = run(probe, images, training=False)
    np.testing.assert_allclose(leaving, entering + computed, rtol=1e-6, atol=1e-6)


def test_inference_is_deterministic_and_training_is_not(new_model):
    model = new_model(survival_prob=0.5)
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    calm = [keras.ops.convert_to_numpy(model(images)) for _ in range(2)]
    assert np.array_equal(*calm)
    noisy = [keras.ops.convert_to_numpy(model(images, training=True)) for _ in range(2)]
    assert not np.array_equal(*noisy)


def test_one_picture_does_not_change_the_answer_to_another(new_model):
    model = new_model()
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    together = keras.ops.convert_to_numpy(model(images))
    alone = keras.ops.convert_to_numpy(model(images[2:3]))
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("endpoint", "shape"),
    [
        ("reduction_1", (112, 112, 24)),
        ("reduction_2", (56, 56, 32)),
        ("reduction_3", (28, 28, 48)),
        ("reduction_4", (14, 14, 144)),
        ("reduction_5", (7, 7, 192)),
        ("pooled_features", (1, 1, 1280)),
        ("logits", (1001,)),
        ("stem_relu", (112, 112, 32)),
        ("block_2_add", (56, 56, 32)),
        ("stem", (112, 112, 32)),
        ("block_0", (112, 112, 24)),
        ("block_2", (56, 56, 32)),
        ("features", (7, 7, 192)),
        ("head_1x1", (7, 7, 1280)),
        ("head", (1001,)),
    ],
)
def test_endpoints_have_the_published_shapes(full_size, endpoint, shape):
    features = build.feature_model(full_size, endpoint)
    assert features.output_shape == (None, *shape)
    assert features.input_shape == full_size.input_shape


def test_a_block_ends_behind_its_sum(full_size):
    ends = {
        n: build.feature_model(full_size, n).output for n in ("block_2", "features")
    }
    assert ends["block_2"] is full_size.get_layer("block_2_add").output
    assert ends["features"] is full_size.get_layer("head_conv").input


def test_endpoints_share_the_weights(new_model):
    model = new_model()
    features = build.feature_model(model, "reduction_2")
    images = np.ones((1, 32, 32, 3), "float32")
    before = keras.ops.convert_to_numpy(features(images))
    model.get_layer("stem_conv").kernel.assign(model.get_layer("stem_conv").kernel * 2)
    assert not np.allclose(before, keras.ops.convert_to_numpy(features(images)))


def test_pooled_features_are_the_mean_of_the_last_map(new_model):
    model = new_model(image_size=64)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    last = keras.ops.convert_to_numpy(build.feature_model(model, "head_relu")(images))
    assert last.shape[1:3] == (2, 2)
    pooled = build.feature_model(model, "pooled_features")(images)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(pooled)[:, 0, 0], last.mean(axis=(1, 2)), atol=1e-5
    )


@pytest.mark.parametrize("endpoint", ["reduction_6", "reduction_0", "", "nose"])
def test_unknown_endpoint_is_named(new_model, endpoint):
    with pytest.raises(InputError) as caught:
        build.feature_model(new_model(), endpoint)
    assert repr(endpoint) in str(caught.value)
    assert "pooled_features" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model_name": "resnet50"}, "resnet50"),
        ({"model_name": S, "num_classes": 0}, "num_classes=0"),
        ({"model_name": S, "image_size": 16}, "image_size=16"),
        ({"model_name": S, "width_coefficient": -1}, "width_coefficient=-1"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(InputError, match=named):
        build.build_model(**arguments)


@pytest.mark.parametrize("size", [32, 33, 75, 97])
def test_odd_image_sizes_build_and_run(new_model, size):
    model = new_model(image_size=size)
    logits = model(np.zeros((1, size, size, 3), "float32"))
    assert logits.shape == (1, 3)


def test_model_code_imports_only_keras_and_this_library():
    with open(build.__file__, encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported == {"__future__", "keras", "edgetpu_lib"}


ON_JAX = """
import sys
import keras
import numpy as np
from edgetpu_lib import build

assert keras.backend.backend() == "jax"
folder = sys.argv[1]
model = build.build_model("efficientnet-edgetpu-S", width_coefficient=0.1,
                          depth_coefficient=0.1, num_classes=3, image_size=32)
with np.load(folder + "/weights.npz") as arrays:
    images = arrays["images"]
    model.set_weights([arrays[str(i)] for i in range(len(model.weights))])
np.save(folder + "/logits.npy", model.predict(images, verbose=0))
print(model.count_params())
"""


def test_jax_builds_the_same_model(new_model, tmp_path, repo_root):
    model = new_model(depth_coefficient=0.1)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    weights = {str(i): value for i, value in enumerate(model.get_weights())}
    np.savez(tmp_path / "weights.npz", images=images, **weights)
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(tmp_path)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            # Compiles three times as fast.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) == model.count_params()
    ours = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), ours, atol=1e-4)
