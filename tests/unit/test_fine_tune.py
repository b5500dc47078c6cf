"""Fine-tuning learns, repeats itself, freezes layers, keeps the best and resumes."""

import dataclasses
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from edgetpu_lib import checkpoint, data, evaluate, fine_tune
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.evaluation import classifiers
from edgetpu_lib.images import pixels
from edgetpu_lib.training import examples, loop

# A busy machine takes minutes for the first step.
HANGS_AFTER_S = 900
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


# Compared with the code that held all images in memory; see tests/golden/README.md.


@pytest.fixture(scope="module")
def in_memory(repo_root):
    with np.load(repo_root / "tests/golden/fine_tune_golden.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("run", "pretrained", "numbers"),
    [
        ("all_layers", False, {"epochs": 3, "scratch_learning_rate": 2e-4}),
        (
            "two_phases",
            True,
            {
                "head_epochs": 3,
                "epochs": 2,
                "head_learning_rate": 1e-3,
                "fine_learning_rate": 1e-4,
                "unfrozen_blocks": 2,
            },
        ),
    ],
)
def test_streamed_images_train_as_those_in_memory(
    in_memory, new_model, splits, run, pretrained, numbers
):
    model = new_model()
    config = fine_tune.FineTuneConfig(batch_size=8, patience=9, **numbers)
    epochs = fine_tune.fine_tune(model, splits, pretrained=pretrained, config=config)
    rows = [
        (e.epoch, e.loss, e.top1, e.validation_loss, e.validation_top1) for e in epochs
    ]
    np.testing.assert_allclose(rows, in_memory[f"{run}/history"], atol=1e-5)
    for name in ("stem_conv", "block_8_project_conv", "logits"):
        kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel)
        np.testing.assert_allclose(kernel, in_memory[f"{run}/{name}"], atol=1e-5)


# Resuming.


class Stopped(Exception):
    """Stands for whatever ends a process."""


RESUMED = dataclasses.replace(GENTLE, head_epochs=2, unfrozen_blocks=1)


@pytest.fixture(scope="module")
def uninterrupted(new_model, splits):
    """Return a model fine-tuned in two phases, and its epochs."""
    model = new_model(depth_coefficient=0.1)
    return model, fine_tune.fine_tune(model, splits, pretrained=True, config=RESUMED)


@pytest.mark.parametrize("stop", [3, 20])
def test_resumed_fine_tuning_ends_with_the_same_weights(
    uninterrupted, new_model, splits, tmp_path, monkeypatch, stop
):
    arguments = {"pretrained": True, "config": RESUMED}
    arguments |= {"state_dir": tmp_path, "keep_minutes": 0}
    take, taken = loop._step, []

    def step_or_stop(*step):
        if len(taken) == stop:
            raise Stopped
        taken.append(1)
        take(*step)

    monkeypatch.setattr(loop, "_step", step_or_stop)
    with pytest.raises(Stopped):
        fine_tune.fine_tune(new_model(depth_coefficient=0.1), splits, **arguments)
    stop = None
    model = new_model(depth_coefficient=0.1)
    epochs = fine_tune.fine_tune(model, splits, **arguments)
    assert len(taken) == 24
    whole, expected = uninterrupted
    for found, value in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, value)
    assert [dataclasses.replace(e, seconds=0) for e in epochs] == [
        dataclasses.replace(e, seconds=0) for e in expected
    ]


def test_patience_that_ran_out_is_remembered(new_model, splits, tmp_path, monkeypatch):
    config = dataclasses.replace(SCRATCH, epochs=9, patience=1)
    evaluated = iter([(1.0, 0.5), (2.0, 0.5)])
    monkeypatch.setattr(loop, "evaluate", lambda *_, **__: next(evaluated))
    arguments = {"pretrained": False, "config": config, "state_dir": tmp_path}
    model, again = (new_model(depth_coefficient=0.1) for _ in range(2))
    once = fine_tune.fine_tune(model, splits, **arguments)
    assert [epoch.validation_loss for epoch in once] == [1, 2]
    monkeypatch.setattr(loop, "_step", None)
    assert fine_tune.fine_tune(again, splits, **arguments) == once
    assert not changed(weights_by_name(model), again)


def test_state_of_other_images_is_refused(new_model, splits, tmp_path):
    config = dataclasses.replace(SCRATCH, epochs=1, batch_size=48)
    arguments = {"pretrained": False, "config": config, "state_dir": tmp_path}
    fine_tune.fine_tune(new_model(depth_coefficient=0.1), splits, **arguments)
    fewer = {**splits, "train": splits["train"].take(np.arange(40))}
    kept = (tmp_path / "all_layers.safetensors").read_bytes()
    with pytest.raises(InputError, match="another training: train was"):
        fine_tune.fine_tune(new_model(depth_coefficient=0.1), fewer, **arguments)
    assert (tmp_path / "all_layers.safetensors").read_bytes() == kept


def test_loss_that_is_not_finite_names_the_images(new_model, splits, monkeypatch):
    monkeypatch.setattr(
        examples, "one_hot", lambda labels, classes: np.full((8, 3), np.nan, "float32")
    )
    with pytest.raises(InputError, match=r"step 1, on .*(jpg|png).* and 5 more"):
        model = new_model(depth_coefficient=0.1)
        fine_tune.fine_tune(model, splits, pretrained=False, config=SCRATCH)


@pytest.mark.parametrize("kind", ["SIGKILL", "SIGINT"])
def test_stopped_command_resumes_to_the_same_file(class_folders, tmp_path, kind):
    shape = ("--width_coefficient=0.1", "--depth_coefficient=0.1", "--image_size=32")
    command = [
        *(sys.executable, "-m", "edgetpu_lib", "fine-tune", *shape),
        *(f"--data_dir={class_folders}", "--epochs=60", "--batch_size=3"),
        *("--keep_minutes=0", "--pretrained=False"),
    ]
    whole = subprocess.Popen([*command, f"--output={tmp_path}/whole.keras"])
    command.append(f"--output={tmp_path}/stopped.keras")
    state = tmp_path / "stopped.keras.state/all_layers.safetensors"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as stopped:
        while not state.exists():
            assert stopped.poll() is None
            time.sleep(0.01)
        stopped.send_signal(getattr(signal, kind))
        assert stopped.wait(HANGS_AFTER_S) != 0
    assert not (tmp_path / "stopped.keras").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert whole.wait(HANGS_AFTER_S) == 0
    models = [
        checkpoint.load_model(tmp_path / f"{n}.keras") for n in ("whole", "stopped")
    ]
    assert checkpoint.weights_digest(models[0]) == checkpoint.weights_digest(models[1])
    names = {path.name for path in tmp_path.iterdir()}
    ends = (".keras", ".keras.json")
    assert names == {f"{name}{end}" for name in ("whole", "stopped") for end in ends}


# Batches.


def numbered(count, side):
    """Return images whose pixels tell the image, the row and the column."""
    images = np.empty((count, side, side, 3), np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    images[..., 1] = np.arange(side)[:, None]
    images[..., 2] = np.arange(side)
    return images


def take(number, count=10, side=12, size=9, batch_size=4, seed=0, first=0):
    pictures = examples.from_array(numbered(count, side), np.arange(count), count)
    batches = examples.ShuffledBatches(pictures, batch_size, seed, crop_size=size)
    with batches.from_step(first, first + number) as stream:
        return [(images, targets.argmax(axis=1) + 100) for images, targets in stream]


def test_order_crops_and_mirroring_are_those_of_images_in_memory(in_memory):
    batches = take(9, seed=3)
    labels = [labels - 100 for _, labels in batches]
    np.testing.assert_array_equal(labels, in_memory["batches/labels"])
    images = np.stack([images for images, _ in batches]) * 128 + 127
    first, last = images[:, :, 0, 0], images[:, :, 0, -1]
    corners = np.stack([first[..., 1], first[..., 2], last[..., 2]], axis=-1)
    np.testing.assert_array_equal(corners, in_memory["batches/corners"])


def test_batches_from_the_middle_are_those_from_the_start():
    for early, late in zip(take(9)[6:], take(3, first=6), strict=True):
        np.testing.assert_array_equal(early[0], late[0])
        np.testing.assert_array_equal(early[1], late[1])


def test_a_small_cache_gives_the_same_images(splits, monkeypatch):
    def batch():
        images = examples.from_images(splits["train"], 37, progress="reading")
        batches = examples.ShuffledBatches(images, 8, 0, crop_size=32)
        with batches.from_step(7, 8) as stream:
            return next(stream)[0]

    all_kept = batch()
    monkeypatch.setattr(examples, "CACHE_BYTES", 5 * 3 * 37**2)
    loaded = []
    load = data.load_image
    monkeypatch.setattr(
        data, "load_image", lambda *a, **k: (loaded.append(a[0]), load(*a, **k))[1]
    )
    np.testing.assert_array_equal(batch(), all_kept)
    assert len(loaded) > len(splits["train"])


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
    pictures = examples.from_array(images, np.arange(6), 6)
    batches = examples.ShuffledBatches(pictures, 2, 0, crop_size=9)
    with batches.from_step(0, 9) as stream:
        for arrays, _ in stream:
            arrays[:] = 0
    assert np.array_equal(images, before)
