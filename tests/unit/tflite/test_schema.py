"""Our numbers of a TFLite file's fields are those of the schema that LiteRT ships."""

import inspect
import re

import pytest
from ai_edge_litert import schema_py_generated

from edgetpu_lib.tflite import schema

TABLES = {
    "Model": schema.MODEL,
    "OperatorCode": schema.OPERATOR_CODE,
    "Buffer": schema.BUFFER,
    "SubGraph": schema.SUBGRAPH,
    "Tensor": schema.TENSOR,
    "QuantizationParameters": schema.QUANTIZATION,
    "Operator": schema.OPERATOR,
}
OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "PACK": "PackOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "UNPACK": "UnpackOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
}
KINDS = {"Int8": "b", "Int32": "i", "Bool": "?"}


def source_of(table, field):
    return inspect.getsource(getattr(getattr(schema_py_generated, table), field))


def number_of(table, field):
    # Each place in the list of fields has two bytes, behind four of its own.
    return (int(re.search(r"Offset\((\d+)\)", source_of(table, field))[1]) - 4) // 2


@pytest.mark.parametrize(
    ("enumeration", "ours"),
    [("TensorType", schema.TENSOR_TYPES), ("BuiltinOperator", schema.OPERATORS)],
)
def test_types_and_operators_have_the_same_numbers(enumeration, ours):
    theirs = {
        number: name
        for name, number in vars(getattr(schema_py_generated, enumeration)).items()
        if isinstance(number, int) and number < len(ours)
    }
    assert len(theirs) > 15
    assert {n: ours[n].upper() for n in theirs} == theirs


@pytest.mark.parametrize("table", TABLES)
def test_fields_have_the_same_numbers(table):
    theirs = {field: number_of(table, field) for field in TABLES[table]}
    assert theirs == TABLES[table]


@pytest.mark.parametrize("kind", schema.OPTIONS)
def test_options_have_the_same_numbers_types_and_defaults(kind):
    union, fields = schema.OPTIONS[kind]
    assert union == getattr(schema_py_generated.BuiltinOptions, OPTIONS[kind])
    for field, (number, stored_as, default) in fields.items():
        source = source_of(OPTIONS[kind], field)
        assert number == number_of(OPTIONS[kind], field), field
        assert stored_as == KINDS[re.search(r"Get\(.*\.(\w+)Flags", source)[1]], field
        assert default == int(re.findall(r"return (\d+)", source)[-1]), field
