"""What the Edge TPU would take, told for files that are bad in one way each."""

import collections
import functools

import numpy as np
import pytest
import zoo

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.hardware import check, edge_tpu, partition
from edgetpu_lib.tflite import contract, feed
from edgetpu_lib.tflite import file as tflite_file
from edgetpu_lib.tflite.contract import TensorContract

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")

# Builder, code of the error, kind it is told of, operators on the Edge TPU, on the CPU.
BAD = [
    (zoo.float_model, "float-model", None, 0, 6),
    (zoo.dynamic_range, "float-model", None, 0, 1),
    (zoo.float_bias, "float-tensor", "CONV_2D", 1, 7),
    (zoo.float_constant, "quantize-inside", "QUANTIZE", 2, 6),
    (zoo.sixteen_bits, "unsupported-type", "RELU", 0, 1),
    (zoo.no_scale, "no-scale", "MEAN", 4, 4),
    (zoo.open_batch, "dynamic-shape", None, 0, 3),
    (zoo.grouped, "operator-version", "CONV_2D", 0, 3),
    (zoo.newer_version, "operator-version", "ADD", 0, 8),
    (zoo.loop, "several-subgraphs", None, 0, 4),
    (zoo.identity, "no-operators", None, 0, 0),
    (zoo.huge, "activations-too-large", None, 0, 3),
    (zoo.compiled, "already-compiled", None, 1, 7),
    (zoo.hard_swish, "unsupported-operator", "HARD_SWISH", 2, 2),
    (zoo.gelu, "unsupported-operator", "GELU", 2, 2),
    (zoo.leaky_relu, "unsupported-operator", "LEAKY_RELU", 2, 2),
    (zoo.arg_max, "unsupported-operator", "ARG_MAX", 2, 1),
    (zoo.custom, "unsupported-operator", "Mystery", 6, 2),
    (zoo.batch_of_eight, "rank", "QUANTIZE", 0, 3),
    (zoo.computed_weights, "non-constant-weights", "CONV_2D", 3, 2),
    (zoo.pool_with_activation, "fused-activation", "AVERAGE_POOL_2D", 1, 2),
    (zoo.joined_with_activation, "fused-activation", "CONCATENATION", 2, 2),
    (zoo.long_softmax, "softmax-limit", "SOFTMAX", 1, 2),
    (zoo.two_softmaxes, "softmax-limit", "SOFTMAX", 1, 2),
    (zoo.two_rows, "fully-connected-limit", "FULLY_CONNECTED", 1, 2),
    (zoo.shuffled_weights, "fully-connected-limit", "FULLY_CONNECTED", 5, 3),
    (zoo.mean_of_batch, "mean-limit", "MEAN", 1, 2),
    (zoo.mean_of_channels, "mean-limit", "MEAN", 1, 2),
    (zoo.mean_of_large_map, "mean-limit", "MEAN", 1, 2),
    (zoo.largest_of_batch, "reduction-limit", "REDUCE_MAX", 1, 2),
    (zoo.sum_of_batch, "reduction-limit", "SUM", 1, 2),
    (zoo.enlarged, "resize-limit", "RESIZE_BILINEAR", 1, 2),
    (zoo.enlarged_nearest, "resize-limit", "RESIZE_NEAREST_NEIGHBOR", 1, 2),
    (zoo.enlarged_to_large_map, "resize-limit", "RESIZE_BILINEAR", 1, 2),
    (zoo.large_reshape, "reshape-limit", "RESHAPE", 1, 2),
    (zoo.padded_batch, "pad-limit", "PAD", 1, 2),
    (zoo.joined_with_constant, "concatenation-limit", "CONCATENATION", 1, 2),
    (zoo.split_batch, "split-limit", "SPLIT", 2, 3),
    (zoo.packed_batch, "pack-limit", "PACK", 4, 2),
    (zoo.uneven_dilation, "dilation-limit", "CONV_2D", 1, 2),
    (zoo.thinned_out, "strided-slice-limit", "STRIDED_SLICE", 1, 2),
    (zoo.masked_slice, "strided-slice-limit", "STRIDED_SLICE", 1, 2),
    (zoo.prelu, "prelu-limit", "PRELU", 1, 2),
    (zoo.composite, "several-subgraphs", None, 0, 8),
    (zoo.signatures, "several-subgraphs", None, 0, 8),
    (zoo.tiled_channels, "tile-limit", "TILE", 1, 2),
    (zoo.batch_matmul_per_channel, "batch-matmul-limit", "BATCH_MATMUL", 2, 2),
    (zoo.detections, "detection-postprocessing", partition.DETECTION, 6, 1),
]
# Builder, code of the note or warning, kind it is told of.
NOTED = [
    (zoo.dense_per_channel, "per-channel-fully-connected", "FULLY_CONNECTED"),
    (zoo.requantized, "quantize-inside", "QUANTIZE"),
    (zoo.large_activation, "activations-large", None),
    (zoo.many_parameters, "parameters-streamed", None),
    (zoo.not_raw_pixels, "input-contract", None),
]
# What looks like the bad ones, and is none.
GOOD = [
    zoo.ready,
    zoo.signed_ends,
    zoo.to_scalar,
    zoo.values_behind,
    functools.partial(zoo.joined_with_constant, 0.0),
    functools.partial(zoo.mean_of_channels, 8),
    functools.partial(zoo.prelu, shared_axes=[1, 2]),
    zoo.tiled_map,
    zoo.batch_matmul,
    functools.partial(zoo.padded, [(0, 0), (0, 0), (0, 0), (0, 1)]),
]


def errors_of(report):
    return [finding for finding in report.findings if finding.level == "error"]


def named(value):
    return getattr(getattr(value, "func", value), "__name__", None)


def require_consistent(report, content):
    """Compare a report with its file, and with itself."""
    file = tflite_file.read_tflite(content)
    words = [word for _, word in report.statuses]
    assert [kind for kind, _ in report.statuses] == [o.kind for o in file.operators]
    assert report.edge_tpu_operators + report.cpu_operators == len(file.operators)
    assert report.edge_tpu_operators == words.count(edge_tpu.MAPPED)
    assert sum(count for _, count, _ in report.operation_log()) == len(words)
    assert report.ready == (not errors_of(report))
    levels = [finding.level for finding in report.findings]
    order = ("error", "warning", "note")
    assert levels == sorted(levels, key=order.index), "errors come first"
    names = {tensor.name for tensor in file.tensors}
    for finding in report.findings:
        assert finding.reason
        assert finding.remedy
        assert finding.evidence
        assert finding.tensor is None or finding.tensor in names
        if finding.operator:
            operator = file.operators[finding.operator.index]
            assert finding.operator.kind == operator.kind
            assert finding.operator.version == operator.version
            if finding.level == "error":
                assert words[operator.index] != edge_tpu.MAPPED


@pytest.mark.parametrize("build", GOOD, ids=named)
def test_good_file_is_ready(build):
    content = build()
    report = check.check_tflite(content)
    assert not report.findings
    assert report.ready
    assert report.cpu_operators == 0
    require_consistent(report, content)


@pytest.mark.parametrize(("build", "code", "kind", "mapped", "left"), BAD, ids=named)
def test_bad_file_has_its_own_error(build, code, kind, mapped, left):
    content = build()
    report = check.check_tflite(content)
    errors = errors_of(report)
    assert {finding.code for finding in errors} == {code}
    first = errors[0].operator
    assert (first and first.kind) == kind
    assert not report.ready
    assert (report.edge_tpu_operators, report.cpu_operators) == (mapped, left)
    require_consistent(report, content)


@pytest.mark.parametrize(("build", "code", "kind"), NOTED, ids=named)
def test_note_keeps_a_file_ready(build, code, kind):
    content = build()
    report = check.check_tflite(content)
    (note,) = report.findings
    is_warning = code == "per-channel-fully-connected"
    assert (note.code, note.level) == (code, "warning" if is_warning else "note")
    assert (note.operator and note.operator.kind) == kind
    assert report.ready
    assert report.cpu_operators == 0
    require_consistent(report, content)


def test_path_and_bytes_give_the_same_report(tmp_path):
    path = tmp_path / "ready.tflite"
    path.write_bytes(zoo.ready())
    assert check.check_tflite(path) == check.check_tflite(str(path))
    assert check.check_tflite(path) == check.check_tflite(zoo.ready())


def test_float_ends_cost_two_operators():
    content = zoo.float_ends()
    report = check.check_tflite(content)
    whole = check.check_tflite(zoo.ready())
    first, last = report.findings
    assert (first.code, first.operator.index) == ("float-input", 0)
    assert (last.code, last.operator.index) == ("float-output", 7)
    assert report.edge_tpu_operators == whole.edge_tpu_operators - 2
    assert report.cpu_operators == 2
    assert report.statuses[1:-1] == whole.statuses[1:-1]
    require_consistent(report, content)


# Which operators stay together.


@pytest.mark.parametrize(
    ("name", "mapped", "left"),
    [("cast_front", 4, 3), ("split_one", 7, 0), ("tile", 10, 0)],
)
def test_files_like_published_compilations(repo_root, name, mapped, left):
    path = repo_root / f"tests/golden/check/{name}.tflite"
    report = check.check_tflite(path)
    assert (report.edge_tpu_operators, report.cpu_operators) == (mapped, left)
    require_consistent(report, path)


def test_what_stands_in_front_stays_there(repo_root):
    path = repo_root / "tests/golden/check/cast_front.tflite"
    report = check.check_tflite(path)
    words = [word for _, word in report.statuses]
    assert [word == edge_tpu.MAPPED for word in words] == [False] * 2 + [True] * 4 + [
        False
    ]
    assert edge_tpu.CUT_OFF not in words
    assert not report.only_postprocessing_left


def unknown(model, kind):
    """Make the first operator of a kind one that nobody knows."""
    code = zoo.schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = zoo.schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = b"Mystery", 1
    model.operatorCodes.append(code)
    operator = zoo.find(model, kind)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptions, operator.builtinOptionsType = None, 0


@pytest.mark.parametrize(
    ("kinds", "mapped"),
    [
        (("QUANTIZE",), 7),
        (("QUANTIZE", "CONV_2D"), 6),
        (("QUANTIZE", "SOFTMAX"), 5),
        (("QUANTIZE", "DEPTHWISE_CONV_2D"), 1),
        (("CONV_2D",), 1),
    ],
    ids=str,
)
def test_only_a_chain_from_the_input_stands_in_front(kinds, mapped):
    def change(model):
        for kind in kinds:
            unknown(model, kind)

    report = check.check_tflite(zoo.edited(zoo.ready(), change))
    assert report.edge_tpu_operators == mapped


def test_front_of_one_input_leaves_the_other_alone():
    content = zoo.quantized(
        lambda x, y: zoo.convolved(x) + zoo.convolved(y), zoo.PICTURE, zoo.PICTURE
    )
    whole = check.check_tflite(content)
    report = check.check_tflite(zoo.edited(content, lambda m: unknown(m, "QUANTIZE")))
    assert whole.ready
    assert report.edge_tpu_operators == whole.edge_tpu_operators - 1


@pytest.mark.parametrize("behind", [0, 1])
def test_last_operator_is_not_told_to_move_behind_itself(behind):
    content = zoo.custom()
    if not behind:

        def shorten(model):
            graph = model.subgraphs[0]
            graph.operators = graph.operators[:-1]
            graph.outputs = graph.operators[-1].outputs

        content = zoo.edited(content, shorten)
    (last,) = check.check_tflite(content).findings
    middle = zoo.edited(zoo.ready(), lambda model: unknown(model, "MEAN"))
    (between,) = check.check_tflite(middle).findings
    assert "behind the last layer" in between.remedy
    assert "behind the last layer" not in last.remedy


@pytest.mark.parametrize(
    ("build", "alone"),
    [
        (zoo.detections, True),
        (zoo.ready, False),
        (zoo.arg_max, True),
        (zoo.gelu, False),
        (zoo.float_model, False),
        (zoo.float_ends, False),
        (zoo.custom, False),
        (zoo.branches, False),
    ],
    ids=named,
)
def test_postprocessing_alone_is_told_apart(build, alone):
    assert check.check_tflite(build()).only_postprocessing_left == alone


def test_unknown_operator_leaves_its_side_branch_alone():
    content = zoo.branches()
    report = check.check_tflite(content)
    assert report.statuses == (
        ("QUANTIZE", edge_tpu.MAPPED),
        ("CONV_2D", edge_tpu.MAPPED),
        ("CONV_2D", edge_tpu.MAPPED),
        ("HARD_SWISH", edge_tpu.NOT_SUPPORTED),
        ("CONCATENATION", edge_tpu.CUT_OFF),
        ("QUANTIZE", edge_tpu.CUT_OFF),
    )
    assert [f.operator.index for f in report.findings] == [3]
    assert report.operation_log()[1] == ("CONV_2D", 2, edge_tpu.MAPPED)
    require_consistent(report, content)


def test_tensors_left_out_join_no_operators():
    def leave_out(model):
        operators = model.subgraphs[0].operators
        beside, unknown = operators[2:4]
        beside.inputs = [*beside.inputs[:2], -1]
        unknown.outputs = [*unknown.outputs, -1]
        operators[2:4] = unknown, beside

    report = check.check_tflite(zoo.edited(zoo.branches(), leave_out))
    assert report.statuses[2] == ("HARD_SWISH", edge_tpu.NOT_SUPPORTED)
    assert report.statuses[3] == ("CONV_2D", edge_tpu.MAPPED)


def test_words_of_a_refused_file():
    report = check.check_tflite(zoo.grouped())
    assert {word for _, word in report.statuses} == {edge_tpu.NOT_COMPILED}
    assert report.is_refused


@pytest.mark.parametrize(
    ("build", "refused"),
    [
        (zoo.compiled, True),
        (zoo.identity, True),
        (zoo.ready, False),
        (zoo.sixteen_bits, False),
    ],
    ids=named,
)
def test_refused_is_what_not_even_a_part_is_made_of(build, refused):
    assert check.check_tflite(build()).is_refused == refused


def test_subgraphs_are_called_what_they_are():
    reasons = {
        check.check_tflite(build()).findings[0].reason
        for build in (zoo.loop, zoo.composite, zoo.signatures)
    }
    assert len(reasons) == 3
    assert [("branches" in reason) for reason in sorted(reasons)].count(True) == 1


def test_every_refusal_is_told():
    content = zoo.edited(
        zoo.float_model(), lambda model: model.subgraphs.append(model.subgraphs[0])
    )
    codes = [finding.code for finding in check.check_tflite(content).findings]
    assert codes == ["several-subgraphs", "float-model"]


# Runtime versions.


@pytest.mark.parametrize("runtime", [9, 15, 0, -1])
def test_runtime_that_does_not_exist_is_refused(runtime):
    with pytest.raises(InputError, match=str(runtime)):
        check.check_tflite(zoo.ready(), runtime=runtime)


def test_quantize_needs_runtime_13():
    report = check.check_tflite(zoo.ready(), runtime=12)
    assert {finding.code for finding in report.findings} == {"runtime-version"}
    assert {finding.operator.kind for finding in report.findings} == {"QUANTIZE"}
    assert check.check_tflite(zoo.ready(), runtime=13).ready
    assert check.check_tflite(zoo.signed_ends(), runtime=10).ready


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (functools.partial(zoo.mean_of_channels, 8), "mean-limit"),
        (functools.partial(zoo.padded, [(0, 0), (0, 0), (0, 0), (0, 1)]), "pad-limit"),
    ],
    ids=named,
)
def test_limits_that_fell_with_runtime_13(build, code):
    content = build(ends=zoo.tf.int8)
    assert check.check_tflite(content, runtime=13).ready
    old = check.check_tflite(content, runtime=12)
    assert [finding.code for finding in old.findings] == [code]


def test_an_input_that_is_cast_is_told_of_the_input():
    report = check.check_tflite(zoo.cast_input())
    (remedy,) = {
        each.remedy for each in report.findings if each.operator.kind == "CAST"
    }
    assert "input" in remedy and "output" not in remedy


# What is fed.


def test_raw_pixels_are_told():
    report = check.check_tflite(zoo.ready())
    assert report.input.dtype == "uint8"
    assert report.input.shape == zoo.PICTURE
    assert report.input.scale == pytest.approx(1 / 127.5)
    assert "raw" in report.feed
    signed = check.check_tflite(zoo.signed_ends())
    assert signed.input.dtype == "int8"
    assert "raw" in signed.feed


def test_arithmetic_is_told_where_pixels_are_not_raw():
    report = check.check_tflite(zoo.not_raw_pixels())
    assert "raw" not in report.feed
    assert "--mean" in report.feed and "--mean" in report.findings[0].remedy
    assert f"{report.input.scale:.7g}" in report.feed
    given = check.check_tflite(zoo.not_raw_pixels(), pixel_scale=(80, 175))
    assert "(pixel − 80) / 175" in given.feed
    assert f"{report.input.scale:.7g}" in given.feed


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("scale", "zero_point"),
    [(1 / 128, 127), (1 / 128, 128), (1 / 127.5, 127), (1 / 127.5, 128)]
    + [(1 / 255, 0), (1 / 256, 0), (1, 0)],
)
def test_usual_scales_take_raw_bytes(scale, zero_point, dtype):
    shift = 0 if dtype == "uint8" else 128
    taken = TensorContract(dtype, (1, 8, 8, 3), scale, zero_point - shift)
    assert contract.convention_of(taken)


@pytest.mark.parametrize(
    ("scale", "zero_point"),
    [(1 / 128, 0), (1, 128), (2, 0), (1 / 255, 128), (0.0187, 114), (1 / 193, 146)],
)
def test_other_scales_are_unknown(scale, zero_point):
    taken = TensorContract("uint8", (1, 8, 8, 3), scale, zero_point)
    assert contract.convention_of(taken) is None


def test_bytes_without_a_scale_are_raw():
    taken = TensorContract("uint8", (1, 8, 8, 3), 0.0, 0)
    assert contract.convention_of(taken) == contract.RAW
    pixels = np.arange(192).reshape(8, 8, 3)
    assert np.array_equal(feed.quantize_input(pixels, taken)[0], pixels)


def test_inputs_of_other_kinds_are_told():
    scores = check.check_tflite(zoo.two_softmaxes())
    assert "2×10" in scores.feed
    floats = check.check_tflite(zoo.float_model())
    assert "float32" in floats.feed
    without = zoo.edited(
        zoo.ready(), lambda model: setattr(model.subgraphs[0], "inputs", [])
    )
    assert check.check_tflite(without).input.shape == ()


def test_floats_for_a_detection_are_part_of_its_postprocessing():
    report = check.check_tflite(zoo.detections_of_floats())
    kinds = {f.operator.kind: f.code for f in errors_of(report)}
    assert kinds["DEQUANTIZE"] == "detection-postprocessing"
    assert [kind for kind, word in report.statuses if word != edge_tpu.MAPPED] == [
        "QUANTIZE",
        "DEQUANTIZE",
        partition.DETECTION,
        "ADD",
    ]
    # The float input alone keeps it from being as good as it gets.
    assert not report.only_postprocessing_left
    content = zoo.edited(zoo.detections_of_floats(), feed_integers)
    assert check.check_tflite(content).only_postprocessing_left


def feed_integers(model):
    """Let the model begin behind its first operator."""
    graph = model.subgraphs[0]
    graph.inputs = graph.operators[0].outputs
    graph.operators = graph.operators[1:]


# Files made to deceive.


@pytest.mark.parametrize(
    ("build", "kind", "index"),
    [(zoo.dense_per_channel, "FULLY_CONNECTED", 5), (zoo.float_ends, "QUANTIZE", 0)],
    ids=named,
)
def test_custom_operator_is_not_taken_for_a_builtin_one(build, kind, index):
    content = zoo.as_custom(build(), kind, kind.encode())
    findings = check.check_tflite(content).findings
    codes = [f.code for f in findings if f.operator and f.operator.index == index]
    assert codes == ["unsupported-operator"]


def test_options_of_another_operator_are_not_read():
    def swap(model):
        pool = zoo.schema.Pool2DOptionsT()
        pool.strideH = pool.strideW = pool.padding = 1
        operator = zoo.find(model, "FULLY_CONNECTED")
        operator.builtinOptions = pool
        operator.builtinOptionsType = zoo.schema.BuiltinOptions.Pool2DOptions

    assert check.check_tflite(zoo.edited(zoo.ready(), swap)).ready


def test_float_operator_between_constants_is_no_crash():
    """An operator may compute with stored values alone, in a file without inputs."""

    def change(model):
        graph = model.subgraphs[0]
        total = zoo.find(model, "ADD")
        stored = zoo.tensor_of(model, zoo.find(model, "FULLY_CONNECTED").inputs[1])
        stored.type = zoo.schema.TensorType.FLOAT32
        graph.tensors, graph.operators = [stored], [total]
        graph.inputs, graph.outputs = [], [0]
        total.inputs, total.outputs = [0, 0], [0]

    report = check.check_tflite(zoo.edited(zoo.ready(), change))
    assert [finding.code for finding in report.findings] == ["float-model"]


# Refusing.


def test_ready_file_passes():
    assert check.require_ready(zoo.ready()) == check.check_tflite(zoo.ready())
    assert check.require_ready(zoo.requantized()).findings


def test_own_files_avoid_what_some_interpreters_get_wrong():
    with pytest.raises(InputError, match="scales"):
        check.require_ready(zoo.dense_per_channel())


def test_first_error_is_named_where_a_file_is_refused():
    first = check.check_tflite(zoo.hard_swish()).findings[0]
    with pytest.raises(InputError) as refused:
        check.require_ready(zoo.hard_swish())
    assert first.reason in str(refused.value)
    assert first.remedy in str(refused.value)
    assert str(first.operator.index) in str(refused.value)
    with pytest.raises(InputError):
        check.require_ready(zoo.float_model())


# What Google's own compiler did.


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v1_0.25_128_quant",
        "deeplabv3_mnv2_dm05_pascal_quant",
        "split_concat",
    ],
)
def test_compiler_left_the_same_operators_on_the_cpu(shared, name):
    path = shared(f"models/{name}.tflite")
    compiled = tflite_file.read_tflite(shared(f"models/{name}_edgetpu.tflite"))
    left = collections.Counter(o.kind for o in compiled.operators)
    assert left.pop(check.COMPILED_OPERATOR) == 1
    report = check.check_tflite(path)
    predicted = collections.Counter(
        kind for kind, word in report.statuses if word != edge_tpu.MAPPED
    )
    assert predicted == left
    assert report.ready == (not left)
    require_consistent(report, path)


@pytest.mark.parametrize(
    "name", ["mobilenet_v2_1.0_224_quant", "tf2_mobilenet_v2_1.0_224_ptq"]
)
def test_published_classifiers_are_ready(shared, name):
    path = shared(f"models/{name}.tflite")
    report = check.check_tflite(path)
    assert not report.findings
    assert report.ready
    require_consistent(report, path)


def test_quickstart_model_is_ready():
    content = data_file("quickstart_quant.tflite").read_bytes()
    assert not check.check_tflite(content).findings
    require_consistent(check.require_ready(content), content)
