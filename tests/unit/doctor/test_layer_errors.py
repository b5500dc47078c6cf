"""Errors of layers are those that an independent calculation finds."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgetpu_lib import build, calibrate
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import layer_errors
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import edit


@pytest.fixture(scope="module")
def arrays(images):
    return list(calibrate.device_images(images, 32))


@pytest.fixture(scope="module")
def contents(float_tflite, int8_tflite):
    return float_tflite.read_bytes(), int8_tflite.read_bytes()


@pytest.fixture(scope="module")
def comparison(contents, arrays):
    return layer_errors.compare_layers(*contents, arrays)


def dequantized(content, arrays, name, **runtime):
    """Return one tensor of an integer file as real numbers, [images, ...]."""
    model = edit.unpack(content)
    graph = model.subgraphs[0]
    # The only output, so that nothing else keeps its memory from being used again.
    (index,) = [i for i, t in enumerate(graph.tensors) if t.name.decode() == name]
    graph.outputs, model.signatureDefs = [index], None
    opened = Interpreter(model_content=edit.pack(model), **runtime)
    opened.allocate_tensors()
    (detail,) = opened.get_output_details()
    scale, zero_point = detail["quantization"]
    rows = []
    for image in arrays:
        # Scale 1/128 and zero point 127: the bytes are the input.
        opened.set_tensor(opened.get_input_details()[0]["index"], image[None])
        opened.invoke()
        integers = opened.get_tensor(detail["index"]).astype(np.float64)
        rows.append((integers - zero_point) * scale)
    return np.concatenate(rows)


def by_hand(floats, integers):
    """Return signal-to-noise ratio, dB, and cosine."""
    noise = floats - integers
    snr_db = 10 * np.log10((floats**2).sum() / (noise**2).sum())
    norms = np.sqrt((floats**2).sum() * (integers**2).sum())
    return snr_db, (floats * integers).sum() / norms


# In the file and in Keras; what a convolution gives is named after its last layer.
LAYERS = [
    ("stem_relu", "stem_relu"),
    ("block_0_project_conv", "block_0_project_bn"),
    ("block_5_add", "block_5_add"),
    ("block_5_depthwise_relu", "block_5_depthwise_relu"),
    ("logits", "logits"),
]


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_errors_are_those_of_keras_against_dequantized_integers(
    classifier, contents, comparison, arrays, name, layer
):
    (found,) = [row for row in comparison.layers if row.name == name]
    images = pixels.normalize(np.stack(arrays))
    floats = build.feature_model(classifier, layer).predict(images, verbose=0)
    integers = dequantized(contents[1], arrays, found.tensor)
    snr_db, cosine = by_hand(floats.astype(np.float64), integers)
    assert found.snr_db == pytest.approx(snr_db, abs=0.05)
    assert found.cosine == pytest.approx(cosine, abs=1e-4)
    assert found.float_low == pytest.approx(floats.min(), abs=1e-4)
    assert found.float_high == pytest.approx(floats.max(), abs=1e-4)
    # Other kernels round some values to the other neighbour.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    others = dequantized(
        contents[1], arrays, found.tensor, experimental_op_resolver_type=resolver
    )
    assert found.snr_db == pytest.approx(by_hand(floats, others)[0], abs=3)


def test_every_operator_is_compared_in_the_order_of_the_network(comparison):
    names = [row.name for row in comparison.layers]
    assert comparison.layers[0].kind == layer_errors.INPUT
    assert names.index("stem_relu") == 1
    assert names.index("block_0_project_conv") < names.index("logits")
    assert comparison.layers[-1].kind == "SOFTMAX"


def test_scores_are_those_of_the_files(contents, comparison, arrays):
    for content, scores in zip(
        contents, (comparison.float_scores, comparison.int8_scores), strict=True
    ):
        opened = Interpreter(model_content=content)
        opened.allocate_tensors()
        given, taken = opened.get_output_details()[0], opened.get_input_details()[0]
        fed = arrays[3] if taken["dtype"] == np.uint8 else pixels.normalize(arrays[3])
        opened.set_tensor(taken["index"], fed[None])
        opened.invoke()
        expected = opened.get_tensor(given["index"]).ravel()
        if given["dtype"] == np.uint8:
            expected = expected / np.float32(256)
        np.testing.assert_allclose(scores[3], expected, atol=1.5 / 256)


def test_a_file_against_itself_has_no_error(contents, arrays):
    floats = contents[0]
    for row in layer_errors.compare_layers(floats, floats, arrays[:2]).layers:
        assert row.snr_db == layer_errors.NO_ERROR_DB
        assert row.cosine == pytest.approx(1, abs=1e-6)
        assert row.clipped == 0


def test_clipped_values_are_counted(contents, arrays):
    """The range of one tensor is halved by hand."""
    model = edit.unpack(contents[1])
    (tensor,) = [
        t
        for t in model.subgraphs[0].tensors
        if b"stem_relu" in t.name and t.type == 9 and len(t.quantization.scale) == 1
    ]
    tensor.quantization.scale = np.array(tensor.quantization.scale) / 2
    comparison = layer_errors.compare_layers(contents[0], edit.pack(model), arrays)
    row = comparison.layers[1]
    floats = dequantize_free(contents[0], arrays, row.tensor)
    limit = row.int8_high + (row.int8_high - row.int8_low) / 255 / 2
    assert row.clipped == pytest.approx(np.mean(floats > limit), abs=1e-4)
    assert row.clipped > 0


def dequantize_free(content, arrays, name):
    """Return one tensor of a float file."""
    opened = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    opened.allocate_tensors()
    index = [d["index"] for d in opened.get_tensor_details() if d["name"] == name][0]
    rows = []
    for image in arrays:
        taken = opened.get_input_details()[0]["index"]
        opened.set_tensor(taken, pixels.normalize(image)[None])
        opened.invoke()
        rows.append(opened.get_tensor(index))
    return np.concatenate(rows)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(contents, comparison, arrays, workers):
    again = layer_errors.compare_layers(*contents, arrays, workers=workers)
    assert again.layers == comparison.layers
    np.testing.assert_array_equal(again.int8_scores, comparison.int8_scores)


def test_no_picture_is_refused(contents):
    with pytest.raises(InputError, match="none"):
        layer_errors.compare_layers(*contents, [])
