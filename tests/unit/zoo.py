"""Small TFLite files for the tests: good ones, and ones that are bad in one way each.

Most are converted by TensorFlow. What it does not write is changed by hand in a file
that it did.
"""

import copy
import functools

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib.tflite import edit

PICTURE = (1, 8, 8, 3)
OPERATOR_SETS = tf.lite.OpsSet


def weights(*shape):
    """Return seeded weights."""
    return tf.constant(np.random.default_rng(0).normal(0, 0.3, shape), tf.float32)


def convert(
    converter, shapes, *, ends=tf.uint8, low=-1.0, operators=None, one_dense_scale=True
):
    """Quantize to integers, calibrated on values from `low` to 1."""
    spread = [np.linspace(low, 1, np.prod(s), dtype=np.float32) for s in shapes]
    values = [v.reshape(shape) for v, shape in zip(spread, shapes, strict=True)]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [values]
    converter.target_spec.supported_ops = [
        operators or OPERATOR_SETS.TFLITE_BUILTINS_INT8
    ]
    converter.inference_input_type = converter.inference_output_type = ends
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        one_dense_scale
    )
    return converter.convert()


def converter_of(function, *shapes):
    """Return a converter of a function of floats."""
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    traced = tf.function(function, input_signature=signature)
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()]
    )


def quantized(function, *shapes, **how):
    """Return a function, traced on inputs of these shapes, as an integer file."""
    return convert(converter_of(function, *shapes), shapes, **how)


def convolved(images, channels=4, size=3, **how):
    """Convolve; the strides are 1 and the size stays."""
    kernel = weights(size, size, images.shape[-1] // how.pop("groups", 1), channels)
    return tf.nn.conv2d(images, kernel, 1, "SAME", **how)


def network(images):
    """Return the scores of a classifier as small as can be, with a branch."""
    wide = tf.nn.relu6(convolved(images))
    deep = tf.nn.depthwise_conv2d(wide, weights(3, 3, 4, 1), [1, 1, 1, 1], "SAME")
    pooled = tf.reduce_mean(wide + deep, [1, 2])
    return tf.nn.softmax(tf.matmul(pooled, weights(4, 5)) + weights(5))


@functools.cache
def ready():
    """Return the classifier's file: eight operators, all for the Edge TPU."""
    return quantized(network, PICTURE)


# Changes by hand.


def code_of(model, operator):
    """Return the entry that says of which kind and version an operator is."""
    return model.operatorCodes[operator.opcodeIndex]


def find(model, kind):
    """Return the first operator of a kind."""
    number = getattr(schema.BuiltinOperator, kind)
    operators = model.subgraphs[0].operators
    return next(o for o in operators if code_of(model, o).builtinCode == number)


def tensor_of(model, index):
    """Return a tensor of the first subgraph."""
    return model.subgraphs[0].tensors[index]


def edited(content, change):
    """Return a file after `change` was applied to its objects."""
    model = edit.unpack(content)
    change(model)
    return edit.pack(model)


def with_options(content, kind, **options):
    """Return a file with other options for the first operator of a kind."""

    def change(model):
        for name, value in options.items():
            setattr(find(model, kind).builtinOptions, name, value)

    return edited(content, change)


def with_values(content, kind, position, values):
    """Return a file with other integers stored in one input of an operator."""

    def change(model):
        tensor = tensor_of(model, find(model, kind).inputs[position])
        data = np.array(values, np.int32)
        model.buffers[tensor.buffer].data = np.frombuffer(data.tobytes(), np.uint8)
        tensor.shape = list(data.shape)

    return edited(content, change)


def with_shape(content, shape):
    """Return a file in which every tensor has one shape."""

    def change(model):
        for tensor in model.subgraphs[0].tensors:
            tensor.shape = list(shape)

    return edited(content, change)


def as_custom(content, kind, name):
    """Return a file in which the operators of a kind are custom ones."""

    def change(model):
        code = code_of(model, find(model, kind))
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name
        for operator in model.subgraphs[0].operators:
            if code_of(model, operator) is code:
                operator.builtinOptions, operator.builtinOptionsType = None, 0

    return edited(content, change)


# Files that are not quantized, or not all of it.


def float_model():
    return converter_of(network, PICTURE).convert()


def dynamic_range():
    converter = converter_of(lambda x: convolved(x, 64), PICTURE)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def float_ends():
    return quantized(network, PICTURE, ends=tf.float32)


def float_bias():
    def change(model):
        tensor = tensor_of(model, find(model, "CONV_2D").inputs[2])
        tensor.type = schema.TensorType.FLOAT32

    return edited(ready(), change)


def float_constant():
    """Let the second summand be a float constant behind a QUANTIZE."""

    def change(model):
        graph = model.subgraphs[0]
        total = find(model, "ADD")
        made = tensor_of(model, total.inputs[1])
        constant = schema.TensorT()
        constant.name, constant.shape = b"floats", made.shape
        constant.type, constant.buffer = schema.TensorType.FLOAT32, len(model.buffers)
        buffer = schema.BufferT()
        buffer.data = np.zeros(4 * int(np.prod(made.shape)), np.uint8)
        model.buffers.append(buffer)
        graph.tensors.append(constant)
        operator = find(model, "DEPTHWISE_CONV_2D")
        operator.opcodeIndex = find(model, "QUANTIZE").opcodeIndex
        operator.inputs = [len(graph.tensors) - 1]
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    return edited(ready(), change)


def sixteen_bits():
    operators = (
        OPERATOR_SETS.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    )
    return quantized(tf.nn.relu, PICTURE, ends=tf.int16, operators=operators)


def no_scale():
    def change(model):
        tensor_of(model, find(model, "MEAN").outputs[0]).quantization = None

    return edited(ready(), change)


# Files that the compiler refuses as a whole.


def open_batch():
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential(layers))
    return convert(converter, [PICTURE])


def grouped():
    return quantized(lambda x: convolved(x, groups=2), (1, 8, 8, 4))


def newer_version():
    def change(model):
        code_of(model, find(model, "ADD")).version = 4

    return edited(ready(), change)


def loop():
    def function(x):
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: [y + 1], [x])[0]

    return quantized(function, (1, 4))


def identity():
    return quantized(lambda x: x, (1, 4), ends=tf.float32)


def huge():
    return with_shape(quantized(tf.nn.relu, PICTURE), (1, 2048, 2048, 4))


def compiled():
    return as_custom(ready(), "CONV_2D", b"edgetpu-custom-op")


# Files with one operator that stays on the CPU.


def hard_swish():
    return quantized(lambda x: keras.activations.hard_swish(convolved(x)), PICTURE)


def gelu():
    return quantized(lambda x: tf.nn.gelu(convolved(x)), PICTURE)


def leaky_relu():
    return quantized(lambda x: tf.nn.leaky_relu(convolved(x)), PICTURE)


def arg_max():
    return quantized(lambda x: tf.argmax(tf.nn.relu(x), -1, tf.int32), (1, 16))


def custom():
    return as_custom(ready(), "SOFTMAX", b"Mystery")


def batch_of_eight():
    return quantized(convolved, (8, 8, 8, 3))


def computed_weights():
    def function(x, kernel):
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    return quantized(function, PICTURE, (1, 1, 3, 1))


def pool_with_activation():
    return quantized(lambda x: tf.nn.relu6(tf.nn.avg_pool2d(x, 2, 2, "SAME")), PICTURE)


def joined_with_activation():
    content = quantized(lambda x: tf.concat([tf.nn.relu(x), x], -1), PICTURE)
    return with_options(content, "CONCATENATION", fusedActivationFunction=1)


def long_softmax():
    return quantized(tf.nn.softmax, (1, 20_000))


def two_softmaxes():
    return quantized(tf.nn.softmax, (2, 10))


def two_rows():
    return quantized(lambda x: tf.matmul(x, weights(4, 5)), (2, 4))


def shuffled_weights():
    return with_options(ready(), "FULLY_CONNECTED", weightsFormat=1)


def mean_of_batch():
    return quantized(lambda x: tf.reduce_mean(x, 0), PICTURE)


def mean_of_channels(channels=6, **how):
    return quantized(lambda x: tf.reduce_mean(x, 3), (1, 8, 8, channels), **how)


def mean_of_large_map():
    return quantized(lambda x: tf.reduce_mean(x, [1, 2]), (1, 256, 128, 3))


def largest_of_batch():
    return quantized(lambda x: tf.reduce_max(x, 0), PICTURE)


def sum_of_batch():
    return quantized(lambda x: tf.reduce_sum(x, 0), PICTURE)


def enlarged(method="bilinear"):
    return quantized(lambda x: tf.image.resize(x, (33, 33), method), (1, 1, 1, 3))


def enlarged_nearest():
    return enlarged("nearest")


def enlarged_to_large_map():
    return quantized(lambda x: tf.image.resize(x, (1024, 1100)), (1, 512, 512, 3))


def large_reshape():
    return quantized(lambda x: tf.reshape(x, (1, 1024, 4096)), (1, 1024, 1024, 4))


def padded(paddings=((0, 0), (1, 1), (0, 0), (0, 0)), **how):
    return quantized(lambda x: tf.pad(x, paddings), PICTURE, **how)


def padded_batch():
    return with_values(padded(), "PAD", 1, [[1, 0], [0, 0], [0, 0], [0, 0]])


def joined_with_constant(value=1.0):
    constant = tf.fill((1, 8, 8, 1), value)
    return quantized(lambda x: tf.concat([x, constant], -1), PICTURE)


def split_batch():
    def function(x):
        first, second = tf.split(tf.nn.relu(x), 2, 3)
        return first * second

    return with_values(quantized(function, (1, 8, 8, 4)), "SPLIT", 0, 0)


def packed_batch():
    def function(x):
        return tf.stack([tf.nn.relu(x), tf.tanh(x)], 2)

    return with_options(quantized(function, (1, 8, 3)), "PACK", axis=0)


def uneven_dilation():
    return quantized(lambda x: convolved(x, dilations=[1, 1, 2, 1]), PICTURE)


def thinned_out():
    return quantized(lambda x: x[:, ::2], PICTURE)


def masked_slice():
    sliced = quantized(lambda x: x[:, 1:5], PICTURE)
    return with_options(sliced, "STRIDED_SLICE", newAxisMask=2)


def prelu(**how):
    slopes = keras.initializers.RandomUniform(0.1, 0.3, seed=0)
    layer = keras.layers.PReLU(alpha_initializer=slopes, **how)
    model = keras.Sequential([keras.Input(PICTURE[1:], batch_size=1), layer])
    return convert(tf.lite.TFLiteConverter.from_keras_model(model), [PICTURE])


def dense_per_channel():
    return quantized(network, PICTURE, one_dense_scale=False)


def composite():
    """Let an operator stand for a second subgraph."""

    def change(model):
        model.subgraphs.append(model.subgraphs[0])
        code = code_of(model, find(model, "SOFTMAX"))
        code.builtinCode = schema.BuiltinOperator.STABLEHLO_COMPOSITE
        code.deprecatedBuiltinCode = 127

    return edited(ready(), change)


def signatures():
    def change(model):
        model.subgraphs.append(model.subgraphs[0])

    return edited(ready(), change)


def tiled(shape, times):
    return quantized(lambda x: tf.tile(x, times), shape)


def tiled_map():
    return tiled((1, 1, 1, 3), (1, 8, 8, 1))


def tiled_channels():
    return tiled((1, 1, 1, 3), (1, 1, 1, 4))


def batch_matmul():
    return quantized(lambda x, y: tf.linalg.matmul(x, y), (1, 4, 8), (1, 8, 5))


def batch_matmul_per_channel():
    def change(model):
        tensor = tensor_of(model, find(model, "BATCH_MATMUL").inputs[1])
        tensor.quantization.scale = np.full(5, tensor.quantization.scale[0], np.float32)
        tensor.quantization.zeroPoint = np.zeros(5, np.int64)

    return edited(batch_matmul(), change)


def detections():
    """Let the last operator be a detection's postprocessing."""

    def shorten(model):
        graph = model.subgraphs[0]
        graph.operators = graph.operators[:-1]
        graph.outputs = graph.operators[-1].outputs

    content = as_custom(ready(), "SOFTMAX", b"TFLite_Detection_PostProcess")
    return edited(content, shorten)


def detections_of_floats():
    """Let the postprocessing read floats, and another operator follow it."""

    def change(model):
        graph = model.subgraphs[0]
        last = graph.operators[-1]
        detection, after = copy.deepcopy(last), copy.deepcopy(last)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = b"TFLite_Detection_PostProcess", 1
        detection.opcodeIndex = len(model.operatorCodes)
        after.opcodeIndex = find(model, "ADD").opcodeIndex
        model.operatorCodes.append(code)
        for operator in (detection, after):
            operator.inputs = [len(graph.tensors) - 1]
            if operator is detection:
                operator.inputs = list(last.outputs)
            graph.tensors.append(copy.deepcopy(tensor_of(model, last.outputs[0])))
            operator.outputs = [len(graph.tensors) - 1]
            operator.builtinOptions, operator.builtinOptionsType = None, 0
        after.inputs *= 2
        graph.operators += [detection, after]
        graph.outputs = after.outputs

    return edited(quantized(network, PICTURE, ends=tf.float32), change)


# Files that are ready, with something to know, or something unusual.


def requantized():
    return quantized(lambda x: tf.concat([tf.nn.softmax(x), x * 3], -1), (1, 16))


def large_activation():
    return with_shape(quantized(tf.nn.relu, PICTURE), (1, 1024, 1024, 4))


def many_parameters():
    return quantized(lambda x: tf.matmul(x, tf.ones((2000, 4000))), (1, 2000))


def cast_input():
    """Return a file of a Keras model that takes uint8."""
    import foreign

    return foreign.to_tflite(foreign.classifier("raw", dtype="uint8"), 0, 255)


def not_raw_pixels():
    return quantized(network, PICTURE, low=-0.4)


def signed_ends():
    return quantized(network, PICTURE, ends=tf.int8)


def to_scalar():
    return quantized(lambda x: tf.reshape(tf.nn.relu(x), []), (1,))


def values_behind():
    """Store the values behind the FlatBuffer, as files beyond 2 GB must."""
    model = edit.unpack(ready())
    stored = [b for b in model.buffers if b.data is not None and len(b.data)]
    values = [bytes(buffer.data) for buffer in stored]
    for buffer in stored:
        buffer.data, buffer.offset, buffer.size = None, 2, 2
    content = bytearray(edit.pack(model))
    for buffer, value in zip(stored, values, strict=True):
        content += bytes(-len(content) % 16)
        buffer.offset, buffer.size = len(content), len(value)
        content += value
    head = edit.pack(model)
    return head + bytes(content[len(head) :])


def branches():
    """Return one convolution before, and one beside, an operator that is unknown."""

    def function(x):
        first = convolved(x, 3)
        return tf.concat([keras.activations.hard_swish(first), convolved(first)], -1)

    return quantized(function, PICTURE)
