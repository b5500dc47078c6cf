"""What the tests of the doctor share: files that were made wrongly, for real."""

import contextlib

import keras
import numpy as np
from PIL import Image

from edgetpu_lib import build, calibrate, convert, data
from edgetpu_lib.conversion import limits
from edgetpu_lib.doctor import ranges
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import MEAN, STDDEV

SIZE = 32


def quantize(float_tflite, images):
    """Quantize with the ranges of any images, also of values beyond 0..255."""
    network = ranges.open_network(float_tflite)
    rows = list(calibrate.iterate_ranges(float_tflite, images))
    tensors = {}
    for index, name in network.names.items():
        low = min(row.tensors[index].low for row in rows)
        high = max(row.tensors[index].high for row in rows)
        ends = np.array([low]), np.array([high])
        tensors[index] = calibrate.TensorRange(name, low, high, *ends)
    return convert.quantize(float_tflite, calibrate.Ranges(tensors, len(rows)))


def to_float(model):
    return convert.to_float_tflite(convert.with_softmax(model))


def rightly(images):
    return list(calibrate.device_images(images, SIZE))


def whole_square(images):
    stream = data.iterate_pixels(images, SIZE, resize="square")
    return [pixels.to_uint8(image) for image in stream]


def squeezed(images):
    """Resize whole images, as many a loader does."""
    arrays = []
    for path in images.paths:
        rgb = np.asarray(Image.open(path).convert("RGB"))
        arrays.append(pixels.to_uint8(pixels.resize_bicubic(rgb, SIZE)))
    return arrays


def as_unit(images):
    """Feed pixel / 255 where the model takes (pixel − 127) / 128."""
    return [image / np.float32(255) * 128 + 127 for image in images]


def noise(count=30, seed=1):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8))


def checkerboard(side=4):
    row, column = np.indices((SIZE, SIZE))
    board = ((row // side + column // side) % 2 * 255).astype(np.uint8)
    return np.repeat(board[..., None], 3, axis=-1)


def per_channel(float_tflite, images):
    """Quantize as today's TensorFlow does by itself: one scale a class."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    measured = calibrate.measure_ranges(float_tflite, images).tensors
    found = {index: (each.low, each.high) for index, each in measured.items()}
    return mlir_quantize(
        limits.write_limits(float_tflite, found, MEAN, STDDEV),
        input_data_type=tf.uint8,
        output_data_type=tf.uint8,
    )


def converted_by_tensorflow(model, fed):
    """Quantize with TensorFlow's own converter and what it is fed, [size, size, 3]."""
    import tensorflow as tf

    exported = convert.with_softmax(model)
    traced = tf.function(
        lambda images: exported(images, training=False),
        input_signature=[tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32, name="images")],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()], exported
    )
    converter.experimental_lower_to_saved_model = False
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in fed)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter.convert()


def with_batch_norms(model, **changes):
    """Return the same model and weights, other settings of batch normalisation."""

    def copy(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config.update(changes)
        return layer.__class__.from_config(config)

    made = keras.models.clone_model(model, clone_function=copy)
    made.set_weights(model.get_weights())
    return made


def settled(model, images):
    """Return the model with the statistics of its own activations, as if trained."""
    quick = with_batch_norms(model, momentum=0.0)
    arrays = pixels.normalize(data.load_pixels(images, SIZE))
    # Each pass settles the layers behind those that are settled.
    for _ in range(20):
        quick(arrays, training=True)
    return with_batch_norms(quick, momentum=build.BATCH_NORM_MOMENTUM)


@contextlib.contextmanager
def padded_on_both_sides():
    """Let models be built that pad as PyTorch does before a stride."""
    real = build.layers.Conv2D, build.layers.DepthwiseConv2D

    def symmetric(layer, kernel_at):
        def make(*arguments, **named):
            sizes = (*arguments[kernel_at:], 1, 1)
            kernel = named.get("kernel_size", sizes[0])
            stride = named.get("strides", sizes[1])
            if kernel == 1 or stride == 1:
                return layer(*arguments, **named)
            made = layer(*arguments, **{**named, "padding": "valid"})
            pad = keras.layers.ZeroPadding2D(kernel // 2)
            return lambda x: made(pad(x))

        return make

    build.layers.Conv2D = symmetric(real[0], 1)
    build.layers.DepthwiseConv2D = symmetric(real[1], 0)
    try:
        yield
    finally:
        build.layers.Conv2D, build.layers.DepthwiseConv2D = real


def fit_classifier(model, images, labels):
    """Let a random network tell classes apart by the mean features of each.

    Args:
        model: whose classifier is set.
        images: what it is fed, normalised.
        labels: indices of its outputs.
    """
    pooled = build.feature_model(model, "pooled_features").predict(images, verbose=0)
    features = pooled.reshape(len(labels), -1)
    centre = features.mean(axis=0)
    kernel = np.zeros((features.shape[1], model.output_shape[-1]))
    bias = np.full(model.output_shape[-1], -1e3)
    for label in np.unique(labels):
        mean = features[labels == label].mean(axis=0)
        kernel[:, label] = mean - centre
        bias[label] = -((mean - centre) * (mean + centre)).sum() / 2
    known = np.unique(labels)
    sharpness = 3 / (features @ kernel + bias)[:, known].std()
    model.get_layer("logits").set_weights(
        [kernel * sharpness, np.maximum(bias * sharpness, -20)]
    )
    return model
