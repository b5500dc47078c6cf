"""Estimates agree with published latencies, and add up."""

import dataclasses
import functools
import importlib.util
import json
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import zoo

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.commands.main import main
from edgetpu_lib.costs import estimate, layers
from edgetpu_lib.costs.constants import CHIP, DEVICES
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.operator_costs import OperatorCost

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")

ROOT = Path(__file__).resolve().parents[3]
FAMILY = {
    "edgetpu_s": "efficientnet-edgetpu-S",
    "edgetpu_m": "efficientnet-edgetpu-M",
    "edgetpu_l": "efficientnet-edgetpu-L",
}
QUICKSTART = data_file("quickstart_quant.tflite")


@functools.cache
def benchmark():
    """Return the program that fits the constants, as a module."""
    path = ROOT / "benchmarks/estimate.py"
    spec = importlib.util.spec_from_file_location("estimate_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def described():
    return benchmark().read_descriptions()


@functools.cache
def published_rows():
    return json.loads((ROOT / "data/latency_published.json").read_text("utf-8"))


@functools.cache
def fitted():
    """Return the published rows that are fitted: key → published milliseconds."""
    sure = [
        row
        for row in benchmark().PUBLISHED
        if not benchmark().doubt_of(row, described()[row.key])
    ]
    return benchmark().column("usb_ms", sure)


def estimated(key, **where):
    costs = described()[key]
    return estimate.estimate_operators(
        costs,
        input_bytes=costs[0].input_bytes,
        output_bytes=costs[-1].output_bytes,
        **where,
    )


# Published networks.


@pytest.mark.parametrize("key", FAMILY)
def test_described_family_is_the_family_of_the_specs(key):
    rows = layers.layer_table(specs.SPECS[FAMILY[key]])
    macs = [cost.macs for cost in described()[key] if cost.macs]
    assert macs == [row.macs for row in rows]
    total = {"edgetpu_s": 1.789, "edgetpu_m": 3.013, "edgetpu_l": 7.936}
    assert estimated(key).macs / 1e9 == pytest.approx(total[key], abs=5e-4)


def test_constants_are_what_the_fit_gives():
    usb = benchmark().fit_usb(fitted(), described())
    found = np.exp(usb)
    assert found[:-1] == pytest.approx(dataclasses.astuple(CHIP), rel=0.01)
    assert found[-1] == pytest.approx(DEVICES["usb"].link_bytes_per_s, rel=0.01)
    board_ms = benchmark().column(
        "board_ms", [row for row in benchmark().PUBLISHED if row.key in fitted()]
    )
    board = np.exp(benchmark().fit_board(board_ms, described(), usb))
    for name in ("pcie", "dev-board"):
        assert board[-1] == pytest.approx(DEVICES[name].link_bytes_per_s, rel=0.01)


@pytest.mark.parametrize(
    ("column", "device"),
    [("desktop_cpu_ms", "usb"), ("board_cpu_ms", "dev-board")],
)
def test_constants_of_cpus_are_what_the_fit_gives(column, device):
    sure = [row for row in benchmark().PUBLISHED if row.key in fitted()]
    found = benchmark().fit_cpu(benchmark().column(column, sure), described())
    place = DEVICES[device]
    expected = place.cpu_macs_per_s, place.cpu_bytes_per_s
    assert found == pytest.approx(expected, rel=0.02)


@functools.cache
def constants_without_the_family():
    others = benchmark().without(fitted(), "edgetpu_s")
    assert len(others) == len(fitted()) - len(FAMILY)
    return benchmark().fit_usb(others, described())


@pytest.mark.parametrize("key", FAMILY)
def test_family_is_predicted_without_itself(key):
    constants = constants_without_the_family()
    found_ms = benchmark().estimated_ms(described()[key], "usb", constants)
    assert found_ms == pytest.approx(fitted()[key], rel=0.12)
    titles = {row.key: row.title for row in benchmark().PUBLISHED}
    row = next(r for r in published_rows() if r["network"] == titles[key])
    assert row["left_out_ms"] == pytest.approx(found_ms, rel=0.01)


@pytest.mark.parametrize(
    ("device", "published", "predicted"),
    [
        ("usb", "published_ms", "left_out_ms"),
        ("dev-board", "board_published_ms", "board_left_out_ms"),
    ],
)
def test_told_accuracy_is_that_of_the_rows(device, published, predicted):
    found = benchmark().accuracy(published_rows(), published, predicted)
    told = DEVICES[device].accuracy
    assert found.networks == told.networks
    assert found.median_error == pytest.approx(told.median_error, abs=2e-3)
    assert found.largest_error == pytest.approx(told.largest_error, abs=5e-3)
    assert told.median_error <= 0.15


def test_rows_are_the_published_table():
    assert [row["network"] for row in published_rows()] == [
        row.title for row in benchmark().PUBLISHED
    ]
    for row, known in zip(published_rows(), benchmark().PUBLISHED, strict=True):
        assert row["published_ms"] == known.usb_ms
        assert bool(row["not_fitted"]) == (known.key not in fitted())
        expected_ms = estimated(known.key).latency_ms
        assert row["estimated_ms"] == pytest.approx(expected_ms, rel=0.02)


def test_rows_of_other_networks_are_named():
    doubtful = {row["network"]: row["not_fitted"] for row in published_rows()}
    assert "121.0 MB" in doubtful["Inception-ResNet v2 (299)"]
    assert "43.6 MB" in doubtful["DenseNet (224)"]
    assert sum(map(bool, doubtful.values())) == 4


def test_family_is_in_order():
    latencies = [estimated(key).latency_ms for key in FAMILY]
    assert latencies == sorted(latencies)
    board = [estimated(key, device=DEVICES["dev-board"]).latency_ms for key in FAMILY]
    assert board == sorted(board)


# Blocks of the family.


def block_costs(block, size, kind):
    """Return the operators of a block, with its expansion of one kind or the other."""
    reduced, area = -(-size // block.stride), block.kernel_size**2
    wide = block.expanded_channels
    expand, depthwise = ("CONV_2D", "DEPTHWISE_CONV_2D")
    if kind == "fused":
        rows = [(expand, reduced, area, block.input_channels, wide)]
    else:
        rows = [
            (expand, size, 1, block.input_channels, wide),
            (depthwise, reduced, area, 1, wide),
        ]
    rows.append(("CONV_2D", reduced, 1, wide, block.output_channels))
    return [
        OperatorCost(
            index, kind, (1, side, side, filters), side**2, a, d, filters, 0, 0
        )
        for index, (kind, side, a, d, filters) in enumerate(rows)
    ]


def inside_ms(found):
    """Return the milliseconds of all operators, without the call and its transfers."""
    return found.latency_ms - found.shares_ms()["transfer"]


@functools.cache
def blocks_of(name):
    """Return (block, fused, inverted) of each block; estimates of its two kinds."""
    spec = specs.SPECS[name]
    size, found = -(-spec.image_size // 2), []
    for block in specs.expand_blocks(spec):
        both = [
            estimate.estimate_operators(
                block_costs(block, size, kind), input_bytes=0, output_bytes=0
            )
            for kind in ("fused", "inverted")
        ]
        found.append((block, *both))
        size = -(-size // block.stride)
    return found


@pytest.mark.parametrize("name", FAMILY.values())
def test_fused_blocks_win_where_the_family_has_them(name):
    """Google's search put them where they are fast; the fit did not know of that."""
    for block, fused, inverted in blocks_of(name):
        fused_ms, inverted_ms = inside_ms(fused), inside_ms(inverted)
        if block.stride == 2 and block.kind == "fused":
            assert fused_ms < inverted_ms
        if block.stage > 4:
            assert fused_ms > 1.5 * inverted_ms


def test_fused_blocks_use_the_chip_three_times_as_well():
    """So Google tells of some shapes, where the search found them worth it."""
    for block, fused, inverted in blocks_of("efficientnet-edgetpu-S"):
        if block.kind == "fused":
            fused_rate = fused.macs / inside_ms(fused)
            inverted_rate = inverted.macs / inside_ms(inverted)
            assert fused_rate > 2.3 * inverted_rate


# What the time is made of.


@pytest.mark.parametrize("key", ["edgetpu_l", "densenet", "vgg16", "unet"])
@pytest.mark.parametrize("device", DEVICES)
def test_shares_add_up(key, device):
    found = estimated(key, device=DEVICES[device])
    assert sum(found.shares_ms().values()) == pytest.approx(found.latency_ms)
    assert found.bound in found.shares_ms()
    on_device = sum(cost.parameter_bytes for cost in described()[key])
    assert found.cached_bytes + found.streamed_bytes == on_device
    for operator in found.operators:
        assert operator.latency_ms >= 0
        assert 0 <= operator.utilisation <= CHIP.utilisation + 1e-9
        assert not operator.on_cpu
        if operator.bound != "none":
            assert operator.shares_ms()[operator.bound] > 0


def test_parameters_are_sent_only_beyond_the_cache():
    cache = int(edge_tpu.PARAMETER_CACHE_BYTES)
    assert estimated("edgetpu_s").streamed_bytes == 0
    for key in ("edgetpu_m", "edgetpu_l", "vgg16"):
        found = estimated(key)
        assert found.cached_bytes == cache
        assert found.streamed_bytes > 0
    first = next(o for o in estimated("edgetpu_l").operators if o.streamed_bytes)
    assert first.cached_bytes, "it is cut where the cache is full"


def test_streaming_binds_the_dense_layers_of_vgg():
    found = estimated("vgg16")
    assert found.bound == "streaming"
    dense = [o for o in found.operators if o.cost.kind == "FULLY_CONNECTED"]
    assert {operator.bound for operator in dense} == {"streaming"}
    assert found.operators[1].bound == "compute"


def test_half_the_clock_doubles_what_the_chip_does():
    fast, slow = estimated("edgetpu_s"), estimated("edgetpu_s", clock="std")
    assert slow.shares_ms()["transfer"] == fast.shares_ms()["transfer"]
    for share in ("compute", "overhead"):
        assert slow.shares_ms()[share] == pytest.approx(2 * fast.shares_ms()[share])
    assert "clock" in slow.caveat
    # What a user measured with libedgetpu1-std, x2q.net 2026.
    measured_ms = estimated("mobilenet_v1", clock="std").latency_ms
    assert measured_ms == pytest.approx(3.9, rel=0.1)


# Files.


@pytest.mark.parametrize(
    ("name", "published_ms"),
    [("mobilenet_v1_0.25_128_quant", 0.9), ("mobilenet_v2_1.0_224_quant", 2.6)],
)
def test_file_takes_what_is_published(shared, name, published_ms):
    found = estimate.estimate_tflite(shared(f"models/{name}.tflite"))
    assert found.latency_ms == pytest.approx(published_ms, rel=0.1)
    assert not any(operator.on_cpu for operator in found.operators)


def test_operators_on_the_cpu_count(shared):
    """DeepLab is published with 52 ms; no constant was fitted to it."""
    path = shared("models/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    found = estimate.estimate_tflite(path)
    assert found.latency_ms == pytest.approx(52, rel=0.15)
    assert found.bound == "cpu"
    assert sum(operator.on_cpu for operator in found.operators) == 8
    assert "host" in found.caveat
    board = estimate.estimate_tflite(path, device="dev-board")
    assert board.latency_ms > found.latency_ms


def test_path_and_bytes_give_the_same():
    content = QUICKSTART.read_bytes()
    assert estimate.estimate_tflite(content) == estimate.estimate_tflite(QUICKSTART)
    assert estimate.estimate_tflite(content).latency_ms < 2


def test_activations_are_sent_back_for_the_cpu():
    found = estimate.estimate_tflite(zoo.hard_swish())
    assert [operator.on_cpu for operator in found.operators].count(True) == 2
    assert found.shares_ms()["cpu"] > 0
    for operator in found.operators:
        if operator.on_cpu:
            assert operator.bound == "cpu"
            assert operator.utilisation == operator.cached_bytes == 0


def test_reshape_costs_nothing():
    content = zoo.quantized(
        lambda x: zoo.tf.reshape(zoo.convolved(x), (1, 4, 16, 4)), zoo.PICTURE
    )
    found = estimate.estimate_tflite(content)
    (moved,) = [o for o in found.operators if o.cost.kind == "RESHAPE"]
    assert (moved.latency_ms, moved.bound) == (0, "none")


def test_model_that_stays_on_the_cpu_is_not_sent():
    found = estimate.estimate_tflite(zoo.sixteen_bits())
    assert found.shares_ms()["transfer"] == 0
    assert found.latency_ms == found.shares_ms()["cpu"] > 0


# Refusals.


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (zoo.float_model, "quantize"),
        (zoo.compiled, "before compilation"),
        (zoo.identity, "convert"),
        (zoo.open_batch, "batch"),
        (zoo.huge, "MiB"),
    ],
)
def test_file_that_would_not_run_is_refused_with_its_remedy(build, word):
    with pytest.raises(InputError, match=word):
        estimate.estimate_tflite(build())


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ({"device": "tpu"}, "dev-board"),
        ({"device": "pcie", "clock": "std"}, "use max"),
        ({"clock": "slow"}, "max or std"),
    ],
)
def test_unknown_device_or_clock_is_refused(where, word):
    with pytest.raises(InputError, match=word):
        estimate.estimate_tflite(QUICKSTART, **where)


def test_damaged_file_is_refused_or_estimated():
    content = np.frombuffer(QUICKSTART.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = content.copy()
        # Tables and numbers are at the end, behind the weights.
        places = rng.integers(len(content) * 3 // 4, len(content), 3)
        damaged[places] = rng.integers(0, 256, 3)
        try:
            found = estimate.estimate_tflite(damaged.tobytes())
        except InputError:
            refused += 1
        else:
            assert np.isfinite(found.latency_ms)
    assert 0 < refused < 60


# The command.

SCHEMA = {
    *("latency_ms", "device", "clock", "bound", "shares_ms", "invoke_ms", "input_ms"),
    *("output_ms", "input_bytes", "output_bytes", "macs", "parameter_bytes"),
    *("cached_bytes", "streamed_bytes", "operators", "accuracy", "caveat"),
}
OPERATOR_SCHEMA = {
    *("index", "operator", "on_cpu", "output_shape", "macs", "weight_bytes"),
    *("input_bytes", "output_bytes", "cached_bytes", "streamed_bytes", "latency_ms"),
    *("utilisation", "bound"),
}


@pytest.mark.parametrize("device", DEVICES)
def test_command_answers_in_json(capfd, device):
    assert main(["estimate", str(QUICKSTART), f"--device={device}", "--json"]) == 0
    prediction = json.loads(capfd.readouterr().out)
    assert set(prediction) == SCHEMA
    found = estimate.estimate_tflite(QUICKSTART, device=device)
    assert prediction["latency_ms"] == pytest.approx(found.latency_ms)
    assert sum(prediction["shares_ms"].values()) == pytest.approx(found.latency_ms)
    assert len(prediction["operators"]) == len(found.operators)
    assert all(set(operator) == OPERATOR_SCHEMA for operator in prediction["operators"])
    assert prediction["device"] == device
    known = DEVICES[device].accuracy
    assert prediction["accuracy"] == (known and dataclasses.asdict(known))
    assert "estimate" in prediction["caveat"]


def test_command_tells_people_what_takes_time(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["estimate", str(QUICKSTART), "--clock=std"]) == 0
    text = capfd.readouterr().out
    found = estimate.estimate_tflite(QUICKSTART, clock="std")
    assert f"{found.latency_ms:.1f} ms" in text
    assert found.caveat in text
    assert "250 MHz" in text
    assert "cached, none sent" in text
    slowest = max(found.operators, key=lambda operator: operator.latency_ms)
    assert f"{slowest.cost.index} {slowest.cost.kind}" in text
    assert "…" not in text


def test_command_refuses_in_one_line(capfd, tmp_path):
    path = tmp_path / "float.tflite"
    path.write_bytes(zoo.float_model())
    capfd.readouterr()
    assert main(["estimate", str(path)]) == 2
    told = capfd.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith(f"error: {path} would not run")
    assert main(["estimate", str(tmp_path / "none.tflite")]) == 2


WITHOUT_TENSORFLOW = """
import sys
from edgetpu_lib.commands.main import main
assert main(["estimate", sys.argv[1], "--json"]) == 0
heavy = {"keras", "tensorflow", "jax", "matplotlib", "scipy"} & set(sys.modules)
sys.exit(", ".join(heavy) or 0)
"""


def test_command_needs_neither_tensorflow_nor_time(tmp_path):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(QUICKSTART)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # A third of a second on an idle machine.
    assert time.monotonic() - start < 20


def test_milliseconds_are_added_without_rounding_on_any_python():
    # In Python 3.11, `sum` rounds after each addition: 0.9999999999999999.
    kinds = ("compute", "streaming", "overhead", "cpu")
    tenth = types.SimpleNamespace(shares_ms=lambda: dict.fromkeys(kinds, 0.1))
    assert set(estimate.total_shares_ms([tenth] * 10).values()) == {1.0}
