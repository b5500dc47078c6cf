"""Operators of two files of one network find each other, by name or by order."""

import numpy as np
import pytest

from edgetpu_lib import convert
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.doctor import operator_pairs
from edgetpu_lib.tflite import edit
from edgetpu_lib.tflite import file as tflite_file


@pytest.fixture(scope="module")
def files(float_tflite, int8_tflite):
    return [tflite_file.read_tflite(path) for path in (float_tflite, int8_tflite)]


def renamed(path, word="tensor"):
    """Return a file whose tensors have other names, as of another converter."""
    model = edit.unpack(path.read_bytes())
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"{word}_{index}".encode()
    return tflite_file.read_tflite(edit.pack(model))


def test_all_but_quantizers_are_paired(files):
    pairs = operator_pairs.pair_operators(*files)
    assert len(pairs) == len(files[0].operators)
    assert [a.index for a, _ in pairs] == list(range(len(pairs)))
    assert all(a.kind == b.kind for a, b in pairs)
    left = {o.index for o in files[1].operators} - {b.index for _, b in pairs}
    assert {files[1].operators[index].kind for index in left} == {"QUANTIZE"}


def test_other_names_are_paired_by_order(files, int8_tflite):
    by_name = operator_pairs.pair_operators(*files)
    by_order = operator_pairs.pair_operators(files[0], renamed(int8_tflite))
    assert [(a.index, b.index) for a, b in by_name] == [
        (a.index, b.index) for a, b in by_order
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_another_network_is_refused(files, new_model, turned):
    other = convert.with_softmax(new_model(depth_coefficient=0.1))
    content = convert.to_int8_tflite(other, [np.zeros((32, 32, 3), np.uint8)])
    pair = [files[0], tflite_file.read_tflite(content)]
    with pytest.raises(InputError, match="block_.*different networks|different"):
        operator_pairs.pair_operators(*(pair[::-1] if turned else pair))


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("net_1/stem_relu_1/Relu;net_1/stem_bn_1/batchnorm/add_1", "stem_relu"),
        ("net/block_1_project_bn/batchnorm/add_1", "block_1_project_bn"),
        ("net_1/logits_1/MatMul;net_1/logits_1/BiasAdd", "logits"),
        ("Identity", "Identity"),
        ("tensor_12", "tensor_12"),
        ("", ""),
    ],
)
def test_layers_are_named_for_people(tensor, layer):
    assert operator_pairs.layer_name(tensor) == layer
