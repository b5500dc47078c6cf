"""Rounded weights are told from other weights, and padding from padding."""

import broken
import numpy as np
import pytest

from edgetpu_lib.doctor import weight_errors
from edgetpu_lib.tflite import edit


@pytest.fixture(scope="module")
def arrays(images):
    return broken.rightly(images)[:6]


@pytest.fixture(scope="module")
def contents(float_tflite, int8_tflite):
    return float_tflite.read_bytes(), int8_tflite.read_bytes()


def test_rounded_weights_are_the_same_weights(contents):
    rows, _ = weight_errors.compare_stored(*contents)
    assert {"stem_relu", "block_5_depthwise_relu", "logits"} <= {r.name for r in rows}
    for row in rows:
        assert row.larger == row.smaller == row.bias_changed == 0
        assert row.factor_low == pytest.approx(1, abs=0.01)
        assert row.factor_high == pytest.approx(1, abs=0.01)
        assert 0.5 < row.noise < 1.2
        assert row.scales == (1 if row.name == "logits" else row.channels)


def test_factors_are_found_channel_by_channel(contents):
    """Scales of stored weights are changed by hand."""
    model = edit.unpack(contents[1])
    graph = model.subgraphs[0]
    stem = next(o for o in graph.operators if len(o.inputs) == 3)
    quantization = graph.tensors[stem.inputs[1]].quantization
    factors = np.ones(len(quantization.scale), np.float32)
    factors[::2] = 1.05
    quantization.scale = np.array(quantization.scale) * factors
    row = weight_errors.compare_stored(contents[0], edit.pack(model))[0][0]
    assert row.name == "stem_relu"
    assert row.larger == pytest.approx(0.5, abs=0.1)
    assert row.smaller == 0
    assert row.factor_high == pytest.approx(1.05, abs=0.01)


def test_dominance_is_that_of_the_widest_channel(classifier, contents):
    row = weight_errors.compare_stored(*contents)[0][-1]
    reach = np.abs(np.array(classifier.get_layer("logits").kernel)).max(axis=0)
    assert row.name == "logits"
    assert row.dominance == pytest.approx(reach.max() / np.median(reach), rel=1e-4)


def test_padding_is_the_same_in_both_files(contents):
    assert weight_errors.compare_stored(*contents)[1] == ()


def test_padding_on_both_sides_is_found(new_model, contents, arrays):
    with broken.padded_on_both_sides():
        other = new_model()
    int8 = broken.quantize(broken.to_float(other), arrays)
    _, found = weight_errors.compare_stored(contents[0], int8)
    assert found[0].name == "stem_relu"
    # 32 pixels, a kernel of three, a stride of two.
    assert found[0].float_padding == (0, 1, 0, 1)
    assert found[0].int8_padding == (1, 1, 1, 1)


def test_an_explicit_pad_that_does_what_same_does_is_no_difference(contents):
    """The stem is given a PAD and no padding of its own, by hand."""
    from ai_edge_litert import schema_py_generated as schema

    model = edit.unpack(contents[0])
    graph = model.subgraphs[0]
    stem = graph.operators[0]
    code, buffer, sizes, padded = (
        schema.OperatorCodeT(),
        schema.BufferT(),
        schema.TensorT(),
        schema.TensorT(),
    )
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.PAD
    code.version = 1
    model.operatorCodes.append(code)
    buffer.data = np.frombuffer(
        np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32).tobytes(), np.uint8
    )
    model.buffers.append(buffer)
    sizes.shape, sizes.type, sizes.name = [4, 2], schema.TensorType.INT32, b"sizes"
    sizes.buffer = len(model.buffers) - 1
    padded.shape, padded.name = [1, 33, 33, 3], b"padded"
    graph.tensors += [sizes, padded]
    pad = schema.OperatorT()
    pad.opcodeIndex = len(model.operatorCodes) - 1
    pad.inputs = [int(stem.inputs[0]), len(graph.tensors) - 2]
    pad.outputs = [len(graph.tensors) - 1]
    pad.builtinOptionsType = schema.BuiltinOptions.PadOptions
    pad.builtinOptions = schema.PadOptionsT()
    stem.inputs = [pad.outputs[0], *map(int, stem.inputs[1:])]
    stem.builtinOptions.padding = schema.Padding.VALID
    graph.operators.insert(0, pad)
    assert weight_errors.compare_stored(edit.pack(model), contents[1])[1] == ()
