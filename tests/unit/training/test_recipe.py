"""The recipe is the reference's: rates, losses, one whole step, averages."""

import keras
import numpy as np
import pytest

from edgetpu_lib import build, checkpoint
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.training import fast_layers, recipe

AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture(scope="module")
def step20(shared):
    """Return what the reference computed in its 21st step."""
    path = shared("reference/tiny_training_step20/golden.npz")
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=["model", "twin"])
def after(request, step20, shared):
    """Take the same step; return the model, its averages and the logs."""
    model = build.build_model(
        "efficientnet-edgetpu-S", width_coefficient=0.1, num_classes=11, image_size=96
    )
    if request.param == "twin":
        model = fast_layers.training_twin(model)
    tiny = shared("reference/tiny_checkpoint")
    names = checkpoint.reference_names(model)
    checkpoint.load_weights(model, tiny, use_ema=True)
    averages = recipe.Averages(list(names.values()), 0.9999)
    checkpoint.load_weights(model, tiny, use_ema=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    how = recipe.Recipe(batch_size=8)
    recipe.add_weight_decay(model, how.weight_decay)
    steps_per_epoch = float(step20["steps_per_epoch"])
    optimizer = recipe.ReferenceRMSprop(recipe.LearningRate(how, steps_per_epoch))
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=how.label_smoothing
    )
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    optimizer.build(model.trainable_variables)
    optimizer.iterations.assign(int(step20["start_step"]))
    targets = np.eye(11, dtype=np.float32)[step20["labels"][0]]
    logs = model.train_on_batch(step20["images"], targets, return_dict=True)
    averages.update(int(optimizer.iterations))
    return names, averages, logs


def test_learning_rates_are_the_references(step20):
    how = recipe.Recipe(batch_size=8)
    rate = recipe.LearningRate(how, float(step20["steps_per_epoch"]))
    start = int(step20["start_step"])
    found = [float(rate(start + i)) for i in range(4)]
    np.testing.assert_array_equal(np.float32(found), step20["learning_rate"])


def test_first_loss_is_the_references(after, step20):
    assert after[2]["loss"] == pytest.approx(float(step20["total_loss"][0]), abs=1e-5)


def test_variables_after_one_step_are_the_references(after, step20, request):
    names, _, _ = after
    # The twin's fused operations round in another order.
    kernels = 2e-5 if "twin" in request.node.name else 5e-6
    for name, variable in names.items():
        expected = step20[f"after_step1/{name}"]
        tolerance = 1e-6 if "/moving_" in name else kernels
        found = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance, err_msg=name
        )


def test_averages_after_one_step_are_the_references(after, step20):
    names, averages, _ = after
    for name, found in zip(names, averages.values, strict=True):
        expected = step20[f"average_after_step1/{name}"]
        np.testing.assert_allclose(found, expected, rtol=5e-6, atol=5e-6, err_msg=name)


# Rates, without the reference's files.


def rates(steps, **changes):
    how = recipe.Recipe(batch_size=256, epochs=20, **changes)
    rate = recipe.LearningRate(how, steps_per_epoch=10)
    return [float(rate(step)) for step in steps]


def test_rate_rises_and_goes_down_in_stairs():
    found = rates([0, 25, 49, 50, 71, 72, 95, 96])
    stairs = [0.016 * 0.97**k for k in (2, 2, 3, 3, 4)]
    expected = [0, 0.008, 0.016 * 49 / 50, *stairs]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_cosine_ends_at_zero_and_constant_stays():
    found = rates([50, 100, 200], schedule="cosine")
    expected = [0.008 * (1 + np.cos(np.pi * x)) for x in (0.25, 0.5, 1)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    found = rates([50, 199], schedule="constant")
    np.testing.assert_allclose(found, [0.016, 0.016], rtol=1e-6)


def test_no_warmup():
    assert rates([0], warmup_epochs=0, schedule="constant") == [pytest.approx(0.016)]


@pytest.fixture
def steps_of(monkeypatch):
    """Return a function: optimizer and rates to a variable after as many steps."""
    # A schedule cannot be set from outside.
    monkeypatch.setattr(recipe, "LearningRate", lambda *_: 1.0)
    return take_steps


def take_steps(optimizer, rates):
    """Return a variable after steps with gradients 1, 2, 3 … and these rates."""
    how = recipe.Recipe(batch_size=256, warmup_epochs=0, optimizer=optimizer)
    made = recipe.new_optimizer(how, steps_per_epoch=10)
    variable = keras.Variable([1.0, -2.0])
    made.build([variable])
    for number, rate in enumerate(rates, start=1):
        made.learning_rate = rate
        made.apply([keras.ops.convert_to_tensor([number, 2.0 * number])])
    return np.array(variable)


def test_sgd_follows_the_gradient(steps_of):
    found = steps_of("sgd", [0.1, 0.01])
    np.testing.assert_allclose(found, [1 - 0.12, -2 - 0.24], rtol=1e-6)


def test_momentum_applies_the_rate_to_past_steps_as_tensorflow_1_did(steps_of):
    import tensorflow as tf

    rates = [0.1, 0.1, 0.001]
    value = tf.Variable([1.0, -2.0])
    rate = tf.Variable(0.0)
    older = tf.compat.v1.train.MomentumOptimizer(rate, 0.9)
    for number, now in enumerate(rates, start=1):
        rate.assign(now)
        older.apply_gradients([(tf.constant([number, 2.0 * number]), value)])
    np.testing.assert_allclose(steps_of("momentum", rates), value, rtol=1e-6)


def test_batch_norm_settings_reach_every_layer(new_model):
    model = new_model()
    how = recipe.Recipe(batch_norm_momentum=0.9, batch_norm_epsilon=0.01)
    recipe.set_batch_norm(model, how)
    twin = fast_layers.training_twin(model)
    for kind in (model, twin):
        norms = [layer for layer in kind.layers if layer.name.endswith("_bn")]
        assert norms
        assert {(each.momentum, each.epsilon) for each in norms} == {(0.9, 0.01)}


@pytest.mark.parametrize(
    "changes",
    [
        *({"schedule": "stairs"}, {"epochs": 0}, {"batch_size": -1}),
        *({"optimizer": "lars"}, {"decay_factor": 0.0}, {"label_smoothing": 1.5}),
        *({"batch_norm_momentum": 1.25}, {"batch_norm_epsilon": -0.5}),
        *({"randaug_num_layers": 0}, {"randaug_magnitude": 11}, {"mixup_alpha": -0.5}),
        *({"base_learning_rate": float("nan")}, {"weight_decay": float("nan")}),
    ],
)
def test_bad_recipe_is_refused(changes):
    (value,) = changes.values()
    with pytest.raises(InputError, match=str(value)):
        recipe.Recipe(**changes)


# Averages and decay, without the reference's files.


def test_averages_follow_and_are_applied_for_a_while():
    variable = keras.Variable([1.0, 2.0])
    averages = recipe.Averages([variable], 0.9999)
    variable.assign([3.0, 2.0])
    averages.update(1)
    decay = 2 / 11
    expected = [decay * 1 + (1 - decay) * 3, 2]
    np.testing.assert_allclose(averages.values[0], expected, rtol=1e-6)
    with pytest.raises(KeyError), averages.applied():
        np.testing.assert_allclose(np.array(variable), expected, rtol=1e-6)
        raise KeyError
    np.testing.assert_array_equal(np.array(variable), [3, 2])
    averages.update(10**9)
    expected[0] += 1e-4 * (3 - expected[0])
    np.testing.assert_allclose(averages.values[0], expected, rtol=1e-6)


def test_weight_decay_leaves_batch_normalisation_alone(new_model):
    model = new_model(depth_coefficient=0.1)
    recipe.add_weight_decay(model, 0.2)
    found = float(sum(model.losses))
    expected = sum(
        0.1 * float((np.array(variable) ** 2).sum())
        for layer in model.layers
        if not isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.trainable_variables
    )
    assert found == pytest.approx(expected, rel=1e-5)
    recipe.add_weight_decay(model, 0)
    assert not model.losses
