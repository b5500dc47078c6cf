"""`estimate`: a TFLite file in, its latency on the Edge TPU out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated

import click

from edgetpu_lib.commands import options, tables
from edgetpu_lib.costs import estimate as stage
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.tflite import model_explorer as explorer
from edgetpu_lib.tflite.file import read_bytes

SHOWN = 10
# Keys of `Estimate.shares_ms`, in words.
SHARES = {
    "transfer": "call, input and output",
    "compute": "multiplications",
    "streaming": "waiting for parameters that are not cached",
    "overhead": "going from operator to operator",
    "cpu": "operators on the CPU",
}


def _list_devices(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the devices and end."""
    if asked and not context.resilient_parsing:
        show_devices()
        context.exit()


@options.command
@click.option(
    "--list_devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_devices,
    help="List the values of --device, with their speeds, and end.",
)
@click.option(
    "--measure_cpu_operators",
    is_flag=True,
    help="Run the operators that stay on the CPU here, and scale their time.",
)
@options.JSON
def estimate(
    model: str,
    *,
    device: Annotated[str, click.Choice(list(stage.DEVICES))] = "usb",
    clock: Annotated[str, click.Choice(list(edge_tpu.CLOCK_HZ))] = "max",
    model_explorer: str | None = None,
    measure_cpu_operators: bool,
    as_json: bool,
) -> None:
    """Estimate the latency of a TFLite file on the Edge TPU.

    Reads the file alone; needs no compiler and no device. The output names the error
    of such estimates for networks like this one.

    Args:
        model: .tflite file.
        device: how the Edge TPU is connected; --list_devices tells.
        clock: "max" is 500 MHz; "std" is 250 MHz, of libedgetpu1-std on USB.
        model_explorer: .json file to write for Model Explorer: milliseconds of each
            operator.
    """
    found = stage.estimate_tflite(model, device=device, clock=clock)
    if measure_cpu_operators:
        from edgetpu_lib.costs import cpu_time

        found = cpu_time.with_measured_cpu(found, read_bytes(model)[1])
    if model_explorer:
        times = {o.cost.index: o.latency_ms for o in found.operators}
        explorer.write(model_explorer, times, low=explorer.WHITE, high=explorer.RED)
    if as_json:
        options.print_result(as_dict(found), True, [])
    else:
        show(model, found)


def as_dict(found: stage.Estimate) -> dict:
    """Return an estimate for JSON; times in milliseconds."""
    return {
        "latency_ms": found.latency_ms,
        "device": found.device.name,
        "clock": found.clock,
        "bound": found.bound,
        "shares_ms": found.shares_ms(),
        "invoke_ms": found.invoke_ms,
        "input_ms": found.input_ms,
        "output_ms": found.output_ms,
        "input_bytes": found.input_bytes,
        "output_bytes": found.output_bytes,
        "macs": found.macs,
        "cache_bytes": found.cache_bytes,
        "parameter_bytes": found.cached_bytes + found.streamed_bytes,
        "cached_bytes": found.cached_bytes,
        "streamed_bytes": found.streamed_bytes,
        "operators": [_operator(operator) for operator in found.operators],
        "cpu_was_measured": found.cpu_was_measured,
        "comparison": dataclasses.asdict(found.comparison),
        "caveat": found.caveat,
    }


def _operator(operator: stage.OperatorTime) -> dict:
    cost = operator.cost
    return {
        "index": cost.index,
        "operator": cost.kind,
        "on_cpu": operator.on_cpu,
        "output_shape": cost.output_shape,
        "macs": cost.macs,
        "weight_bytes": cost.weight_bytes,
        "input_bytes": cost.input_bytes,
        "output_bytes": cost.output_bytes,
        "cached_bytes": operator.cached_bytes,
        "streamed_bytes": operator.streamed_bytes,
        "latency_ms": operator.latency_ms,
        "utilisation": operator.utilisation,
        "bound": operator.bound,
    }


def show(model: str, found: stage.Estimate) -> None:
    """Print an estimate for a person."""
    place, megahertz = found.device.title, edge_tpu.CLOCK_HZ[found.clock] / 1e6
    print(
        f"{model}: about {found.latency_ms:.1f} ms on {place} at {megahertz:.0f} MHz."
    )
    print(f"{found.caveat}\n")
    shares = [
        (SHARES[name], f"{ms:.2f}", f"{ms / found.latency_ms:.0%}")
        for name, ms in found.shares_ms().items()
        if ms
    ]
    tables.print_table(("Where the time goes", "ms", ""), shares, right=(1, 2))
    sent = _size(found.streamed_bytes) if found.streamed_bytes else "none"
    cached, room = _size(found.cached_bytes), _size(found.cache_bytes)
    print(
        f"\nParameters: {cached} cached on the chip, which has room for {room};"
        f" {sent} sent for every inference."
    )
    print(f"Input {_size(found.input_bytes)}, output {_size(found.output_bytes)}.\n")
    header = ("Slowest operators", "output", "MMAC", "weights", "sent", "ms", "of peak")
    tables.print_table((*header, "bound"), _slowest(found), right=range(2, 7))
    left = len(found.operators) - SHOWN
    if left > 0:
        print(f"and {left} more; --json has all of them.")


def show_devices() -> None:
    """Print the devices with their speeds and where these come from."""
    rows = [
        (
            device.name,
            device.title,
            f"{device.link_bytes_per_s / 1e6:.0f}",
            f"{device.output_bytes_per_s / 1e6:.0f}",
            f"{device.invoke_ms:.2f}",
            ", ".join(device.clocks),
        )
        for device in stage.DEVICES.values()
    ]
    header = ("--device", "", "in, MB/s", "out, MB/s", "call, ms", "--clock")
    tables.print_table(header, rows, right=(2, 3, 4))
    print()
    for device in stage.DEVICES.values():
        print(f"{device.name}: {device.source}.")


def _slowest(found: stage.Estimate) -> Iterator[tuple[str, ...]]:
    """Yield a row for each of the slowest operators."""
    ranked = sorted(found.operators, key=lambda o: o.latency_ms, reverse=True)
    for operator in ranked[:SHOWN]:
        cost = operator.cost
        yield (
            f"{cost.index} {cost.kind}",
            "×".join(map(str, cost.output_shape[1:])),
            f"{cost.macs / 1e6:.1f}" if cost.macs else "–",
            _size(cost.weight_bytes),
            _size(operator.streamed_bytes),
            f"{operator.latency_ms:.3f}",
            f"{operator.utilisation:.0%}" if operator.utilisation else "–",
            operator.bound,
        )


def _size(size_bytes: float) -> str:
    if not size_bytes:
        return "–"
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    if size_bytes < edge_tpu.MIB:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / edge_tpu.MIB:.2f} MiB"
