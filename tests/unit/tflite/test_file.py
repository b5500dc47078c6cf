"""TFLite files are read as the runtime reads them; damaged ones are refused."""

import collections
import functools
import struct
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zoo
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import configuration, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.hardware import check
from edgetpu_lib.tflite import file as tflite_file

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")

# The same examples at every run; a busy machine is no failure; nothing is written here.
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")
QUICKSTART = data_file("quickstart_quant.tflite").read_bytes()
HUGE = (0x7FFFFFFF, 0xFFFFFFFF)
MIB = 1 << 20


@pytest.fixture(autouse=True)
def hurry():
    """Fail a test that computes for long."""
    start = time.process_time()
    yield
    assert time.process_time() - start < 60


def survives(content):
    """Check a file that may be damaged; return whether it could be read."""
    try:
        report = check.check_tflite(content)
    except InputError:
        return False
    assert report.edge_tpu_operators + report.cpu_operators == len(report.statuses)
    assert all(finding.remedy for finding in report.findings)
    return True


# What is read.


@pytest.fixture(params=["quickstart", "ready", "values_behind", "float_model"])
def content(request):
    """Return files that store their values in different ways."""
    return (
        QUICKSTART if request.param == "quickstart" else getattr(zoo, request.param)()
    )


@pytest.fixture
def runtime(content):
    """Return the same file as the runtime sees it."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    opened = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    opened.allocate_tensors()
    return opened


def test_tensors_are_those_of_the_runtime(content, runtime):
    details = {detail["index"]: detail for detail in runtime.get_tensor_details()}
    for index, tensor in enumerate(tflite_file.read_tflite(content).tensors):
        known = details[index]
        quantization = known["quantization_parameters"]
        assert tensor.name == known["name"]
        assert tensor.dtype == np.dtype(known["dtype"]).name
        assert tensor.shape == tuple(known["shape"])
        assert tensor.shape_signature == tuple(known["shape_signature"])
        assert tensor.elements == np.prod(known["shape"])
        assert list(tensor.scales) == quantization["scales"].tolist()
        assert list(tensor.zero_points) == quantization["zero_points"].tolist()


def test_values_are_those_of_the_runtime(content, runtime):
    file = tflite_file.read_tflite(content)
    computed = {index for operator in file.operators for index in operator.outputs}
    stored = {i for i, tensor in enumerate(file.tensors) if tensor.is_constant}
    assert stored == set(range(len(file.tensors))) - computed - set(file.inputs)
    for index in stored:
        tensor, known = file.tensors[index], runtime.get_tensor(index)
        assert bytes(tensor.stored.data) == known.tobytes()
        if not tensor.is_float:
            assert tensor.values() == known.ravel()[:64].tolist()


def test_operators_are_those_of_the_runtime(content, runtime):
    file = tflite_file.read_tflite(content)
    known = runtime._get_ops_details()
    assert [o.kind for o in file.operators] == [o["op_name"] for o in known]
    assert [o.index for o in file.operators] == [o["index"] for o in known]
    for found, expected in zip(file.operators, known, strict=True):
        assert found.inputs == tuple(expected["inputs"])
        assert found.outputs == tuple(expected["outputs"])
        assert not found.is_custom
        assert found.version >= 1


def test_ends_are_read(content, runtime):
    file = tflite_file.read_tflite(content)
    assert file.inputs == tuple(d["index"] for d in runtime.get_input_details())
    assert file.outputs == tuple(d["index"] for d in runtime.get_output_details())
    assert file.subgraphs == 1


def test_options_are_read():
    (convolution,) = (
        operator
        for operator in tflite_file.read_tflite(zoo.uneven_dilation()).operators
        if operator.kind == "CONV_2D"
    )
    assert convolution.options["DilationHFactor"] == 1
    assert convolution.options["DilationWFactor"] == 2


def test_open_sizes_are_read():
    file = tflite_file.read_tflite(zoo.open_batch())
    assert file.tensors[file.inputs[0]].shape_signature == (-1, 8, 8, 3)


def test_custom_operator_has_its_own_name():
    content = zoo.as_custom(zoo.ready(), "SOFTMAX", b"Mystery\x1b[2J\n")
    operator = tflite_file.read_tflite(content).operators[6]
    assert operator.is_custom
    assert operator.kind.startswith("Mystery")
    assert operator.kind.isprintable(), "a terminal would obey it"


def test_published_files_are_read(shared):
    for path in sorted(shared("models").glob("*.tflite")):
        assert tflite_file.read_tflite(path).operators, path


@pytest.mark.parametrize(
    ("name", "some", "total"),
    [
        ("mobilenet_v1_0.25_128_quant", {"DEPTHWISE_CONV_2D": 13, "SOFTMAX": 1}, 31),
        ("deeplabv3_mnv2_dm05_pascal_quant", {"RESIZE_BILINEAR": 3}, 72),
        ("split_concat", {"CONCATENATION": 2, "SPLIT": 1}, 3),
        ("mobilenet_v2_1.0_224_quant", {"ADD": 10}, 66),
        ("tf2_mobilenet_v2_1.0_224_ptq", {"ADD": 10}, 68),
        ("model_invoking_error", {"fake-op-double": 1}, 1),
        ("mobilenet_v1_0.25_128_quant_edgetpu", {"edgetpu-custom-op": 1}, 1),
    ],
)
def test_operators_of_published_models(shared, name, some, total):
    file = tflite_file.read_tflite(shared(f"models/{name}.tflite"))
    kinds = collections.Counter(operator.kind for operator in file.operators)
    assert kinds.items() >= some.items()
    assert kinds.total() == total


# What is no TFLite file.


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / "missing.tflite", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            tflite_file.read_tflite(path)


@pytest.mark.parametrize("cut", [0, 4, 7, 8, 100, len(QUICKSTART) // 2])
def test_empty_and_truncated_files_are_named(tmp_path, cut):
    path = tmp_path / "cut.tflite"
    path.write_bytes(QUICKSTART[:cut])
    with pytest.raises(InputError, match=str(path)):
        tflite_file.read_tflite(path)


@pytest.mark.parametrize(
    "content", [b"", b"text " * 50, b"\x1c\0\0\0TFL3", b"\x1c\0\0\0TFL3" + bytes(900)]
)
def test_unreadable_model_is_named(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        tflite_file.read_tflite(path)


def test_image_and_text_are_named(tmp_path):
    image, text = tmp_path / "image.tflite", tmp_path / "text.tflite"
    Image.new("RGB", (9, 9)).save(image, "png")
    text.write_text("no model at all, TFL3 or not\n" * 9)
    for path in (image, text):
        with pytest.raises(InputError, match=str(path)):
            tflite_file.read_tflite(path)


# Damage. Whatever the bytes, there is a report or an `InputError`.


@given(st.binary(max_size=400))
def test_random_bytes(content):
    assert not survives(content)


@settings(max_examples=500)
@given(st.binary(max_size=400))
@example(bytes(400))
@example(b"\xff" * 400)
def test_random_bytes_behind_the_identifier(content):
    survives(b"\x1c\0\0\0TFL3" + content)
    survives(content[:4].ljust(4, b"\0") + b"TFL3" + content[4:])


def test_truncation_anywhere():
    whole = zoo.ready()
    readable = [survives(whole[:size]) for size in range(0, len(whole), 5)]
    assert not any(readable[: len(readable) // 2])


@settings(max_examples=60)
@given(st.integers(0, len(QUICKSTART)))
def test_truncation_of_the_quickstart_model(size):
    survives(QUICKSTART[:size])


@pytest.mark.parametrize("value", HUGE)
def test_huge_number_anywhere(value):
    whole = zoo.ready()
    survivors = 0
    for position in range(0, len(whole) - 3, 4):
        content = bytearray(whole)
        struct.pack_into("<I", content, position, value)
        survivors += survives(bytes(content))
    assert 0 < survivors < len(whole) // 4


@functools.cache
def structure_of(content):
    """Return the positions of the bytes that are no weights."""
    is_structure = np.ones(len(content), bool)
    for tensor in tflite_file.read_tflite(content).tensors:
        data = bytes(tensor.stored.data)
        if len(data) > 64:
            start = content.index(data)
            is_structure[start : start + len(data)] = False
    return np.flatnonzero(is_structure)


def damaged(content, positions, changes):
    """Return a file with some bytes changed, or some words made huge."""
    content = bytearray(content)
    for where, value in changes:
        position = int(positions[where % len(positions)])
        if value < 256:
            content[position] = value
        else:
            position = min(position & ~3, len(content) - 4)
            struct.pack_into("<I", content, position, value)
    return bytes(content)


VALUES = st.one_of(
    st.integers(0, 255), st.sampled_from([*HUGE, 0x80000000, 1 << 16, 1 << 24])
)
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 24), VALUES), min_size=1, max_size=4)


@settings(max_examples=250)
@given(CHANGES)
def test_changes_to_the_quickstart_model(changes):
    survives(damaged(QUICKSTART, structure_of(QUICKSTART), changes))


@functools.cache
def small_models():
    """Return files that hold the operators with the most intricate limits."""
    builders = (
        zoo.ready,
        zoo.branches,
        zoo.split_batch,
        zoo.padded_batch,
        zoo.enlarged,
    )
    return [build() for build in builders]


@settings(max_examples=250)
@given(st.integers(0, 4), CHANGES)
def test_changes_to_small_models(which, changes):
    content = small_models()[which]
    survives(damaged(content, range(len(content)), changes))


@settings(max_examples=40)
@given(CHANGES)
def test_changes_to_published_models(shared, changes):
    for name in ("split_concat", "deeplabv3_mnv2_dm05_pascal_quant"):
        content = shared(f"models/{name}.tflite").read_bytes()
        survives(damaged(content, structure_of(content), changes))


SIZES = st.sampled_from([-(2**31), -2, -1, 0, 1, 2, 4, 33, 20_000, 2**20, 2**31 - 1])
SHAPES = st.lists(SIZES, max_size=6) | st.just([2**31 - 1] * 200)


@settings(max_examples=300)
@given(st.data())
def test_impossible_models(data):
    """Give tensors and operators values that no converter writes."""

    def change(model):
        graph = model.subgraphs[0]
        tensor = data.draw(st.sampled_from(graph.tensors))
        operator = data.draw(st.sampled_from(graph.operators))
        indices = st.lists(st.integers(-1, len(graph.tensors)), max_size=4)
        code = zoo.code_of(model, operator)
        part = data.draw(st.integers(0, 7))
        if part == 0:
            tensor.shape = data.draw(SHAPES)
        elif part == 1:
            tensor.shapeSignature = data.draw(SHAPES)
        elif part == 2:
            tensor.type = data.draw(st.integers(-1, 30))
        elif part == 3:
            operator.inputs = data.draw(indices)
        elif part == 4:
            operator.outputs = data.draw(indices)
        elif part == 5:
            code.builtinCode = code.deprecatedBuiltinCode = data.draw(
                st.integers(0, 127)
            )
        elif part == 6:
            operator.builtinOptions, operator.builtinOptionsType = None, 0
        else:
            tensor.buffer = data.draw(st.integers(0, len(model.buffers)))

    content = small_models()[data.draw(st.integers(0, 4))]
    for _ in range(data.draw(st.integers(1, 3))):
        content = zoo.edited(content, change)
    survives(content)


# Files that say little and cost much.


def repeated(content, field, which, count, filler=0):
    """Return a file with a list that names one table many times.

    A FlatBuffer points forwards only. So the file is there twice: the first copy's list
    lies behind it and names a table in the second.
    """
    content += bytes(-len(content) % 8)
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    table = graph._tab
    place = table.Pos + table.Offset({"Tensors": 4, "Operators": 10}[field])
    target = getattr(graph, field)(which)._tab.Pos
    first = len(content) + 4
    second = first + 4 * count + -(first + 4 * count) % 8
    offsets = second + target - (first + 4 * np.arange(count))
    made = bytearray(content)
    struct.pack_into("<I", made, place, first - 4 - place)
    made += struct.pack("<I", count) + offsets.astype("<u4").tobytes()
    made += bytes(second - len(made))
    return bytes(made) + content + bytes(filler)


def cost_of(content):
    """Return whether a file could be read, seconds, and bytes allocated at a time."""
    start = time.process_time()
    tracemalloc.start()
    try:
        readable = survives(content)
        return readable, time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("field", "which"), [("Tensors", 0), ("Operators", 0), ("Operators", 3)]
)
def test_million_times_the_same_table(field, which):
    content = repeated(zoo.ready(), field, which, 1_000_000)
    readable, seconds, memory = cost_of(content)
    assert not readable
    assert seconds < 20
    assert memory < 100 * MIB


def test_cost_grows_with_the_file_alone():
    content = repeated(zoo.ready(), "Operators", 3, 5_000, filler=200_000)
    readable, seconds, memory = cost_of(content)
    assert readable
    assert seconds < 20
    assert memory < 60 * len(content)


def test_large_constant_is_looked_at_once():
    """Joining 40,000 times with the same million zeros reads them once."""
    small = zoo.joined_with_constant(0.0)

    def grow(model):
        index = zoo.find(model, "CONCATENATION").inputs[1]
        tensor = zoo.tensor_of(model, index)
        tensor.shape = [1, 1000, 1000, 1]
        zero = tensor.quantization.zeroPoint[0] % 256
        model.buffers[tensor.buffer].data = np.full(1_000_000, zero, np.uint8)

    content = repeated(zoo.edited(small, grow), "Operators", 1, 40_000)
    start = time.process_time()
    assert check.check_tflite(content).ready
    assert time.process_time() - start < 30


def test_long_lists_are_cut():
    paddings = np.ones((200_000, 2), np.int32)
    content = zoo.with_values(zoo.padded(), "PAD", 1, paddings)
    (operator,) = (
        o for o in tflite_file.read_tflite(content).operators if o.kind == "PAD"
    )
    tensor = tflite_file.read_tflite(content).tensors[operator.inputs[1]]
    assert len(tensor.values()) < 100
    assert survives(repeated(content, "Operators", 1, 10_000))


def test_many_ends_are_searched_once():
    def multiply(model):
        graph = model.subgraphs[0]
        graph.inputs = [1] * 50_000 + [int(graph.inputs[0])]
        graph.outputs = [1] * 50_000 + [int(graph.outputs[0])]

    content = repeated(zoo.edited(zoo.ready(), multiply), "Operators", 0, 20_000)
    start = time.process_time()
    assert not check.check_tflite(content + bytes(1 << 20), runtime=12).ready
    assert time.process_time() - start < 20
