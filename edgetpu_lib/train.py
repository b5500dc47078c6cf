"""Train a model from nothing with the reference's recipe.

Takes a model, images and a recipe; gives the trained model, moving averages of its
weights and a history. A training that was stopped resumes when it is called again.
Next: `weights.tf1_writer` saves both in the reference's format.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import checkpoint, data
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.training import devices, fast_layers, loop
from edgetpu_lib.training.batches import TrainingBatches
from edgetpu_lib.training.recipe import (
    Averages,
    add_weight_decay,
    new_optimizer,
    set_batch_norm,
)
from edgetpu_lib.training.settings import Recipe
from edgetpu_lib.training.state import TrainingState


@dataclasses.dataclass(frozen=True)
class EpochRow:
    """Numbers of one epoch.

    Attributes:
        epoch: from 1.
        step: steps taken since the start.
        loss: mean over the steps, with weight decay.
        top1: accuracy on the augmented training images, 0..1.
        validation_top1: accuracy of the averaged weights, 0..1; `None` without
            validation images.
        learning_rate: of the last step.
        seconds: of the steps, with waiting for images, without validation.
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
    """Result of a training, besides the weights in the model.

    Attributes:
        averages: float32 arrays by the names of `checkpoint.reference_names`.
        step: number of steps taken.
        skipped: one error message for every image left out.
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
    archive: Callable[[keras.Model, Mapping[str, np.ndarray], int], None] | None = None,
) -> Trained:
    """Train `model` in place, or resume where an earlier call was stopped.

    Order, crops and dropout depend on the seed and the step alone, so that a resumed
    training ends with the weights of an uninterrupted one.

    Args:
        model: from `build.build_model`; training starts from its weights.
        images: to train on.
        recipe: learning rate, loss, averages, augmentation, length.
        output_dir: folder of the state between calls.
        validation: images to measure averages on after every epoch, in one process.
        label_offset: added to every label: 1 if logit 0 is the background class.
        seed: of order, augmentation and dropout.
        keep_minutes: minutes between two writes of the state.
        keep_steps: steps between two writes; `None`: by minutes alone.
        on_error: at an unreadable image "raise" stops, "skip" takes the next one.
        parts: number of independent parts of the images, divided among the processes.
        archive: takes model, averages and step, after every epoch that is the best.

    Raises:
        InputError: labels do not fit the model, an image cannot be read, the loss is
            not finite, or the state in `output_dir` belongs to another training.
    """
    loop.check_classes(model, images, label_offset)
    order = {"label_offset": label_offset, "seed": seed, "parts": parts}
    batches = TrainingBatches(
        images, recipe, model.input_shape[1], on_error=on_error, **order
    )
    settings = _settings(model, images, recipe, order)
    keras.utils.set_random_seed(seed)
    twin = _compiled_twin(model, recipe, len(images) / recipe.batch_size)
    names = checkpoint.reference_names(twin)
    averages = Averages(list(names.values()), recipe.average_decay)
    where = output_dir, settings, "training_state", twin, {"average": averages}
    due = {"keep_minutes": keep_minutes, "keep_steps": keep_steps}
    state = TrainingState(*where, **due)
    keep_best = archive and (lambda n: archive(twin, averages.named(names), n))
    _run(state, batches, averages, validation, keep_best)
    model.set_weights(twin.get_weights())
    return Trained(
        averages=averages.named(names),
        step=state.step,
        history=tuple(EpochRow(**row) for row in state.progress["history"]),
        skipped=tuple(batches.skipped.values()),
    )


def _settings(
    model: keras.Model, images: data.Images, recipe: Recipe, order: dict[str, int]
) -> dict[str, Any]:
    """Return the settings of this training, by the names of the state's format."""
    return {
        "model": model.name,
        "image_size": model.input_shape[1],
        "logits": model.output_shape[-1],
        "start": checkpoint.weights_digest(model),
        "photos": data.list_digest(images),
        "background": order["label_offset"],
        "seed": order["seed"],
        "parts": order["parts"],
        **dataclasses.asdict(recipe),
    }


def _compiled_twin(
    model: keras.Model, recipe: Recipe, steps_per_epoch: float
) -> keras.Model:
    """Return a copy of the model that trains faster, compiled with the recipe."""
    set_batch_norm(model, recipe)
    twin = fast_layers.training_twin(model)
    add_weight_decay(twin, recipe.weight_decay)
    optimizer = new_optimizer(recipe, steps_per_epoch)
    loop.compile_model(twin, optimizer, label_smoothing=recipe.label_smoothing)
    return twin


def _run(
    state: TrainingState,
    batches: TrainingBatches,
    averages: Averages,
    validation: data.Images | None,
    keep_best: Callable[[int], None] | None,
) -> None:
    """Restore the state and take the remaining steps.

    `keep_best` takes the step of an epoch whose validation accuracy is the highest.
    """
    if devices.process()[1] > 1:
        validation = None

    def end_epoch(**means: float) -> dict[str, Any]:
        held_out = None
        if validation is not None:
            stream = _validation_batches(
                validation, batches.image_size, batches.recipe.resize
            )
            offset = batches.label_offset
            with averages.applied():
                _, held_out = loop.evaluate(state.model, stream, label_offset=offset)
        rate = state.model.optimizer.learning_rate
        row = EpochRow(
            **means,
            step=state.step,
            validation_top1=held_out,
            learning_rate=float(keras.ops.convert_to_numpy(rate)),
        )
        tqdm.write(_line(row), file=sys.stderr)
        earlier = [each["validation_top1"] for each in state.progress["history"]]
        is_best = held_out is not None and held_out >= max(earlier, default=0)
        if keep_best and is_best:
            keep_best(state.step)
        return dataclasses.asdict(row)

    state.restore()
    course = loop.Course(
        title="train",
        epochs=batches.recipe.epochs,
        steps_per_epoch=len(batches.images) // batches.recipe.batch_size,
        end_epoch=end_epoch,
        after_step=averages.update,
    )
    loop.run(state, batches, course)


def _validation_batches(
    images: data.Images, image_size: int, resize: Resize
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    stream = data.iterate_batches(
        images,
        image_size,
        batch_size=loop.EVALUATION_BATCH,
        resize=resize,
        progress="validate",
    )
    starts = range(loop.EVALUATION_BATCH, len(images), loop.EVALUATION_BATCH)
    labels = np.split(images.labels, starts)
    return zip(map(pixels.normalize, stream), labels, strict=True)


def _line(row: EpochRow) -> str:
    top1 = row.validation_top1
    held_out = "" if top1 is None else f", validation {top1:.1%}"
    return (
        f"epoch {row.epoch}: loss {row.loss:.3f}, top-1 {row.top1:.1%}{held_out},"
        f" {row.seconds:.0f} s"
    )
