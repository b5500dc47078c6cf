"""Training learns, repeats itself, freezes what it says, and keeps the best."""

import dataclasses

import keras
import numpy as np
import pytest

from edgetpu_lib import data, evaluate, fine_tune
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.evaluation import classifiers
from edgetpu_lib.images import pixels

SCRATCH = fine_tune.FineTuneConfig(epochs=5, batch_size=8, scratch_learning_rate=5e-3)
GENTLE = fine_tune.FineTuneConfig(
    head_epochs=3,
    epochs=2,
    batch_size=8,
    head_learning_rate=1e-4,
    fine_learning_rate=1e-3,
    unfrozen_blocks=2,
)


@pytest.fixture(scope="module")
def splits(tmp_path_factory, draw_folders):
    """Return 16 + 2 + 5 images of each of three colours."""
    folder = draw_folders(tmp_path_factory.mktemp("training") / "colours", 23, seed=7)
    return data.split_images(data.list_images(folder))


def weights_by_name(model):
    return {w.path: keras.ops.convert_to_numpy(w).copy() for w in model.weights}


def changed(before, model):
    """Return the layers that have a weight unlike `before`."""
    after = weights_by_name(model)
    return {
        path.rsplit("/", 1)[0]
        for path in before
        if not np.array_equal(before[path], after[path])
    }


def validation_loss(model, images):
    arrays = pixels.normalize(data.load_pixels(images, model.input_shape[1]))
    logits = keras.ops.convert_to_numpy(model(arrays)).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_share = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = np.eye(logits.shape[1])[images.labels] * 0.9 + 0.1 / logits.shape[1]
    return -(wanted * log_share).sum(axis=1).mean()


@pytest.fixture(scope="module")
def scratch(new_model, splits):
    """Return a model trained from nothing, and its epochs."""
    model = new_model(depth_coefficient=0.1)
    return model, fine_tune.fine_tune(model, splits, pretrained=False, config=SCRATCH)


def test_training_from_nothing_learns(scratch, splits):
    model, epochs = scratch
    opened = classifiers.open_classifier(model)
    predictions = evaluate.predict(opened, splits["test"], progress=None)
    assert (predictions.best == splits["test"].labels).mean() > 0.6
    assert epochs[-1].loss < epochs[0].loss


def test_every_epoch_is_reported(scratch):
    _, epochs = scratch
    assert [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))
    assert 1 <= len(epochs) <= SCRATCH.epochs
    assert len({epoch.phase for epoch in epochs}) == 1
    for epoch in epochs:
        assert 0 <= epoch.top1 <= 1
        assert 0 <= epoch.validation_top1 <= 1
        assert epoch.seconds > 0
        assert np.isfinite([epoch.loss, epoch.validation_loss]).all()


def test_best_weights_are_kept(scratch, splits):
    model, epochs = scratch
    best = min(epoch.validation_loss for epoch in epochs)
    assert validation_loss(model, splits["validation"]) == pytest.approx(best, abs=1e-4)


def test_seed_decides_the_outcome(new_model, splits, scratch):
    model = new_model(depth_coefficient=0.1)
    epochs = fine_tune.fine_tune(model, splits, pretrained=False, config=SCRATCH)
    first, again = scratch[0].get_weights(), model.get_weights()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert [e.validation_top1 for e in epochs] == [
        e.validation_top1 for e in scratch[1]
    ]


@pytest.fixture(scope="module")
def pretrained(new_model, splits):
    """Return the weights before, between and after the phases, and the epochs."""
    model = new_model(num_classes=3)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # As settled on images: neither zero nor one.
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_mean.shape))
    before = weights_by_name(model)
    changed_by_head = []
    freeze = fine_tune.freeze_until

    def look_then_freeze(given, first_trained):
        changed_by_head.append(changed(before, given))
        freeze(given, first_trained)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tune, "freeze_until", look_then_freeze)
        epochs = fine_tune.fine_tune(model, splits, pretrained=True, config=GENTLE)
    return model, before, changed_by_head, epochs


def test_first_phase_trains_the_classifier_alone(pretrained):
    _, _, changed_by_head, _ = pretrained
    assert changed_by_head == [{"logits"}]


def test_second_phase_trains_the_last_stages_alone(pretrained):
    model, before, _, _ = pretrained
    names = {name for name in changed(before, model) if not name.endswith("_bn")}
    assert names == {
        "block_7_expand_conv",
        "block_7_depthwise_conv",
        "block_7_project_conv",
        "block_8_expand_conv",
        "block_8_depthwise_conv",
        "block_8_project_conv",
        "head_conv",
        "logits",
    }


def test_batch_norm_is_frozen_in_both_phases(pretrained):
    model, before, _, _ = pretrained
    assert not {name for name in changed(before, model) if name.endswith("_bn")}


def test_both_phases_are_reported_in_order(pretrained):
    epochs = pretrained[3]
    phases = list(dict.fromkeys(epoch.phase for epoch in epochs))
    assert len(phases) == 2
    assert [e.epoch for e in epochs if e.phase == phases[0]][0] == 1
    assert [e.epoch for e in epochs if e.phase == phases[1]][0] == 1
    assert sum(e.phase == phases[0] for e in epochs) <= GENTLE.head_epochs
    assert sum(e.phase == phases[1] for e in epochs) <= GENTLE.epochs


def test_best_weights_of_both_phases_are_kept(pretrained, splits):
    model, _, _, epochs = pretrained
    best = min(epoch.validation_loss for epoch in epochs)
    found = validation_loss(model, splits["validation"])
    assert found == pytest.approx(best, abs=1e-3)


def test_harmful_second_phase_changes_nothing(new_model, splits, monkeypatch):
    model = new_model(depth_coefficient=0.1)
    kept = []
    freeze = fine_tune.freeze_until

    def look_then_freeze(given, first_trained):
        kept.append(weights_by_name(given))
        freeze(given, first_trained)

    monkeypatch.setattr(fine_tune, "freeze_until", look_then_freeze)
    config = fine_tune.FineTuneConfig(
        head_epochs=1,
        epochs=1,
        batch_size=8,
        fine_learning_rate=100.0,
        unfrozen_blocks=1,
    )
    fine_tune.fine_tune(model, splits, pretrained=True, config=config)
    assert len(kept) == 1
    assert not changed(kept[0], model)


def test_classes_and_logits_must_match(new_model, splits):
    model = new_model(num_classes=4)
    before = weights_by_name(model)
    with pytest.raises(InputError, match="num_classes=3"):
        fine_tune.fine_tune(model, splits, pretrained=False)
    assert not changed(before, model)


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_damaged_photo_stops_before_the_training(new_model, splits, tmp_path, side):
    broken = tmp_path / "cut.jpg"
    whole = next(path for path in splits[side].paths if path.suffix == ".jpg")
    broken.write_bytes(whole.read_bytes()[:700])
    paths = (*splits[side].paths[:-1], broken)
    damaged = {**splits, side: dataclasses.replace(splits[side], paths=paths)}
    model = new_model()
    before = weights_by_name(model)
    with pytest.raises(InputError, match=str(broken)):
        fine_tune.fine_tune(model, damaged, pretrained=False)
    assert not changed(before, model)


def test_freezing_stops_at_the_named_block(new_model):
    model = new_model()
    fine_tune.freeze_until(model, "block_4")
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    assert not any(name.endswith("_bn") for name in trained)
    assert "block_3_expand_conv" not in trained
    assert {"block_4_expand_conv", "block_8_project_conv", "head_conv"} <= trained
    assert "stem_conv" not in trained


def test_freezing_does_not_mistake_block_1_for_block_10(new_model):
    model = new_model(depth_coefficient=1.0)
    fine_tune.freeze_until(model, "block_1")
    assert model.get_layer("block_1_expand_conv").trainable
    fine_tune.freeze_until(model, "block_10")
    assert not model.get_layer("block_9_expand_conv").trainable
    assert model.get_layer("block_10_expand_conv").trainable


def test_frozen_batch_norm_uses_its_moving_statistics(new_model):
    model = new_model()
    fine_tune.freeze_until(model, "block_0")
    images = np.random.default_rng(0).normal(3, 2, (4, 32, 32, 3)).astype("float32")
    before = weights_by_name(model)
    layer = keras.Model(model.input, model.get_layer("stem_bn").output)
    calm, noisy = (
        keras.ops.convert_to_numpy(layer(images, training=training))
        for training in (False, True)
    )
    assert np.array_equal(calm, noisy)
    assert not changed(before, model)


@pytest.mark.parametrize("name", ["block_99", "block", "stage_2", ""])
def test_unknown_block_is_named_with_the_known_ones(new_model, name):
    model = new_model()
    with pytest.raises(InputError) as caught:
        fine_tune.freeze_until(model, name)
    assert repr(name) in str(caught.value)
    assert "block_8" in str(caught.value)


@pytest.mark.parametrize("field", ["head_epochs", "epochs", "batch_size", "patience"])
def test_numbers_below_one_are_refused(field):
    with pytest.raises(InputError, match=f"{field}=0"):
        fine_tune.FineTuneConfig(**{field: 0})


def numbered(count, side):
    """Return images whose pixels tell the image, the row and the column."""
    images = np.empty((count, side, side, 3), np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    images[..., 1] = np.arange(side)[:, None]
    images[..., 2] = np.arange(side)
    return images


def take(number, count=10, side=12, size=9, batch_size=4, seed=0):
    images = numbered(count, side)
    batches = fine_tune.augmented_batches(
        images, np.arange(count) + 100, size, batch_size, seed
    )
    return [next(batches) for _ in range(number)]


def test_batches_have_the_promised_shapes():
    for images, labels in take(5):
        assert images.shape == (4, 9, 9, 3)
        assert images.dtype == np.float32
        assert labels.shape == (4,)


def test_crops_come_from_their_own_picture():
    for images, labels in take(20):
        found = images * 128 + 127
        for image, label in zip(found, labels, strict=True):
            assert np.all(image[..., 0] == label - 100)
            rows, columns = image[:, 0, 1], image[0, :, 2]
            assert np.array_equal(np.diff(rows), np.ones(8))
            assert abs(np.diff(columns)).tolist() == [1] * 8
            assert len(set(np.diff(columns))) == 1
            assert 0 <= rows.min() <= rows.max() < 12
            assert 0 <= columns.min() <= columns.max() < 12


def test_crops_reach_every_corner_and_are_mirrored_half_of_the_time():
    images = np.concatenate([arrays for arrays, _ in take(100)]) * 128 + 127
    assert set(images[:, 0, 0, 1]) == {0, 1, 2, 3}
    assert set(images[..., 2].min(axis=(1, 2))) == {0, 1, 2, 3}
    mirrored = images[:, 0, 0, 2] > images[:, 0, -1, 2]
    assert 0.35 < mirrored.mean() < 0.65


def test_one_pass_shows_no_picture_twice():
    labels = [label for _, batch in take(2) for label in batch]
    assert len(set(labels)) == 8
    # Two of ten are left out of a pass of batches of four, and others the next time.
    later = {label for _, batch in take(40) for label in batch}
    assert later == set(range(100, 110))


def test_batches_are_decided_by_their_seed():
    first, again, other = take(4), take(4), take(4, seed=1)
    for (a, labels_a), (b, labels_b) in zip(first, again, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(labels_a, labels_b)
    assert any(
        not np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True)
    )


def test_batch_larger_than_the_data_holds_all_of_it():
    (images, labels), _ = take(2, count=3, batch_size=32)
    assert len(images) == 3
    assert sorted(labels) == [100, 101, 102]


def test_augmentation_leaves_the_pictures_alone():
    images = numbered(6, 12)
    before = images.copy()
    batches = fine_tune.augmented_batches(images, np.arange(6), 9, 2, 0)
    for _ in range(9):
        next(batches)
    assert np.array_equal(images, before)
