"""Keras layers whose outputs and gradients a CPU computes faster.

Why (benchmarks/training.py --profile): TensorFlow on a CPU computes batch normalisation
in some twenty passes over the activations, gradients of a 1×1 convolution far slower
than a matrix product, and with oneDNN the filter gradient of a depthwise convolution at
a hundredth of the arithmetic's speed.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


def training_twin(model: keras.Model) -> keras.Model:
    """Return a copy of a model that trains and predicts faster on TensorFlow.

    Layer names and weights are the same, in variables of its own. On other backends, or
    below float32, its layers are Keras' own.
    """
    fast = keras.backend.backend() == "tensorflow" and all(
        layer.compute_dtype == "float32" for layer in model.layers
    )

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = _fast_kind(layer) if fast else type(layer)
        return kind.from_config(layer.get_config())

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    return twin


def _fast_kind(layer: keras.Layer) -> type[keras.Layer]:
    kinds = {
        layers.BatchNormalization: _BatchNormalization,
        layers.DepthwiseConv2D: _DepthwiseConvolution,
    }
    if isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1):
        kinds[layers.Conv2D] = _PointwiseConvolution
    return kinds.get(type(layer), type(layer))


class _BatchNormalization(layers.BatchNormalization):
    """Batch normalisation as one operation each way."""

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """Normalise float32 [batch, height, width, channels]."""
        import tensorflow as tf

        updating = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=tf.zeros([0]) if updating else self.moving_mean,
            variance=tf.zeros([0]) if updating else self.moving_variance,
            epsilon=self.epsilon,
            is_training=updating,
        )
        if not updating:
            return outputs
        # The operation divides by n − 1; Keras and the reference by n.
        count = tf.cast(tf.size(inputs) / tf.size(mean), variance.dtype)
        variance *= (count - 1) / count
        for moving, now in (self.moving_mean, mean), (self.moving_variance, variance):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs


class _PointwiseConvolution(layers.Conv2D):
    """A 1×1 convolution computed as a matrix product."""

    def call(self, inputs: Any) -> Any:
        """Multiply float32 [batch, height, width, channels]."""
        return _pointwise(inputs, self.kernel)


class _DepthwiseConvolution(layers.DepthwiseConv2D):
    """A depthwise convolution whose filter gradient is not oneDNN's."""

    def call(self, inputs: Any) -> Any:
        """Convolve float32 [batch, height, width, channels]."""
        return _depthwise(inputs, self.kernel, self.strides[0])


def convolve(layer: keras.Layer, inputs: Any, kernel: Any) -> Any:
    """Convolve as a layer of a network does, with another kernel and without bias.

    Args:
        layer: Conv2D or DepthwiseConv2D with "same" padding and square strides.
        inputs: float32 [batch, height, width, channels].
        kernel: float32, of the shape of the layer's own.
    """
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    if keras.backend.backend() == "tensorflow":
        if depthwise:
            return _depthwise(inputs, kernel, layer.strides[0])
        if layer.kernel_size == layer.strides == (1, 1):
            return _pointwise(inputs, kernel)
    function = keras.ops.depthwise_conv if depthwise else keras.ops.conv
    return function(inputs, kernel, layer.strides, "same")


def _pointwise(inputs: Any, kernel: Any) -> Any:
    import tensorflow as tf

    kernel = tf.convert_to_tensor(kernel)
    flat = tf.reshape(inputs, [-1, kernel.shape[2]])
    shape = tf.concat([tf.shape(inputs)[:-1], [kernel.shape[3]]], 0)
    return tf.reshape(tf.matmul(flat, kernel[0, 0]), shape)


def _depthwise(inputs: Any, kernel: Any, stride: int) -> Any:
    """Convolve; TensorFlow leaves explicit padding to its own kernels, not oneDNN's."""
    import tensorflow as tf

    size = kernel.shape[0]
    same = {"strides": [1, stride, stride, 1], "padding": "SAME"}

    @tf.custom_gradient
    def convolve(x, kernel):
        y = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, **same)

        def gradients(upstream):
            dx = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                **same,
            )
            total = max((y.shape[1] - 1) * stride + size - x.shape[1], 0)
            sides = [total // 2, total - total // 2]
            dkernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=same["strides"],
                padding="EXPLICIT",
                explicit_paddings=[0, 0, *sides, *sides, 0, 0],
            )
            return dx, dkernel

        return y, gradients

    return convolve(inputs, tf.convert_to_tensor(kernel))
