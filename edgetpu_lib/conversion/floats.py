"""Convert a Keras model to a float TFLite file."""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from typing import TYPE_CHECKING

import keras
from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.tflite import edit

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction


def to_float_tflite(model: keras.Model) -> bytes:
    """Convert to a float32 TFLite file of batch 1.

    Args:
        model: `with_softmax(…)` for a classifier, `build.feature_model(…)` for
            features.

    Returns:
        The file's bytes. Input: float32 [1, height, width, 3], as the model takes it:
        of this library's networks (pixel − 127) / 128. Outputs: the model's, float32.

    Raises:
        InputError: the model holds what TFLite has no operator for.
    """
    import tensorflow as tf

    traced = trace(model)
    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], model)
        # Converting the graph itself is four times as fast as by way of a SavedModel
        # on disk, and gives the same operators and predictions.
        converter.experimental_lower_to_saved_model = False
        with quiet_native(), contextlib.redirect_stdout(io.StringIO()):
            content = converter.convert()
    # TensorFlow and Keras raise many kinds.
    except Exception as error:
        raise not_convertible(model.name, error) from error
    return _with_signature(content)


def trace(model: keras.Model) -> ConcreteFunction:
    """Return a model as a TensorFlow function of one image, float32.

    Raises:
        InputError: a layer cannot compute one image alone.
    """
    import tensorflow as tf

    # The Edge TPU compiler refuses the open batch size of Keras' own export.
    shape = (1, *model.inputs[0].shape[1:])
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec(shape, tf.float32, name="images")],
        autograph=False,
    )
    try:
        return traced.get_concrete_function()
    except Exception as error:  # Whatever a layer raises.
        raise not_convertible(model.name, error) from error


def not_convertible(name: str, error: Exception) -> InputError:
    """Return the error of a conversion as one line, with the operators it names."""
    text = str(error)
    if operators := sorted(set(re.findall(r"'(tf\.\w+)' op", text))):
        reason = f"TFLite has no {', '.join(operators)}"
    elif "Assign" in text:
        reason = "it changes its variables, as in training; give its .keras file"
    else:
        reason = textwrap.shorten(text, 150, placeholder=" …") or type(error).__name__
    return InputError(
        f"{name} cannot be converted ({reason}); replace the layer, or end before it"
        " with --endpoint_name"
    )


def _with_signature(content: bytes) -> bytes:
    """Add the signature `serving_default`, which names the input and the outputs."""
    model = edit.unpack(content)
    subgraph = model.subgraphs[0]
    _remove_casts(model)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = [_tensor_map(b"images", subgraph.inputs[0])]
    signature.outputs = [
        _tensor_map(b"output_%d" % number, index)
        for number, index in enumerate(subgraph.outputs)
    ]
    model.signatureDefs = [signature]
    return edit.pack(model)


def _tensor_map(name: bytes, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _remove_casts(model: schema.ModelT) -> None:
    """Remove type casts of the input from a float file, and make the input float32.

    Models that take uint8 begin with one, and the quantizer leaves it on the CPU.
    """
    graph = model.subgraphs[0]
    taken = int(graph.inputs[0])
    codes = [code.builtinCode for code in model.operatorCodes]
    while casts := [
        operator
        for operator in graph.operators
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.CAST
        and int(operator.inputs[0]) == taken
    ]:
        made = {int(operator.outputs[0]) for operator in casts}
        graph.operators = [o for o in graph.operators if not any(o is c for c in casts)]
        for operator in graph.operators:
            operator.inputs = [taken if i in made else i for i in operator.inputs]
        graph.tensors[taken].type = schema.TensorType.FLOAT32
