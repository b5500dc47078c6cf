"""The reference's learning rate, optimizer, weight decay and moving averages.

Source of all numbers: tensorflow/tpu efficientnet main.py and utils.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from edgetpu_lib.training.settings import Recipe


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate at each step: warm-up, then stairs, a cosine, or a constant."""

    def __init__(self, recipe: Recipe, steps_per_epoch: float) -> None:
        """Scale the peak; `steps_per_epoch` may be a fraction, as in the reference."""
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.peak = recipe.base_learning_rate * recipe.batch_size / 256

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, counted from 0."""
        recipe = self.recipe
        step = keras.ops.cast(step, "float32")
        stair = self.steps_per_epoch * recipe.decay_epochs
        total = self.steps_per_epoch * recipe.epochs
        if recipe.schedule == "exponential":
            rate = self.peak * recipe.decay_factor ** keras.ops.floor(step / stair)
        elif recipe.schedule == "cosine":
            rate = 0.5 * self.peak * (1 + keras.ops.cos(math.pi * step / total))
        else:
            rate = keras.ops.full_like(step, self.peak)
        warmup = int(recipe.warmup_epochs * self.steps_per_epoch)
        if not warmup:
            return rate
        return keras.ops.where(step < warmup, self.peak * step / warmup, rate)


class ReferenceRMSprop(keras.optimizers.RMSprop):
    """RMSprop as in TensorFlow 1, with smaller first steps: accumulators start at 1."""

    def __init__(self, learning_rate: Any) -> None:
        """Set the reference's decay, momentum and epsilon."""
        super().__init__(learning_rate, rho=0.9, momentum=0.9, epsilon=1e-3)

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the accumulators."""
        was_built = self.built
        super().build(variables)
        if not was_built:
            for velocity in self._velocities:
                velocity.assign(keras.ops.ones(velocity.shape))


class ReferenceMomentum(keras.optimizers.SGD):
    """Momentum as in TensorFlow 1: a rate that falls slows the past steps, too."""

    def __init__(self, learning_rate: Any) -> None:
        """Set the reference's momentum."""
        super().__init__(learning_rate, momentum=0.9)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take a step: velocity = 0.9 · velocity + gradient, variable −= rate · it."""
        velocity = self.momentums[self._get_variable_index(variable)]
        gradient = keras.ops.cast(gradient, variable.dtype)
        rate = keras.ops.cast(learning_rate, variable.dtype)
        now = velocity * self.momentum + gradient
        self.assign(velocity, now)
        self.assign_sub(variable, now * rate)


def new_optimizer(recipe: Recipe, steps_per_epoch: float) -> keras.optimizers.Optimizer:
    """Return the recipe's optimizer with its `LearningRate`."""
    rate = LearningRate(recipe, steps_per_epoch)
    known = {
        "rmsprop": ReferenceRMSprop,
        "momentum": ReferenceMomentum,
        "sgd": keras.optimizers.SGD,
        "adamw": keras.optimizers.AdamW,
    }
    return known[recipe.optimizer](rate)


def set_batch_norm(model: keras.Model, recipe: Recipe) -> None:
    """Give the recipe's momentum and epsilon to a model's batch normalizations."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.batch_norm_momentum
            layer.epsilon = recipe.batch_norm_epsilon


def add_weight_decay(model: keras.Model, weight_decay: float) -> None:
    """Add weight_decay · Σ ½w² over all but batch-norm variables to the model's loss.

    A factor of 0 removes an earlier one.
    """
    penalty = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
    for layer in model.layers:
        if not isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.trainable_variables:
                variable.regularizer = penalty


class Averages:
    """Exponential moving averages of a model's weights and batch-norm statistics.

    The decay grows with the steps up to `decay`, so that the initial weights do not
    dominate the first averages. The published accuracy was measured with averages.

    Attributes:
        values: one array per variable, on the device, in the order of the variables.
    """

    def __init__(self, variables: list[keras.Variable], decay: float) -> None:
        """Start with the variables' values."""
        self.variables = variables
        self.decay = decay
        self.values = [keras.ops.copy(variable.value) for variable in variables]
        self._average = _compiled(_average)

    def update(self, step: int) -> None:
        """Add the variables' values after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [variable.value for variable in self.variables]
        self.values = self._average(self.values, now, np.float32(decay))

    def named(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the values as arrays, by names in the order of the variables."""
        values = map(keras.ops.convert_to_numpy, self.values)
        return dict(zip(names, values, strict=True))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Assign the averages to the variables within a `with` block."""
        raw = [keras.ops.copy(variable.value) for variable in self.variables]
        try:
            self._assign(self.values)
            yield
        finally:
            self._assign(raw)

    def _assign(self, values: list[Any]) -> None:
        for variable, value in zip(self.variables, values, strict=True):
            # A copy: JAX reuses the memory of a model's variables at every step.
            variable.assign(keras.ops.copy(value))


def _average(averages: list[Any], now: list[Any], decay: Any) -> list[Any]:
    return [
        average - (1 - decay) * (average - value)
        for average, value in zip(averages, now, strict=True)
    ]


def _compiled(function: Callable) -> Callable:
    """Compile a function of arrays, so that many small operations become one call."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
