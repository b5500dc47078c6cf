"""Fit the constants of `edgetpu_lib.costs.estimate`, and say how well it predicts.

`data/latency_published.json` holds what others measured, with source and host. Whole
families of networks are kept for a test; the constants are fitted to the others, by
least squares of the logarithms. A family of the fit is predicted by constants that were
fitted without it, so that no figure of an error comes from a row that was fitted.

An estimate needs operators and shapes. Some networks are built without weights and
converted (`networks.py`; descriptions in `tests/golden/published_networks.npz`), the
others are described (`sketches.py`).

    python benchmarks/estimate.py              # fit, print the tables: seconds
    python benchmarks/estimate.py --write      # and write the predictions into the rows
    python benchmarks/estimate.py --rebuild    # build the networks again: minutes
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import sketches
from scipy import optimize
from sketches import Described

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
# An error beyond this is a failure.
TOLERANCE = 0.25


@dataclasses.dataclass(frozen=True)
class Row:
    """One latency that somebody measured.

    Attributes:
        network: key of `described`; `None` if its operators are not known.
        title: of the network, with the size of its images.
        family: that is fitted or kept for the test as a whole.
        device: key of `estimate_constants.DEVICES`, or "desktop-cpu" or "board-cpu"
            for a measurement without Edge TPU.
        clock: key of `edge_tpu.CLOCK_HZ`.
        host: the machine.
        latency_ms: measured.
        source: where it is published.
        use: "fit", "test" or "none".
        unused: why it is neither fitted nor a test.
        predicted_ms: by constants fitted without its family.
    """

    network: str | None
    title: str
    family: str
    device: str
    clock: str
    host: str
    latency_ms: float
    source: str
    use: str
    unused: str
    predicted_ms: float | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the row tells something of the estimates on an Edge TPU."""
        return self.use != "none" and self.device in estimate_constants.DEVICES

    @property
    def error(self) -> float:
        """Estimated / measured − 1."""
        return self.predicted_ms / self.latency_ms - 1


def read_rows() -> list[Row]:
    """Return all rows, in the order of the file."""
    return [Row(**row) for row in json.loads(ROWS.read_text("utf-8"))]


def write_rows(rows: Iterable[Row]) -> None:
    """Write all rows, a line each."""
    lines = [json.dumps(dataclasses.asdict(row), ensure_ascii=False) for row in rows]
    artifacts.write_file(ROWS, ("[\n" + ",\n".join(lines) + "\n]\n").encode())


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


@functools.cache
def described() -> dict[str, Described]:
    """Return key → network, built or sketched."""
    found = {key: make() for key, make in sketches.SKETCHES.items()}
    with np.load(DESCRIPTIONS) as arrays:
        for key in {name.split("/")[0] for name in arrays}:
            kinds, numbers = arrays[f"{key}/kinds"], arrays[f"{key}/numbers"]
            costs = tuple(
                OperatorCost(
                    index,
                    str(kind),
                    (),
                    **dict(zip(FIELDS, row.tolist(), strict=True)),
                )
                for index, (kind, row) in enumerate(zip(kinds, numbers, strict=True))
            )
            ends = costs[0].input_bytes, costs[-1].output_bytes
            found[key] = Described(costs, *ends)
    return found


# Descriptions → constants.


@dataclasses.dataclass(frozen=True)
class Constants:
    """What is fitted for latencies on an Edge TPU; links in bytes a second."""

    chip: estimate_constants.Chip
    usb_link: float
    board_link: float

    def device(self, name: str) -> estimate_constants.Device:
        """Return a device, with its fitted link if it has one."""
        known = estimate_constants.DEVICES[name]
        if name == "usb":
            return dataclasses.replace(known, link_bytes_per_s=self.usb_link)
        if name == "dev-board":
            link = self.board_link
            return dataclasses.replace(
                known, link_bytes_per_s=link, output_bytes_per_s=link
            )
        return known

    def estimate(self, row: Row) -> estimate.Estimate:
        """Estimate the latency of a row."""
        network = described()[row.network]
        return estimate.estimate_operators(
            network.costs,
            network.on_cpu,
            input_bytes=network.input_bytes,
            output_bytes=network.output_bytes,
            device=self.device(row.device),
            clock=row.clock,
            chip=self.chip,
        )


def fit(rows: Iterable[Row]) -> Constants:
    """Fit the chip and the USB link, then the link of the Dev Board, to rows."""
    rows = list(rows)
    board_link = estimate_constants.DEVICES["dev-board"].link_bytes_per_s

    def usb(logarithms: np.ndarray) -> Constants:
        *chip, link = np.exp(logarithms)
        return Constants(estimate_constants.Chip(*chip), link, board_link)

    def log_errors(constants: Constants, device: str) -> list[float]:
        return [
            np.log(constants.estimate(row).latency_ms / row.latency_ms)
            for row in rows
            if row.device == device
        ]

    start = dataclasses.astuple(estimate_constants.CHIP)
    start += (estimate_constants.DEVICES["usb"].link_bytes_per_s,)
    # Errors beyond five per cent count less: some rows are outliers of their hosts.
    robust = {"loss": "soft_l1", "f_scale": 0.05}
    found = optimize.least_squares(
        lambda x: log_errors(usb(x), "usb"), np.log(start), **robust
    )
    on_usb = usb(found.x)

    def board(logarithm: np.ndarray) -> Constants:
        return dataclasses.replace(on_usb, board_link=float(np.exp(logarithm[0])))

    found = optimize.least_squares(
        lambda x: log_errors(board(x), "dev-board"), np.log([board_link]), **robust
    )
    return board(found.x)


def fit_cpu(rows: Iterable[Row], device: str) -> tuple[float, float]:
    """Return a CPU's MACs and bytes of activations a second, from rows without chip."""
    mine = [row for row in rows if row.device == device]
    costs = [described()[row.network].costs for row in mine]
    macs = np.array([sum(cost.macs for cost in each) for each in costs])
    moved = np.array([sum(c.input_bytes + c.output_bytes for c in e) for e in costs])
    measured_s = np.array([row.latency_ms for row in mine]) / 1e3

    def residuals(constants: np.ndarray) -> np.ndarray:
        macs_per_s, bytes_per_s = np.exp(constants)
        return np.log((macs / macs_per_s + moved / bytes_per_s) / measured_s)

    return tuple(np.exp(optimize.least_squares(residuals, np.log([1e10, 1e9])).x))


def for_fitting(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that constants may be fitted to."""
    return [row for row in rows if row.use == "fit"]


def predicted(rows: list[Row]) -> list[Row]:
    """Return the rows with predictions by constants that never saw their family."""
    fitted = for_fitting(rows)

    @functools.cache
    def without(family: str) -> Constants:
        return fit(row for row in fitted if row.family != family)

    return [
        dataclasses.replace(
            row,
            predicted_ms=round(without(row.family).estimate(row).latency_ms, 3)
            if row.network and row.device in estimate_constants.DEVICES
            else None,
        )
        for row in rows
    ]


# Predictions → tables.


def errors_by_group(rows: Iterable[Row]) -> dict[tuple, tuple[float, ...]]:
    """Return what `comparable.ERRORS` has to hold."""
    found = collections.defaultdict(list)
    known = Constants(
        estimate_constants.CHIP,
        *(
            estimate_constants.DEVICES[name].link_bytes_per_s
            for name in ("usb", "dev-board")
        ),
    )
    for row in rows:
        if row.is_counted:
            group = known.estimate(row).comparison.group
            key = (*dataclasses.astuple(group), row.device, row.clock)
            found[key].append(round(row.error, 2))
    return {key: tuple(errors) for key, errors in found.items()}


def summary(rows: list[Row]) -> str:
    """Return count, median, share within the tolerance, and largest error."""
    errors = [abs(row.error) for row in rows]
    near = sum(error <= TOLERANCE for error in errors) / len(errors)
    return (
        f"{len(errors):3} rows, median {statistics.median(errors):4.0%},"
        f" {near:4.0%} within {TOLERANCE:.0%}, largest {max(errors):4.0%}"
    )


def show(rows: list[Row], found: Constants) -> None:
    """Print the errors of both parts, by family and device, and the failures."""
    counted = [row for row in rows if row.is_counted]
    parts = {
        "Kept for the test": [row for row in counted if row.use == "test"],
        "Fitted, each family predicted without itself": for_fitting(counted),
    }
    for title, part in parts.items():
        print(f"{title}: {summary(part)}")
        groups = collections.defaultdict(list)
        for row in part:
            groups[row.family, row.device].append(row)
        for (family, device), members in groups.items():
            print(f"  {family:22} {device:15} {summary(members)}")
        print()
    fitted = [
        dataclasses.replace(row, predicted_ms=found.estimate(row).latency_ms)
        for row in parts["Fitted, each family predicted without itself"]
    ]
    print(f"Fitted, all in the fit: {summary(fitted)}\n")
    print("Beyond the tolerance:")
    for row in counted:
        if abs(row.error) > TOLERANCE:
            print(
                f"  {row.use:5}{row.title:42} {row.device:15} {row.latency_ms:8g} ms,"
                f" predicted {row.predicted_ms:8.2f}, {row.error:+.0%}"
            )
    print("\nNot counted, with what is estimated:")
    for row in rows:
        if row.use == "none" and row.predicted_ms:
            print(f"  {row.title:34} {row.device:10} {row.error:+5.0%}  {row.unused}")


def show_constants(rows: list[Row], found: Constants) -> None:
    """Print what belongs into `edgetpu_lib/costs`."""
    print(f"\n{found}")
    for device in ("desktop-cpu", "board-cpu"):
        macs_per_s, bytes_per_s = fit_cpu(for_fitting(rows), device)
        print(f"{device}: {macs_per_s:.3g} MACs/s, {bytes_per_s:.3g} bytes/s")
    print("\nERRORS = {")
    for key, errors in sorted(errors_by_group(rows).items()):
        print(f"    {key}: {errors},")
    print("}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rebuild", nargs="*", metavar="KEY", help="all by default")
    parser.add_argument("--write", action="store_true", help=f"write {ROWS.name}")
    parser.add_argument("--describe", help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.describe:
        Path(options.output).write_text(json.dumps(describe(options.describe)))
        return
    rows = read_rows()
    if options.rebuild is not None:
        with np.load(DESCRIPTIONS) as arrays:
            built = sorted({name.split("/")[0] for name in arrays})
        rebuild(options.rebuild or built)
    found, rows = fit(for_fitting(rows)), predicted(rows)
    if options.write:
        write_rows(rows)
    show(rows, found)
    show_constants(rows, found)


if __name__ == "__main__":
    main()
