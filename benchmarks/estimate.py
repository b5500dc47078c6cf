"""Fit the constants of `edgetpu_lib.costs.estimate`, and say how well it predicts.

Google published the latencies of some networks on the Edge TPU. They are built again
without weights, converted to float TFLite and described operator by operator, which is
all that an estimate needs; the descriptions are kept in
`tests/golden/published_networks.npz`. Then the constants are fitted by least squares of
the logarithms, once with all rows, and for each row without it and its relatives, so
that ResNet-50 is not predicted from ResNet-50.

    python benchmarks/estimate.py              # fit, print the table: seconds
    python benchmarks/estimate.py --rebuild    # describe the networks again: minutes
    python benchmarks/estimate.py --write      # and write data/latency_published.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import optimize

from edgetpu_lib.base import artifacts
from edgetpu_lib.costs import constants as estimate_constants
from edgetpu_lib.costs import estimate
from edgetpu_lib.hardware.operator_costs import OperatorCost, operator_costs
from edgetpu_lib.tflite import file as tflite_file

ROOT = Path(__file__).resolve().parents[1]
DESCRIPTIONS = ROOT / "tests/golden/published_networks.npz"
ROWS = ROOT / "data/latency_published.json"
# Of an operator, in the order of their columns in DESCRIPTIONS.
FIELDS = "positions kernel_area depth filters input_bytes output_bytes".split()

# How far a network built again may be from the file that was measured, in parameters.
SIZE_TOLERANCE = 0.1
BENCHMARKS = "coral.ai/docs/edgetpu/benchmarks"
MODELS = "coral.ai/models"


@dataclasses.dataclass(frozen=True)
class Published:
    """What is known of one network on the Edge TPU.

    Attributes:
        key: of `networks.BUILDERS`.
        title: with the input size.
        page: where the latency was published.
        usb_ms: on a USB Accelerator at 500 MHz beside a desktop.
        board_ms: on a Dev Board.
        desktop_cpu_ms: on the desktop's CPU alone.
        board_cpu_ms: on a Cortex-A53 alone.
        hosted_mb: size of the float file of that name that TensorFlow Lite hosted and
            that was there to be measured. Source: tensorflow.org/lite hosted models.
        doubt: why the network may be another than the measured one.
    """

    key: str
    title: str
    page: str
    usb_ms: float
    board_ms: float | None = None
    desktop_cpu_ms: float | None = None
    board_cpu_ms: float | None = None
    hosted_mb: float | None = None
    doubt: str = ""


# Not used are: CPU times of the EfficientNets on x86, for which TensorFlow Lite's
# 8-bit kernels were not made; detectors, whose last step runs on the CPU; DeepLab, for
# the same reason (a test looks at it). The copy of the page that was read ends within
# the row of L, whose numbers are from memory. coral.ai/models tells 5.0, 7.3 and 21.3
# ms for S, M and L, perhaps of a later compiler; the table that has all the others is
# used. SqueezeNet 1.0 and 1.1 are of one size; the CPU times are those of 1.0.
PUBLISHED = (
    #                                   USB, Dev Board, desktop's CPU, Cortex-A53: ms
    Published(
        "mobilenet_v1_quarter", "MobileNet v1 0.25 (128)", MODELS, 0.9, hosted_mb=1.9
    ),
    Published(
        "squeezenet", "SqueezeNet (224)", BENCHMARKS, 2.1, 2.0, 55, 232, hosted_mb=5.0
    ),
    Published(
        *("mobilenet_v1", "MobileNet v1 (224)", BENCHMARKS, 2.4, 2.4, 53, 164),
        hosted_mb=16.9,
    ),
    Published(
        *("mobilenet_v2", "MobileNet v2 (224)", BENCHMARKS, 2.6, 2.6, 51, 122),
        hosted_mb=14.0,
    ),
    Published("inception_v1", "Inception v1 (224)", BENCHMARKS, 3.4, 4.1, 90, 392),
    Published(
        "edgetpu_s", "EfficientNet-EdgeTPU-S (224)", BENCHMARKS, 5.1, 5.5, None, 705
    ),
    Published(
        "edgetpu_m", "EfficientNet-EdgeTPU-M (240)", BENCHMARKS, 8.7, 10.6, None, 1081
    ),
    Published(
        "edgetpu_l", "EfficientNet-EdgeTPU-L (300)", BENCHMARKS, 25.3, 30.5, None, 2717
    ),
    Published("inception_v3", "Inception v3 (299)", MODELS, 42.8, hosted_mb=95.3),
    Published("resnet50_v1", "ResNet-50 v1 (299)", BENCHMARKS, 49, 56, 484, 1763),
    Published("resnet50_v2", "ResNet-50 v2 (299)", BENCHMARKS, 50, 59, 557, 1875),
    Published(
        *("inception_v4", "Inception v4 (299)", BENCHMARKS, 85, 102, 700, 3157),
        hosted_mb=170.7,
    ),
    Published("resnet152_v2", "ResNet-152 v2 (299)", BENCHMARKS, 128, 151, 1823, 5499),
    Published("vgg16", "VGG16 (224)", BENCHMARKS, 296, 343, 867, 4595),
    Published("vgg19", "VGG19 (224)", BENCHMARKS, 308, 357, 1060, 5538),
    Published(
        *("inception_resnet_v2", "Inception-ResNet v2 (299)", BENCHMARKS),
        *(57, 69, 753, 2852),
        hosted_mb=121.0,
    ),
    Published(
        "densenet", "DenseNet (224)", BENCHMARKS, 20, 25, 380, 1032, hosted_mb=43.6
    ),
    Published(
        *("unet", "U-Net MobileNet v2 (128)", BENCHMARKS, 3.3, 5.7, 27.7, 190.7),
        doubt="built after a tutorial; the page does not say which network it is",
    ),
    Published(
        *("inception_v2", "Inception v2 (224)", MODELS, 13.4),
        doubt="the page calls it v3; input and size of the file are those of v2",
    ),
)
# Measured by a user from Python with libedgetpu1-std, 250 MHz: x2q.net, 2026. No
# constant is fitted to them.
SLOW_CLOCK_MS = {"mobilenet_v1": 3.9, "edgetpu_l": 31.0}


# Networks → descriptions.


def describe(key: str) -> list[tuple[str, list[int]]]:
    """Build a network and return kind and FIELDS of each of its operators."""
    from edgetpu_lib.base.quiet import start_tensorflow

    start_tensorflow()
    import keras
    import networks
    import tensorflow as tf

    model = networks.build_network(key)
    images = keras.Input(model.input_shape[1:], batch_size=1)
    fixed = keras.Model(images, model(images))
    content = tf.lite.TFLiteConverter.from_keras_model(fixed).convert()
    file = tflite_file.read_tflite(content)
    # The same operators compute with a byte a number once they are quantized.
    tensors = [
        dataclasses.replace(t, dtype="int8") if t.is_float else t for t in file.tensors
    ]
    costs = operator_costs(dataclasses.replace(file, tensors=tuple(tensors)))
    return [(cost.kind, [getattr(cost, field) for field in FIELDS]) for cost in costs]


def rebuild(keys: list[str]) -> None:
    """Describe networks again, each in a process that gives its memory back."""
    kept = dict(np.load(DESCRIPTIONS)) if DESCRIPTIONS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for key in keys:
            print(f"{key} …", file=sys.stderr)
            path = Path(folder) / f"{key}.json"
            command = [sys.executable, __file__, f"--describe={key}"]
            subprocess.run(
                [*command, f"--output={path}"], check=True, stdout=subprocess.DEVNULL
            )
            rows = json.loads(path.read_text())
            kept[f"{key}/kinds"] = np.array([kind for kind, _ in rows])
            kept[f"{key}/numbers"] = np.array([numbers for _, numbers in rows])
            with artifacts.atomic_path(DESCRIPTIONS) as partial:
                np.savez_compressed(partial, **kept)


def read_descriptions() -> dict[str, list[OperatorCost]]:
    """Return key → operators of each network."""
    with np.load(DESCRIPTIONS) as arrays:
        keys = [name.split("/")[0] for name in arrays if name.endswith("/kinds")]
        return {
            key: [
                OperatorCost(
                    index,
                    str(kind),
                    (),
                    **dict(zip(FIELDS, numbers.tolist(), strict=True)),
                )
                for index, (kind, numbers) in enumerate(
                    zip(arrays[f"{key}/kinds"], arrays[f"{key}/numbers"], strict=True)
                )
            ]
            for key in keys
        }


# Descriptions → constants.


def parameters_of(costs: list[OperatorCost]) -> int:
    """Return the parameters of a network, biases included."""
    return sum(cost.weight_bytes + cost.filters for cost in costs)


def doubt_of(row: Published, costs: list[OperatorCost]) -> str:
    """Return why a row is not fitted; nothing if it is.

    The rule looks at what was measured, never at how well it is predicted.
    """
    size_mb = 4 * parameters_of(costs) / 1e6
    if row.hosted_mb and abs(size_mb / row.hosted_mb - 1) > SIZE_TOLERANCE:
        return (
            f"another network: the hosted file of that name has {row.hosted_mb} MB,"
            f" this one {size_mb:.1f} MB"
        )
    return row.doubt


def estimated_ms(
    costs: list[OperatorCost], device: str, constants: np.ndarray
) -> float:
    """Return an estimate with constants that are being fitted.

    Args:
        costs: of the network.
        device: key of `estimate_constants.DEVICES`.
        constants: logarithms of the fields of `Chip` and of the link's bytes a second.
    """
    *chip, link = np.exp(constants)
    place = estimate_constants.DEVICES[device]
    return estimate.estimate_operators(
        costs,
        input_bytes=costs[0].input_bytes,
        output_bytes=costs[-1].output_bytes,
        device=dataclasses.replace(place, link_bytes_per_s=link),
        chip=estimate_constants.Chip(*chip),
    ).latency_ms


def start_of(device: str) -> np.ndarray:
    chip = dataclasses.astuple(estimate_constants.CHIP)
    link = estimate_constants.DEVICES[device].link_bytes_per_s
    return np.log([*chip, link])


def fit_usb(rows: dict[str, float], described: dict) -> np.ndarray:
    """Return the logarithms of chip and USB link that predict key → milliseconds."""

    def residuals(constants):
        return [
            np.log(estimated_ms(described[key], "usb", constants) / latency_ms)
            for key, latency_ms in rows.items()
        ]

    return optimize.least_squares(residuals, start_of("usb")).x


def fit_board(rows: dict[str, float], described: dict, usb: np.ndarray) -> np.ndarray:
    """Return the same for the Dev Board: the chip is known, the link is fitted."""

    def residuals(link):
        constants = np.append(usb[:-1], link)
        return [
            np.log(estimated_ms(described[key], "dev-board", constants) / latency_ms)
            for key, latency_ms in rows.items()
        ]

    link = optimize.least_squares(residuals, start_of("dev-board")[-1:]).x
    return np.append(usb[:-1], link)


def fit_cpu(rows: dict[str, float], described: dict) -> np.ndarray:
    """Return a CPU's MACs and bytes of activations a second, from key → ms."""
    macs = [sum(cost.macs for cost in described[key]) for key in rows]
    moved_bytes = [
        sum(cost.input_bytes + cost.output_bytes for cost in described[key])
        for key in rows
    ]
    published_s = np.array(list(rows.values())) / 1e3

    def residuals(constants):
        macs_per_s, bytes_per_s = np.exp(constants)
        seconds = np.array(macs) / macs_per_s + np.array(moved_bytes) / bytes_per_s
        return np.log(seconds / published_s)

    return np.exp(optimize.least_squares(residuals, np.log([1e10, 1e9])).x)


@dataclasses.dataclass(frozen=True)
class Fit:
    """All that comes out.

    Attributes:
        chip: constants of the chip.
        usb_link_bytes_per_s: of the USB Accelerator.
        board_link_bytes_per_s: of the Dev Board.
        desktop_cpu: MACs and bytes a second.
        board_cpu: the same of the Dev Board's host.
        rows: one a network, for the table and the figure.
    """

    chip: estimate_constants.Chip
    usb_link_bytes_per_s: float
    board_link_bytes_per_s: float
    desktop_cpu: tuple[float, float]
    board_cpu: tuple[float, float]
    rows: list[dict]


def column(name: str, rows: list[Published]) -> dict[str, float]:
    """Return key → milliseconds of the rows that have one."""
    values = {row.key: getattr(row, name) for row in rows}
    return {key: value for key, value in values.items() if value is not None}


def without(rows: dict[str, float], key: str) -> dict[str, float]:
    """Leave out a network and its relatives, whose keys start with the same word."""
    return {
        other: value for other, value in rows.items() if kin_of(other) != kin_of(key)
    }


def kin_of(key: str) -> str:
    return re.match("[a-z]+", key)[0]


def fit(described: dict[str, list[OperatorCost]]) -> Fit:
    """Fit all constants, and predict each row without itself and its relatives."""
    doubts = {row.key: doubt_of(row, described[row.key]) for row in PUBLISHED}
    sure = [row for row in PUBLISHED if not doubts[row.key]]
    usb_ms, board_ms = column("usb_ms", sure), column("board_ms", sure)
    usb = fit_usb(usb_ms, described)
    board = fit_board(board_ms, described, usb)
    rows, left_out = [], {}
    for row in PUBLISHED:
        costs, kin = described[row.key], kin_of(row.key)
        if kin not in left_out:
            others = fit_usb(without(usb_ms, row.key), described)
            board_others = without(board_ms, row.key)
            left_out[kin] = others, fit_board(board_others, described, others)
        usb_left_out, board_left_out = left_out[kin]
        rows.append(
            {
                "network": row.title,
                "page": row.page,
                "published_ms": row.usb_ms,
                "estimated_ms": round(estimated_ms(costs, "usb", usb), 3),
                "left_out_ms": round(estimated_ms(costs, "usb", usb_left_out), 3),
                "board_published_ms": row.board_ms,
                "board_left_out_ms": round(
                    estimated_ms(costs, "dev-board", board_left_out), 3
                ),
                "not_fitted": doubts[row.key],
            }
        )
    return Fit(
        chip=estimate_constants.Chip(*np.exp(usb[:-1]).tolist()),
        usb_link_bytes_per_s=float(np.exp(usb[-1])),
        board_link_bytes_per_s=float(np.exp(board[-1])),
        desktop_cpu=tuple(fit_cpu(column("desktop_cpu_ms", sure), described)),
        board_cpu=tuple(fit_cpu(column("board_cpu_ms", sure), described)),
        rows=rows,
    )


def accuracy(
    rows: list[dict], published: str, predicted: str
) -> estimate_constants.Accuracy:
    """Return how well the fitted rows were predicted."""
    errors = [
        abs(row[predicted] / row[published] - 1)
        for row in rows
        if row[published] and not row["not_fitted"]
    ]
    return estimate_constants.Accuracy(
        len(errors), float(statistics.median(errors)), float(max(errors))
    )


# Constants → tables.


def show(found: Fit) -> None:
    print("| network | published | estimated | left out of the fit | error |")
    print("|---|---:|---:|---:|---:|")
    for row in found.rows:
        error = row["left_out_ms"] / row["published_ms"] - 1
        mark = "" if not row["not_fitted"] else " *"
        print(
            f"| {row['network']}{mark} | {row['published_ms']:g} ms"
            f" | {row['estimated_ms']:.1f} ms | {row['left_out_ms']:.1f} ms"
            f" | {error:+.0%} |"
        )
    for row in found.rows:
        if row["not_fitted"]:
            print(f"* {row['network']}: {row['not_fitted']}")
    print("USB:", accuracy(found.rows, "published_ms", "left_out_ms"))
    print("\n| Dev Board | published | left out of the fit | error |")
    print("|---|---:|---:|---:|")
    for row in found.rows:
        if row["board_published_ms"]:
            error = row["board_left_out_ms"] / row["board_published_ms"] - 1
            mark = "" if not row["not_fitted"] else " *"
            print(
                f"| {row['network']}{mark} | {row['board_published_ms']:g} ms"
                f" | {row['board_left_out_ms']:.1f} ms | {error:+.0%} |"
            )
    board = accuracy(found.rows, "board_published_ms", "board_left_out_ms")
    print("Dev Board:", board)
    print()
    for field in dataclasses.fields(found):
        if field.name != "rows":
            print(f"{field.name}: {getattr(found, field.name)}")


def show_slow_clock(described: dict[str, list[OperatorCost]]) -> None:
    for key, measured_ms in SLOW_CLOCK_MS.items():
        costs = described[key]
        found = estimate.estimate_operators(
            costs,
            input_bytes=costs[0].input_bytes,
            output_bytes=costs[-1].output_bytes,
            clock="std",
        )
        error = found.latency_ms / measured_ms - 1
        print(
            f"{key} at 250 MHz: measured {measured_ms:g} ms, estimated"
            f" {found.latency_ms:.1f} ms, {error:+.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    keys = [row.key for row in PUBLISHED]
    parser.add_argument("--rebuild", nargs="*", metavar="KEY", help="all by default")
    parser.add_argument("--write", action="store_true", help=f"write {ROWS.name}")
    parser.add_argument("--describe", choices=keys, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.describe:
        Path(options.output).write_text(json.dumps(describe(options.describe)))
        return
    if options.rebuild is not None:
        rebuild(options.rebuild or keys)
    described = read_descriptions()
    found = fit(described)
    if options.write:
        text = json.dumps(found.rows, indent=1, ensure_ascii=False)
        artifacts.write_file(ROWS, (text + "\n").encode())
    show(found)
    show_slow_clock(described)


if __name__ == "__main__":
    main()
