"""Compute a network as its int8 file does, with gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images.normalization import MEAN, STDDEV
from edgetpu_lib.training import fast_layers

# Layer → the smallest and largest value of its activations.
Limits = Mapping[str, tuple[float, float]]

_PASSED_THROUGH = (layers.Dropout, layers.Flatten)
_WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


@dataclasses.dataclass(frozen=True)
class Precision:
    """How finely weights and activations are rounded; the defaults are TFLite's.

    Attributes:
        weight_bits: 2..8, symmetric: 8 bits hold −127..127.
        activation_bits: 2..8, of all activations but the image.
        per_channel: whether each output channel of a convolution has its own scale.
            The classifier always has one, as `convert.quantize` makes it.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    per_channel: bool = True

    def __post_init__(self) -> None:
        """Refuse widths that no int8 file holds."""
        for name in ("weight_bits", "activation_bits"):
            if not 2 <= getattr(self, name) <= 8:
                raise InputError(f"{name}={getattr(self, name)} must be 2 to 8")


@dataclasses.dataclass(frozen=True)
class Grid:
    """The values that a quantized tensor can have: whole steps around its zero point.

    Attributes:
        step: the scale, the difference of two neighbours.
        lowest: smallest value, in steps from the zero point.
        highest: largest value, likewise.
    """

    step: float
    lowest: int
    highest: int

    @classmethod
    def of(cls, limits: tuple[float, float], bits: int = 8) -> Grid:
        """Return the grid of a range, as TensorFlow's quantizer chooses it.

        Zero is a value of the grid, for which the range is shifted by less than a step.
        """
        low, high = min(limits[0], 0.0), max(limits[1], 0.0)
        levels = 2**bits - 1
        step = (high - low) / levels or 1.0
        below = round(-low / step)
        # Files hold float32.
        return cls(float(np.float32(step)), -below, levels - below)

    def round(self, steps: Any) -> Any:
        """Return the nearest values, in steps; the gradient is 1 inside, 0 outside."""
        return ops.clip(_round(steps), self.lowest, self.highest)


# Of pixels as bytes: (pixel − 127) / 128.
IMAGE = Grid(1 / STDDEV, -int(MEAN), 255 - int(MEAN))


@dataclasses.dataclass(frozen=True)
class _Operation:
    """One operator of the int8 file.

    Attributes:
        layer: that it was made of.
        norm: the batch normalisation that is folded into its weights.
        inputs: identities of the Keras tensors it takes.
        output: identity of the Keras tensor it gives, after norm and ReLU.
        input_grids: of `inputs`.
        grid: of `output`.
        precision: of its weights.
    """

    layer: keras.Layer
    norm: layers.BatchNormalization | None
    inputs: tuple[int, ...]
    output: int
    input_grids: tuple[Grid, ...]
    grid: Grid
    precision: Precision

    def compute(self, inputs: list[Any], training: bool) -> Any:
        """Return the output in steps, of inputs in steps."""
        if isinstance(self.layer, _PASSED_THROUGH):
            return self.layer(inputs[0], training=training)
        if isinstance(self.layer, layers.AveragePooling2D):
            return _pool(self.layer(inputs[0]), self.grid)
        if isinstance(self.layer, layers.Add):
            factors = [grid.step / self.grid.step for grid in self.input_grids]
            return self.grid.round(inputs[0] * factors[0] + inputs[1] * factors[1])
        return self._accumulate(inputs[0])

    def _accumulate(self, inputs: Any) -> Any:
        """Sum products of whole numbers, exact below 2²⁴, and rescale once."""
        kernel, bias = _folded(self.layer, self.norm)
        step = _weight_step(self.layer, kernel, self.precision)
        # Of a depthwise kernel, channels are the axis before the last.
        per_output = ops.reshape(step, (-1,)) * self.input_grids[0].step
        sums = _multiply(self.layer, inputs, _round(kernel / step))
        sums = sums + _round(bias / per_output)
        return self.grid.round(sums * (per_output / self.grid.step))


class Twin(keras.Model):
    """A network computed in integer units, with the variables of the network itself.

    Activations and weights are whole numbers in float32, so that training by gradients
    works: rounding has the gradient 1 ("straight-through"). Batch normalisation is
    folded with its moving statistics, which stay as they are. What trains the twin
    trains the network.
    """

    def __init__(
        self,
        network: keras.Model,
        limits: Limits,
        precision: Precision | None = None,
    ) -> None:
        """Plan the operators.

        Args:
            network: from `build.build_model`, float32 images normalised to
                (pixel − 127) / 128 to logits.
            limits: of each layer in `measured_layers(network)`.
            precision: `None` takes that of an int8 file.

        Raises:
            InputError: a layer has no limits, or no counterpart in integers.
        """
        super().__init__(name=network.name)
        self.network = network
        self.plan = tuple(_plan(network, limits, precision or Precision()))
        self.logit_step = self.plan[-1].grid.step
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return logits, float32 [batch, classes], each a value of the file's grid.

        `inputs` are float32 [batch, size, size, 3], normalised.
        """
        image = IMAGE.round(inputs / IMAGE.step)
        values = {id(self.network.inputs[0]): image}
        for operation in self.plan:
            taken = [values[index] for index in operation.inputs]
            values[operation.output] = operation.compute(taken, training)
        return values[self.plan[-1].output] * self.logit_step


def measured_layers(network: keras.Model) -> list[str]:
    """Return the layers whose ranges a twin needs, as TFLite names their tensors.

    Raises:
        InputError: a layer has no counterpart in integers.
    """
    names = []
    for layer, _, end in _fused(network):
        if isinstance(layer, (*_WEIGHTED, layers.Add)):
            names.append(_measured_name(layer, end))
    return names


def _measured_name(layer: keras.Layer, end: keras.Layer) -> str:
    # Without a ReLU, the sum keeps the convolution's name.
    return end.name if isinstance(end, layers.ReLU) else layer.name


def _fused(
    network: keras.Model,
) -> Iterator[tuple[keras.Layer, layers.BatchNormalization | None, keras.Layer]]:
    """Yield what becomes an operator: layer, batch norm, and the last one fused."""
    follower = {id(layer.input): layer for layer in network.layers}
    absorbed = set()
    for layer in network.layers:
        if isinstance(layer, layers.InputLayer) or layer.name in absorbed:
            continue
        norm, end = None, layer
        if isinstance(layer, _WEIGHTED):
            after = follower.get(id(end.output))
            if isinstance(after, layers.BatchNormalization):
                norm = end = after
            after = follower.get(id(end.output))
            if isinstance(after, layers.ReLU):
                end = after
            absorbed |= {end.name, norm.name if norm else end.name}
        elif not isinstance(
            layer, (*_PASSED_THROUGH, layers.Add, layers.AveragePooling2D)
        ):
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot be trained in"
                " 8 bits; give a network of this library"
            )
        yield layer, norm, end


def _plan(
    network: keras.Model, limits: Limits, precision: Precision
) -> Iterator[_Operation]:
    grids = {id(network.inputs[0]): IMAGE}
    for layer, norm, end in _fused(network):
        inputs = tuple(id(tensor) for tensor in keras.tree.flatten(layer.input))
        grid = grids[inputs[0]]
        if isinstance(layer, (*_WEIGHTED, layers.Add)):
            name = _measured_name(layer, end)
            if name not in limits:
                raise InputError(f"layer {name!r} has no range; calibrate it first")
            grid = Grid.of(limits[name], precision.activation_bits)
        output = id(end.output)
        grids[output] = grid
        yield _Operation(
            layer=layer,
            norm=norm,
            inputs=inputs,
            output=output,
            input_grids=tuple(grids[index] for index in inputs),
            grid=grid,
            precision=precision,
        )


def _round(values: Any) -> Any:
    """Round half to even, with gradient 1. The sum is exact in floating point."""
    return values + ops.stop_gradient(ops.round(values) - values)


def _pool(mean: Any, grid: Grid) -> Any:
    """Round a mean as TFLite does: halves away from the zero of int8, not of the grid.

    int8 begins at −128, the lowest step.
    """
    shift = grid.lowest + 128
    stored = mean - shift
    away = ops.sign(stored) * ops.floor(ops.abs(stored) + 0.5) + shift
    return mean + ops.stop_gradient(away - mean)


def _folded(
    layer: keras.Layer, norm: layers.BatchNormalization | None
) -> tuple[Any, Any]:
    """Return kernel and bias with the batch normalisation in them."""
    kernel = ops.convert_to_tensor(layer.kernel)
    if norm is None:
        return kernel, ops.convert_to_tensor(layer.bias)
    # In the order of Keras, whose roundings the converter folds.
    factor = ops.rsqrt(norm.moving_variance + norm.epsilon) * norm.gamma
    bias = norm.beta - norm.moving_mean * factor
    if isinstance(layer, layers.DepthwiseConv2D):
        factor = factor[:, None]
    return kernel * factor, bias


def _weight_step(layer: keras.Layer, kernel: Any, precision: Precision) -> Any:
    """Return the scale of a kernel, or of each of its output channels."""
    axes = list(range(len(kernel.shape)))
    if precision.per_channel and not isinstance(layer, layers.Dense):
        axes.remove(2 if isinstance(layer, layers.DepthwiseConv2D) else 3)
    largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    # Of a channel without weights, the scale is 1, as in TensorFlow's quantizer.
    largest = ops.where(largest > 0, largest, 2.0 ** (precision.weight_bits - 1) - 1)
    return ops.stop_gradient(largest) / (2 ** (precision.weight_bits - 1) - 1)


def _multiply(layer: keras.Layer, inputs: Any, kernel: Any) -> Any:
    if isinstance(layer, layers.Dense):
        return ops.matmul(inputs, kernel)
    return fast_layers.convolve(layer, inputs, kernel)
