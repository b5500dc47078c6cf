"""`estimate`: a TFLite file in, milliseconds on the Edge TPU out."""

from __future__ import annotations

import dataclasses
import functools

import click

from edgetpu_lib.commands import options
from edgetpu_lib.costs import estimate as stage
from edgetpu_lib.hardware import edge_tpu

SHOWN = 10
# Keys of `Estimate.shares_ms`, in words.
SHARES = {
    "transfer": "call, input and output",
    "compute": "multiplications",
    "streaming": "sending parameters that are not cached",
    "overhead": "going from operator to operator",
    "cpu": "operators on the CPU",
}


@click.command()
@click.argument("model", metavar="MODEL.tflite")
@click.option(
    "--device",
    type=click.Choice(list(stage.DEVICES)),
    default="usb",
    show_default=True,
    help="Where the Edge TPU is.",
)
@click.option(
    "--clock",
    type=click.Choice(list(edge_tpu.CLOCK_HZ)),
    default="max",
    show_default=True,
    help="500 MHz, or the 250 MHz of libedgetpu1-std on USB.",
)
@options.JSON
def estimate(model: str, device: str, clock: str, as_json: bool) -> None:
    """Estimate how fast a TFLite file would run on the Edge TPU, and what takes time.

    Reads the file alone; needs no compiler and no device. The answer says how good
    such estimates were on networks with published latencies.
    """
    found = stage.estimate_tflite(model, device=device, clock=clock)
    if as_json:
        options.show(as_dict(found), True, [])
    else:
        show(model, found)


def as_dict(found: stage.Estimate) -> dict:
    """Return an estimate for JSON; times in milliseconds."""
    accuracy = found.device.accuracy
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
        "parameter_bytes": found.cached_bytes + found.streamed_bytes,
        "cached_bytes": found.cached_bytes,
        "streamed_bytes": found.streamed_bytes,
        "operators": [_operator(operator) for operator in found.operators],
        "accuracy": accuracy and dataclasses.asdict(accuracy),
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
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    say = functools.partial(console.print, soft_wrap=True)
    place = found.device.title
    megahertz = edge_tpu.CLOCK_HZ[found.clock] / 1e6
    say(f"{model}: about {found.latency_ms:.1f} ms on {place} at {megahertz:.0f} MHz.")
    say(f"{found.caveat}\n")
    console.print(_shares(found))
    sent = _size(found.streamed_bytes) if found.streamed_bytes else "none"
    say(
        f"\nParameters on the chip: {_size(found.cached_bytes)} cached, {sent} sent for"
        " every inference."
    )
    say(f"Input {_size(found.input_bytes)}, output {_size(found.output_bytes)}.\n")
    console.print(_slowest(found))
    left = len(found.operators) - SHOWN
    if left > 0:
        say(f"and {left} more; --json has all of them.")


def _shares(found: stage.Estimate):
    from rich.table import Table

    table = Table("Where the time goes", box=None, pad_edge=False)
    table.add_column("ms", justify="right")
    table.add_column("", justify="right")
    for name, milliseconds in found.shares_ms().items():
        if milliseconds:
            share = milliseconds / found.latency_ms
            table.add_row(SHARES[name], f"{milliseconds:.2f}", f"{share:.0%}")
    return table


def _slowest(found: stage.Estimate):
    from rich.table import Table

    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("Slowest operators", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for title in ("MMAC", "weights", "sent", "ms", "of peak"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    ranked = sorted(found.operators, key=lambda o: o.latency_ms, reverse=True)
    for operator in ranked[:SHOWN]:
        cost = operator.cost
        table.add_row(
            f"{cost.index} {cost.kind}",
            "×".join(map(str, cost.output_shape[1:])),
            f"{cost.macs / 1e6:.1f}" if cost.macs else "–",
            _size(cost.weight_bytes),
            _size(operator.streamed_bytes),
            f"{operator.latency_ms:.3f}",
            f"{operator.utilisation:.0%}" if operator.utilisation else "–",
            operator.bound,
        )
    return table


def _size(size_bytes: float) -> str:
    if not size_bytes:
        return "–"
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    if size_bytes < edge_tpu.MIB:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / edge_tpu.MIB:.2f} MiB"
