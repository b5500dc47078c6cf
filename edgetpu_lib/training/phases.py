"""Train one phase of a fine-tuning with early stopping; keep the best weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras

from edgetpu_lib.training import examples, fast_layers, loop
from edgetpu_lib.training.examples import Examples, ShuffledBatches
from edgetpu_lib.training.state import Tensors, TrainingState

LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 1e-4


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Numbers of one epoch: losses with label smoothing, accuracies 0..1.

    Attributes:
        phase: "classifier", "unfrozen stages", "all layers" or "8 bits".
        epoch: from 1 in each phase.
        loss: mean over the steps on augmented images, like `top1`.
        validation_loss: at the end of the epoch, like `validation_top1`.
        seconds: of the steps, with waiting for images, without validation.
    """

    phase: str
    epoch: int
    loss: float
    top1: float
    validation_loss: float
    validation_top1: float
    seconds: float


def fit(
    model: keras.Model,
    batches: ShuffledBatches,
    validation: Examples,
    patience: int,
    new_state: Callable[..., TrainingState],
    *,
    phase: str,
    epochs: int,
    learning_rate: float,
    keep_start: bool = False,
    show_progress: bool = True,
    twin: keras.Model | None = None,
) -> list[Epoch]:
    """Train `model` in place; the weights of the best epoch are kept.

    The best epoch has the lowest loss on `validation`; after `patience` epochs without
    a lower one training stops. `new_state` takes a name, a model and tensors and
    returns their `TrainingState`. `phase` names the progress bar and the history,
    `learning_rate` is the peak. With `keep_start` the initial weights are kept if no
    epoch is better. `twin` computes in place of `model` and has weights in its order;
    `None` takes the same layers, computed faster.
    """
    twin = twin or fast_layers.training_twin(model)
    optimizer = _optimizer(learning_rate, epochs * batches.steps_per_epoch)
    loop.compile_model(twin, optimizer, label_smoothing=LABEL_SMOOTHING)
    best = Tensors(twin.get_weights())
    state = new_state(phase.replace(" ", "_"), twin, {"best": best})
    state.progress |= {"best_epoch": 1, "best_loss": math.inf}

    def validate() -> tuple[float, float]:
        held_out = examples.in_order(validation)
        return loop.evaluate(twin, held_out, label_smoothing=LABEL_SMOOTHING)

    def end_epoch(**means: float) -> dict[str, Any]:
        loss, top1 = validate()
        if loss < state.progress["best_loss"]:
            state.progress |= {"best_epoch": means["epoch"], "best_loss": loss}
            best.values = twin.get_weights()
        held_out = {"validation_loss": loss, "validation_top1": top1}
        return {"phase": phase, **means, **held_out}

    def is_over() -> bool:
        best_epoch = state.progress["best_epoch"]
        return len(state.progress["history"]) - best_epoch >= patience

    if not state.restore() and keep_start:
        state.progress["best_loss"], _ = validate()
    course = loop.Course(
        title=phase,
        epochs=epochs,
        steps_per_epoch=batches.steps_per_epoch,
        end_epoch=end_epoch,
        is_over=is_over,
        show_progress=show_progress,
    )
    loop.run(state, batches, course)
    model.set_weights([keras.ops.convert_to_numpy(value) for value in best.values])
    return [Epoch(**row) for row in state.progress["history"]]


def _optimizer(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Return AdamW with a warm-up over a tenth of the steps and a cosine decay."""
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        max(1, steps - warmup),
        alpha=0.0,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
