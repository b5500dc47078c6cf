"""The training loop that `train` and `fine_tune` share."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.training.batches import TrainingBatches
from edgetpu_lib.training.examples import EVALUATION_BATCH, ShuffledBatches
from edgetpu_lib.training.state import TrainingState, new_progress, stop_between_steps


def check_classes(model: keras.Model, images: data.Images, label_offset: int) -> None:
    """Verify that the model has one logit per class.

    Raises:
        InputError: the numbers differ.
    """
    classes, logits = len(images.class_names) + label_offset, model.output_shape[-1]
    if classes != logits:
        with_background = " with the background" if label_offset else ""
        raise InputError(
            f"the images have {classes} classes{with_background} but the model has"
            f" {logits} logits; build it with num_classes={classes}"
        )


def compile_model(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, *, label_smoothing: float
) -> None:
    """Compile a model of logits for `run`: cross-entropy of one-hot targets and top-1.

    `label_smoothing` is the share of the target spread over all classes, 0..1.
    """
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="top1")],
        # TensorFlow's XLA takes minutes to compile for a CPU and then runs slower.
        jit_compile=keras.backend.backend() == "jax",
    )
    # If the first step built the optimizer, the step would be traced twice.
    optimizer.build(model.trainable_variables)


@dataclasses.dataclass(frozen=True)
class Course:
    """How long a training lasts, and what it does between its steps.

    Attributes:
        title: of the progress bar.
        epochs: largest number of epochs.
        end_epoch: takes epoch (from 1), loss, top1 (means, 0..1) and seconds (of the
            steps) by name; returns the epoch's row of the history.
        after_step: takes the number of steps taken so far.
        is_over: whether to stop before the last epoch; called after each epoch.
    """

    title: str
    epochs: int
    steps_per_epoch: int
    end_epoch: Callable[..., dict[str, Any]]
    after_step: Callable[[int], None] = lambda step: None
    is_over: Callable[[], bool] = lambda: False
    show_progress: bool = True


def run(
    state: TrainingState, batches: TrainingBatches | ShuffledBatches, course: Course
) -> None:
    """Take steps from `state.step` on until the course is over.

    `state.progress["history"]` gets one row per epoch. `model.fit` is not used: it
    feeds batches from Python through a TensorFlow operation that sets a memory option
    under which every step is up to three times slower on a CPU.

    Raises:
        InputError: a loss is not finite, or the state cannot be written.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the state is saved.
    """
    total = course.epochs * course.steps_per_epoch
    bar = tqdm(
        total=total,
        initial=state.step,
        unit="step",
        desc=course.title,
        leave=False,
        disable=not course.show_progress,
    )
    last = state.step if course.is_over() else total
    with bar, stop_between_steps() as stop, batches.from_step(state.step, last) as read:
        since = time.perf_counter()
        for inputs, targets in read:
            _step(state, batches, inputs, targets)
            course.after_step(state.step)
            now = time.perf_counter()
            state.progress["seconds"] += now - since
            since = now
            bar.update()
            recent = np.mean(state.progress["loss"][-20:])
            bar.set_postfix(loss=f"{recent:.3f}", refresh=False)
            if state.step % course.steps_per_epoch == 0:
                _end_epoch(state, course)
                since = time.perf_counter()
                if course.is_over():
                    break
            if stop.is_set():
                state.keep()
                raise KeyboardInterrupt
            state.keep_when_due()
        state.keep()


def _step(
    state: TrainingState, batches: Any, inputs: np.ndarray, targets: np.ndarray
) -> None:
    """Take one step; raise `InputError` if the loss is not finite."""
    logs = state.model.train_on_batch(inputs, targets, return_dict=True)
    if not math.isfinite(logs["loss"]):
        raise InputError(
            f"the loss is {logs['loss']} at step {state.step + 1}, on"
            f" {batches.describe(state.step)}; {state.describe()}; lower the learning"
            " rate, or look at these images"
        )
    state.step += 1
    for name in ("loss", "top1"):
        state.progress[name].append(float(logs[name]))


def _end_epoch(state: TrainingState, course: Course) -> None:
    """Append the epoch's row to the history and reset the numbers of the epoch."""
    row = course.end_epoch(
        epoch=state.step // course.steps_per_epoch,
        loss=float(np.mean(state.progress["loss"])),
        top1=float(np.mean(state.progress["top1"])),
        seconds=state.progress["seconds"],
    )
    history = [*state.progress["history"], row]
    state.progress |= {**new_progress(), "history": history}


def evaluate(
    model: keras.Model,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    label_offset: int = 0,
    label_smoothing: float = 0.0,
) -> tuple[float, float]:
    """Return mean loss and top-1 accuracy (0..1) on images held out from training.

    Args:
        model: gives logits.
        batches: float32 inputs [≤ `EVALUATION_BATCH`, …] and int64 labels.
        label_offset: added to every label; logits before it are ignored for top-1.
        label_smoothing: as in training.
    """
    losses, hits = [], []
    for inputs, labels in batches:
        filled = pixels.fill_batch(inputs, EVALUATION_BATCH)
        logits = np.asarray(model.predict_on_batch(filled), np.float64)[: len(labels)]
        hits.extend(logits[:, label_offset:].argmax(axis=1) == labels)
        logits -= logits.max(axis=1, keepdims=True)
        log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        of_label = log_shares[np.arange(len(labels)), labels + label_offset]
        smooth = log_shares.mean(axis=1)
        losses.extend(-(1 - label_smoothing) * of_label - label_smoothing * smooth)
    return float(np.mean(losses)), float(np.mean(hits))
