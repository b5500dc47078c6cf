"""Train a model from nothing, with the reference's recipe, for as long as it takes.

Takes a model, images and a recipe; gives the trained model, its moving averages and a
history. Next: `checkpoint_writer` saves both in the reference's format.
Whatever stops a training, the same call goes on from the last state it kept.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import checkpoint, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.training import devices, fast_layers
from edgetpu_lib.training.batches import TrainingBatches
from edgetpu_lib.training.recipe import (
    Averages,
    Recipe,
    add_weight_decay,
    new_optimizer,
)
from edgetpu_lib.training.state import TrainingState, stop_between_steps

VALIDATION_BATCH = 64


@dataclasses.dataclass(frozen=True)
class EpochRow:
    """One epoch; the loss with all it consists of, accuracies as fractions 0..1.

    `top1` is on the varied training images. `validation_top1` is the averaged weights'
    on images as evaluation sees them; `None` where there are none.
    """

    epoch: int
    step: int
    loss: float
    top1: float
    validation_top1: float | None
    learning_rate: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training gives besides the weights in the model.

    Attributes:
        averages: float32 arrays by the names of `checkpoint.reference_names`.
        step: how many steps were taken.
        history: one row an epoch.
        skipped: one line for every image that could not be read and was left out.
    """

    averages: Mapping[str, np.ndarray]
    step: int
    history: tuple[EpochRow, ...]
    skipped: tuple[str, ...]


def train(
    model: keras.Model,
    images: data.Images,
    recipe: Recipe,
    output_dir: str | Path,
    *,
    validation: data.Images | None = None,
    label_offset: int = 0,
    seed: int = 0,
    keep_minutes: float = 10,
    keep_steps: int | None = None,
    on_error: str = "raise",
    parts: int = 1,
) -> Trained:
    """Train `model` in place, or go on where an earlier call was stopped.

    The order of the images, their crops and what dropout leaves out follow from the
    seed and the step alone: a training that was killed and started again ends with
    the weights of one that was not.

    Args:
        model: from `build.build_model`; its weights are where a new training starts.
        images: to train on.
        recipe: rates, loss, averages, augmentation, length.
        output_dir: keeps the state between calls.
        validation: to measure the averaged weights on after every epoch; by a single
            process only.
        label_offset: added to every label: 1 where logit 0 is the background.
        seed: of order, augmentation and dropout.
        keep_minutes: the state is kept after so many minutes, and at the end.
        keep_steps: and after so many steps; `None`: by the clock alone.
        on_error: "raise" stops at an image that cannot be read; "skip" takes the next
            one instead and reports it.
        parts: the images are read in so many independent parts. Under
            `keras.distribution` with several processes it is their number, and each
            reads its own. Batch normalisation is over the global batch.

    Returns:
        Averages, number of steps, history, and the images that were left out.

    Raises:
        InputError: labels do not fit the model, an image cannot be read, the loss is
            not finite, or the state in `output_dir` belongs to another training.
    """
    _check_fit(model, images, label_offset)
    image_size = model.input_shape[1]
    batches = TrainingBatches(
        images,
        recipe,
        image_size,
        label_offset=label_offset,
        seed=seed,
        parts=parts,
        on_error=on_error,
    )
    settings = {
        "model": model.name,
        "image_size": image_size,
        "logits": model.output_shape[-1],
        "start": checkpoint.weights_digest(model),
        "photos": data.list_digest(images),
        "background": label_offset,
        "seed": seed,
        "parts": parts,
        **dataclasses.asdict(recipe),
    }
    keras.utils.set_random_seed(seed)
    twin = _compiled_twin(model, recipe, len(images) / recipe.batch_size)
    names = checkpoint.reference_names(twin)
    averages = Averages(list(names.values()), recipe.average_decay)
    state = TrainingState(output_dir, settings, twin, averages)
    state.progress = {"history": [], "loss": [], "top1": [], "seconds": 0.0}
    state.restore()
    if devices.process()[1] > 1:
        validation = None
    steps_per_epoch = len(images) // recipe.batch_size
    last_step = recipe.epochs * steps_per_epoch
    kept_at = time.monotonic()
    with (
        stop_between_steps() as stopping,
        batches.from_step(state.step, last_step) as stream,
        tqdm(total=last_step, initial=state.step, unit="step", desc="train") as bar,
    ):
        for arrays, targets in stream:
            _step(state, batches, arrays, targets)
            bar.update()
            recent = np.mean(state.progress["loss"][-20:])
            bar.set_postfix(loss=f"{recent:.3f}", refresh=False)
            if state.step % steps_per_epoch == 0:
                row = _close_epoch(state, steps_per_epoch, validation, label_offset)
                bar.write(_line(row), file=sys.stderr)
            due = keep_steps and state.step % keep_steps == 0
            overdue = time.monotonic() - kept_at > 60 * keep_minutes
            if due or overdue or stopping.is_set():
                state.keep()
                kept_at = time.monotonic()
            if stopping.is_set():
                raise KeyboardInterrupt
        state.keep()
    for mine, trained in zip(model.weights, twin.weights, strict=True):
        mine.assign(trained)
    return Trained(
        averages={
            name: keras.ops.convert_to_numpy(value)
            for name, value in zip(names, averages.values, strict=True)
        },
        step=state.step,
        history=tuple(EpochRow(**row) for row in state.progress["history"]),
        skipped=tuple(batches.skipped.values()),
    )


def _check_fit(model: keras.Model, images: data.Images, label_offset: int) -> None:
    """Refuse labels that the model has no logits for.

    Raises:
        InputError: it names both numbers.
    """
    classes, logits = len(images.class_names) + label_offset, model.output_shape[-1]
    if classes != logits:
        with_background = " with the background" if label_offset else ""
        raise InputError(
            f"the images have {classes} classes{with_background} but the model has"
            f" {logits} logits; build it with num_classes={classes}"
        )


def _compiled_twin(
    model: keras.Model, recipe: Recipe, steps_per_epoch: float
) -> keras.Model:
    """Return the model that is stepped: the same one, compiled with the recipe."""
    twin = fast_layers.training_twin(model)
    add_weight_decay(twin, recipe.weight_decay)
    twin.compile(
        optimizer=new_optimizer(recipe, steps_per_epoch),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="top1")],
        # On TensorFlow XLA compiles for minutes on a CPU and then runs slower.
        jit_compile=keras.backend.backend() == "jax",
    )
    twin.optimizer.build(twin.trainable_variables)
    return twin


def _step(
    state: TrainingState,
    batches: TrainingBatches,
    images: np.ndarray,
    targets: np.ndarray,
) -> None:
    """Take one step.

    Raises:
        InputError: the loss is not finite.
    """
    start = time.monotonic()
    logs = state.model.train_on_batch(images, targets, return_dict=True)
    if not math.isfinite(logs["loss"]):
        raise InputError(
            f"the loss is {logs['loss']} at step {state.step + 1}, on"
            f" {batches.describe(state.step)}; {state.describe()}; lower"
            " base_learning_rate, or look at these images"
        )
    state.step += 1
    state.averages.update(state.step)
    state.progress["loss"].append(float(logs["loss"]))
    state.progress["top1"].append(float(logs["top1"]))
    state.progress["seconds"] += time.monotonic() - start


def _close_epoch(
    state: TrainingState,
    steps_per_epoch: int,
    validation: data.Images | None,
    label_offset: int,
) -> EpochRow:
    """Move what an epoch gathered into the history."""
    held_out = None
    if validation is not None:
        with state.averages.applied():
            held_out = _top1(state.model, validation, label_offset)
    rate = state.model.optimizer.learning_rate
    progress = state.progress
    row = EpochRow(
        epoch=state.step // steps_per_epoch,
        step=state.step,
        loss=float(np.mean(progress["loss"])),
        top1=float(np.mean(progress["top1"])),
        validation_top1=held_out,
        learning_rate=float(keras.ops.convert_to_numpy(rate)),
        seconds=progress["seconds"],
    )
    progress["history"].append(dataclasses.asdict(row))
    progress |= {"loss": [], "top1": [], "seconds": 0.0}
    return row


def _top1(model: keras.Model, images: data.Images, label_offset: int) -> float:
    """Return the share of images whose best class, the background apart, is right."""
    hits = 0
    stream = data.iterate_batches(
        images, model.input_shape[1], batch_size=VALIDATION_BATCH, progress="validate"
    )
    for number, arrays in enumerate(stream):
        start = number * VALIDATION_BATCH
        labels = images.labels[start : start + len(arrays)]
        # Of one size, batches are spread evenly over devices, and compiled once.
        arrays = pixels.fill_batch(arrays, VALIDATION_BATCH)
        logits = model.predict_on_batch(pixels.normalize(arrays))[: len(labels)]
        hits += int((logits[:, label_offset:].argmax(axis=1) == labels).sum())
    return hits / len(images)


def _line(row: EpochRow) -> str:
    held_out = (
        "" if row.validation_top1 is None else f", validation {row.validation_top1:.1%}"
    )
    return (
        f"epoch {row.epoch}: loss {row.loss:.3f}, top-1 {row.top1:.1%}{held_out},"
        f" {row.seconds:.0f} s"
    )
