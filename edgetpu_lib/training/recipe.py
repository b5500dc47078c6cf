"""The reference's training recipe: rate, optimizer, weight decay, averages.

Plain Keras, on any of its backends.
Source of all numbers: tensorflow/tpu efficientnet main.py and utils.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from edgetpu_lib.training.settings import Recipe


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The rate at each step: warm-up, then stairs, a cosine, or a constant."""

    def __init__(self, recipe: Recipe, steps_per_epoch: float) -> None:
        """Take the images over the batch size; the reference keeps the fraction."""
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.peak = recipe.base_learning_rate * recipe.batch_size / 256

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, counted from 0."""
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
    """RMSProp as in TensorFlow 1, whose accumulators start at one, not at zero.

    That makes the first steps smaller than those of Keras' own.
    """

    def __init__(self, learning_rate: Any) -> None:
        """Take the reference's decay 0.9, momentum 0.9, epsilon 1e-3 in the root."""
        super().__init__(learning_rate, rho=0.9, momentum=0.9, epsilon=1e-3)

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the accumulators."""
        was_built = self.built
        super().build(variables)
        if not was_built:
            for velocity in self._velocities:
                velocity.assign(keras.ops.ones(velocity.shape))


def new_optimizer(recipe: Recipe, steps_per_epoch: float) -> keras.optimizers.Optimizer:
    """Return the recipe's optimizer with its `LearningRate`."""
    rate = LearningRate(recipe, steps_per_epoch)
    if recipe.optimizer == "adamw":
        return keras.optimizers.AdamW(rate)
    return ReferenceRMSprop(rate)


def add_weight_decay(model: keras.Model, weight_decay: float) -> None:
    """Add weight_decay · Σ ½w² over all but batch-norm variables to the model's loss.

    Args:
        model: from `build.build_model`.
        weight_decay: the factor; 0 takes an earlier one away.
    """
    penalty = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
    for layer in model.layers:
        if not isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.trainable_variables:
                variable.regularizer = penalty


class Averages:
    """Exponential moving averages of a model's weights and batch-norm statistics.

    The published accuracy is theirs. The decay grows with the steps up to `decay`, so
    that the random start does not dominate the first averages.

    Attributes:
        values: one array a variable, on the device, in the order of the variables.
    """

    def __init__(self, variables: list[keras.Variable], decay: float) -> None:
        """Start at the variables' values."""
        self.variables = variables
        self.decay = decay
        self.values = [keras.ops.copy(variable.value) for variable in variables]
        self._average = _compiled(_average)

    def update(self, step: int) -> None:
        """Add the variables' values after so many steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [variable.value for variable in self.variables]
        self.values = self._average(self.values, now, np.float32(decay))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model hold the averages within a `with` block."""
        raw = [keras.ops.copy(variable.value) for variable in self.variables]
        try:
            self._assign(self.values)
            yield
        finally:
            self._assign(raw)

    def _assign(self, values: list[Any]) -> None:
        for variable, value in zip(self.variables, values, strict=True):
            # A copy: JAX gives the memory of a model's variables away at every step.
            variable.assign(keras.ops.copy(value))


def _average(averages: list[Any], now: list[Any], decay: Any) -> list[Any]:
    return [
        average - (1 - decay) * (average - value)
        for average, value in zip(averages, now, strict=True)
    ]


def _compiled(function: Callable) -> Callable:
    """Compile a function of arrays: hundreds of small operations become one call."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
