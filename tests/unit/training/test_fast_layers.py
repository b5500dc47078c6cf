"""The twin for training answers, learns and freezes as the model it was made of."""

import keras
import numpy as np
import pytest

from edgetpu_lib import fine_tune
from edgetpu_lib.training import fast_layers


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 37, 37, 3)).astype(np.float32)
    return images, np.eye(3, dtype=np.float32)[rng.integers(0, 3, 6)]


@pytest.fixture
def pair(new_model):
    """Return a model without randomness in training, and its twin."""
    model = new_model(image_size=37, dropout_rate=0.0, survival_prob=1.0)
    return model, fast_layers.training_twin(model)


def step(model, batch):
    """Take one plain step of gradient descent; return its loss and all weights."""
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    loss = model.train_on_batch(*batch)
    return float(loss), [keras.ops.convert_to_numpy(w) for w in model.weights]


def test_twin_has_the_same_names_and_answers(pair, batch):
    model, twin = pair
    assert [layer.name for layer in twin.layers] == [la.name for la in model.layers]
    expected = model.predict_on_batch(batch[0])
    np.testing.assert_allclose(twin.predict_on_batch(batch[0]), expected, atol=1e-5)


def test_twin_shares_no_variable(pair):
    model, twin = pair
    before = [keras.ops.convert_to_numpy(w).copy() for w in model.weights]
    for weight in twin.weights:
        weight.assign(weight + 1)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


# That the twin takes the reference's step, variable by variable, is in test_recipe.py.


def test_frozen_twin_keeps_its_statistics(pair, batch):
    model, _ = pair
    fine_tune.freeze_until(model, "block_4")
    twin = fast_layers.training_twin(model)
    before = {w.path: keras.ops.convert_to_numpy(w).copy() for w in twin.weights}
    step(twin, batch)
    changed = {
        weight.path.split("/")[0]
        for weight in twin.weights
        if not np.array_equal(weight, before[weight.path])
    }
    assert "block_4_project_conv" in changed and "logits" in changed
    assert not {n for n in changed if n.endswith("_bn") or n.startswith("block_3")}


def test_frozen_twin_takes_the_model_s_step(pair, batch):
    model, _ = pair
    fine_tune.freeze_until(model, "block_4")
    twin = fast_layers.training_twin(model)
    loss, expected = step(model, batch)
    twin_loss, found = step(twin, batch)
    assert twin_loss == pytest.approx(loss, abs=1e-5)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_only_float32_gets_other_layers(new_model):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        twin = fast_layers.training_twin(new_model())
    finally:
        keras.config.set_dtype_policy(policy)
    kinds = {type(layer).__module__ for layer in twin.layers}
    assert not any(kind.startswith("edgetpu_lib") for kind in kinds)
    assert twin.get_layer("logits").compute_dtype == "float32"
