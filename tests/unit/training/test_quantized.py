"""The integer-unit twin computes what the int8 file computes, and can be trained."""

import keras
import numpy as np
import pytest

from edgetpu_lib import calibrate, convert, data, fine_tune
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import edit, interpreter
from edgetpu_lib.training import examples, loop, quantized

SETTINGS = fine_tune.FineTuneConfig(
    epochs=6, batch_size=8, scratch_learning_rate=5e-3, quantize_epochs=2
)


def limits_of(model, arrays):
    content = convert.to_float_tflite(convert.with_softmax(model))
    found = calibrate.measure_ranges(content, arrays)
    return found.limits(quantized.measured_layers(model))


def logits_of_file(content, arrays):
    """Return the file's logits in steps: what its softmax takes."""
    graph = edit.unpack(content).subgraphs[0]
    index = int(graph.operators[-2].inputs[0])
    zero_point = graph.tensors[index].quantization.zeroPoint[0]
    opened = interpreter.start(edit.with_outputs(content, [index]))
    rows = []
    for image in arrays:
        opened.set_tensor(opened.get_input_details()[0]["index"], image[None])
        opened.invoke()
        rows.append(opened.get_tensor(index)[0].astype(int) - zero_point)
    return np.array(rows)


def logits_of_twin(twin, arrays):
    logits = np.asarray(twin.predict_on_batch(pixels.normalize(arrays)))
    step = twin.logit_step
    assert np.abs(logits / step - np.rint(logits / step)).max() < 1e-3
    return np.rint(logits / step).astype(int)


@pytest.fixture(scope="module")
def splits(tmp_path_factory, draw_folders):
    """Return the splits of 23 images of each of three colours."""
    folder = draw_folders(tmp_path_factory.mktemp("quantized") / "colours", 23, seed=7)
    return data.split_images(data.list_images(folder))


@pytest.fixture(scope="module")
def arrays(splits):
    """Return all images as the device receives them."""
    sides = [calibrate.device_images(side, 32) for side in splits.values()]
    return np.stack([image for side in sides for image in side])


@pytest.fixture(scope="module")
def trained(new_model, splits):
    """Return a float model that knows the colours."""
    model = new_model(depth_coefficient=0.1)
    fine_tune.fine_tune(model, splits, pretrained=False, config=SETTINGS)
    return model


@pytest.fixture(scope="module")
def moved(trained, splits, arrays):
    """Return a model that was trained on in 8 bits, its limits, and what it was."""
    model = keras.models.clone_model(trained)
    model.set_weights(trained.get_weights())
    limits = limits_of(model, arrays)
    with pytest.MonkeyPatch.context() as patch:
        # A start that is worse than any epoch: the weights must move.
        patch.setattr(loop, "evaluate", _falling(loop.evaluate))
        epochs = fine_tune.quantize_aware(model, splits, limits, config=SETTINGS)
    return model, limits, epochs


def _falling(evaluate):
    losses = iter(range(100, 0, -1))

    def evaluate_lower(*args, **options):
        return float(next(losses)), evaluate(*args, **options)[1]

    return evaluate_lower


def test_file_and_twin_agree_on_weights_that_moved(moved, trained, arrays):
    model, limits, epochs = moved
    assert len(epochs) == SETTINGS.quantize_epochs
    changes = [
        np.abs(now - then).max()
        for now, then in zip(model.get_weights(), trained.get_weights(), strict=True)
    ]
    assert np.median([change for change in changes if change]) > 1e-3
    content = convert.to_int8_with_limits(convert.with_softmax(model), limits)
    of_file = logits_of_file(content, arrays)
    of_twin = logits_of_twin(quantized.Twin(model, limits), arrays)
    assert (np.abs(of_file - of_twin) <= 1).mean() >= 0.98
    same = of_file.argmax(axis=1) == of_twin.argmax(axis=1)
    assert same.mean() >= 0.99
    assert len(set(of_file.argmax(axis=1))) > 1


def test_batch_norm_statistics_stay(moved, trained):
    model, _, _ = moved
    for now, then in zip(model.layers, trained.layers, strict=True):
        if isinstance(now, keras.layers.BatchNormalization):
            np.testing.assert_array_equal(now.moving_mean, then.moving_mean)
            np.testing.assert_array_equal(now.moving_variance, then.moving_variance)


def test_limits_give_the_same_file_as_measured_ranges(trained, arrays):
    model = convert.with_softmax(trained)
    limits = limits_of(trained, arrays)
    assert convert.to_int8_with_limits(model, limits) == convert.to_int8_tflite(
        model, arrays
    )


def test_grid_is_that_of_the_file(moved):
    model, limits, _ = moved
    content = convert.to_int8_with_limits(convert.with_softmax(model), limits)
    tensors = edit.unpack(content).subgraphs[0].tensors
    found = {
        (float(each.quantization.scale[0]), int(each.quantization.zeroPoint[0]))
        for each in tensors
        if each.quantization is not None and each.quantization.scale is not None
    }
    for ends in limits.values():
        grid = quantized.Grid.of(ends)
        # The converter computes some scales in float32.
        near = [point for step, point in found if abs(step / grid.step - 1) < 1e-6]
        assert -128 - grid.lowest in near


@pytest.mark.parametrize("size", [32, 96])
def test_pool_rounds_as_the_file_does(new_model, size):
    """Of four or nine values a pool often lies between two steps."""
    model = new_model(image_size=size)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, size, size, 3), np.uint8)
    limits = limits_of(model, images)
    content = convert.to_int8_with_limits(convert.with_softmax(model), limits)
    for name, equal, within_one in layer_agreement(model, limits, content, images):
        assert equal > 0.98, name
        assert within_one == 1, name


def layer_agreement(model, limits, content, images):
    """Yield each operator's shares of values that are equal and within one step.

    Each operator of the twin gets the file's own inputs.
    """
    graph = edit.unpack(content).subgraphs[0]
    # Without the QUANTIZE at each end and the softmax.
    indices = [int(operator.outputs[0]) for operator in graph.operators[1:-2]]
    operations = quantized.Twin(model, limits).plan
    opened = interpreter.start(edit.with_outputs(content, indices))
    values = {}
    for image in images:
        opened.set_tensor(opened.get_input_details()[0]["index"], image[None])
        opened.invoke()
        of_image = {id(model.inputs[0]): image[None].astype(np.float32) - 127}
        remaining = iter(indices)
        for operation in operations:
            taken = [of_image[index] for index in operation.inputs]
            computed = np.asarray(operation.compute(taken, False))
            of_image[operation.output] = computed
            if isinstance(
                operation.layer, (keras.layers.Dropout, keras.layers.Flatten)
            ):
                continue
            index = next(remaining)
            zero_point = np.float32(graph.tensors[index].quantization.zeroPoint[0])
            found = opened.get_tensor(index).astype(np.float32) - zero_point
            values.setdefault(operation.layer.name, []).append(np.abs(found - computed))
            of_image[operation.output] = found
    for name, differences in values.items():
        together = np.concatenate([each.ravel() for each in differences])
        yield name, (together == 0).mean(), (together <= 1).mean()


def test_gradient_reaches_every_weight(trained, arrays):
    import tensorflow as tf

    for layer in trained.layers:
        layer.trainable = True
    twin = quantized.Twin(trained, limits_of(trained, arrays))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(twin(pixels.normalize(arrays[:16])) ** 2)
    gradients = tape.gradient(loss, [v.value for v in twin.trainable_variables])
    assert len(gradients) == len(trained.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert np.mean([np.abs(gradient).max() > 0 for gradient in gradients]) > 0.9


def test_fewer_bits_have_fewer_values(trained, arrays):
    limits = limits_of(trained, arrays)
    coarse = quantized.Precision(weight_bits=4, activation_bits=4, per_channel=False)
    twin = quantized.Twin(trained, limits, coarse)
    assert len(np.unique(logits_of_twin(twin, arrays))) <= 16


def test_training_repairs_coarse_weights(trained, splits, arrays):
    model = keras.models.clone_model(trained)
    model.set_weights(trained.get_weights())
    limits = limits_of(model, arrays)
    coarse = quantized.Precision(weight_bits=3, per_channel=False)
    held_out = examples.from_images(splits["train"], 32, progress="images")

    def loss():
        twin = quantized.Twin(model, limits, coarse)
        return loop.evaluate(twin, examples.in_order(held_out))[0]

    before = loss()
    fine_tune.quantize_aware(model, splits, limits, config=SETTINGS, precision=coarse)
    assert loss() < before


def test_start_is_kept_if_nothing_is_better(trained, splits, arrays, monkeypatch):
    model = keras.models.clone_model(trained)
    model.set_weights(trained.get_weights())
    worse = iter(range(100))
    monkeypatch.setattr(loop, "evaluate", lambda *_, **__: (float(next(worse)), 0.5))
    fine_tune.quantize_aware(model, splits, limits_of(model, arrays), config=SETTINGS)
    for now, then in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def test_missing_range_and_foreign_layer_are_named(trained, arrays):
    limits = limits_of(trained, arrays)
    del limits["logits"]
    with pytest.raises(InputError, match="logits"):
        quantized.Twin(trained, limits)
    with pytest.raises(InputError, match="logits"):
        convert.to_int8_with_limits(convert.with_softmax(trained), limits)
    foreign = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.UpSampling2D()])
    with pytest.raises(InputError, match="UpSampling2D"):
        quantized.measured_layers(foreign)


@pytest.mark.parametrize("name", ["weight_bits", "activation_bits"])
@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range_are_refused(name, bits):
    with pytest.raises(InputError, match=str(bits)):
        quantized.Precision(**{name: bits})
