"""Estimate the latency of one inference on the Edge TPU, and its causes.

Nothing was measured here: the constants are fitted to latencies that others published,
or taken from them. The model has no term for moving activations within the chip, which
is why narrow convolutions of large maps are estimated too fast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs import comparable
from edgetpu_lib.costs.constants import CHIP, DEVICES, PIECE_BYTES, Chip, Device
from edgetpu_lib.hardware import check, edge_tpu, parameter_cache
from edgetpu_lib.hardware.operator_costs import (
    OperatorCost,
    crossing_bytes,
    operator_costs,
)
from edgetpu_lib.tflite.file import read_tflite

# They cost nothing on the chip: the bytes stay where they are.
_FREE = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")


class _Timed:
    """What has milliseconds by cause, which its method `shares_ms` returns."""

    @property
    def latency_ms(self) -> float:
        """Milliseconds in all."""
        return math.fsum(self.shares_ms().values())

    @property
    def bound(self) -> str:
        """The cause of most of the time, a key of `shares_ms`, or "none"."""
        shares_ms = self.shares_ms()
        longest = max(shares_ms, key=shares_ms.__getitem__)
        return longest if shares_ms[longest] else "none"


@dataclasses.dataclass(frozen=True)
class OperatorTime(_Timed):
    """Estimated time of one operator, by cause.

    Parameters are sent while the operator before computes; `streaming_ms` is what is
    left to wait for. On the host only `cpu_ms` is not zero.

    Attributes:
        cost: operations and bytes of the operator.
        on_cpu: whether it runs on the host.
        cached_bytes: parameters that stay on the chip between inferences.
        streamed_bytes: parameters that are sent again for every inference.
        compute_ms: of multiplications.
        streaming_ms: of waiting for parameters.
        overhead_ms: of starting the operator.
        cpu_ms: on the host.
        utilisation: share of the chip's peak, 0..1.
    """

    cost: OperatorCost
    on_cpu: bool
    cached_bytes: int = 0
    streamed_bytes: int = 0
    compute_ms: float = 0.0
    streaming_ms: float = 0.0
    overhead_ms: float = 0.0
    cpu_ms: float = 0.0
    utilisation: float = 0.0

    def shares_ms(self) -> dict[str, float]:
        """Return milliseconds by cause; they sum to the latency."""
        return {
            "compute": self.compute_ms,
            "streaming": self.streaming_ms,
            "overhead": self.overhead_ms,
            "cpu": self.cpu_ms,
        }


def total_shares_ms(operators: Sequence[OperatorTime]) -> dict[str, float]:
    """Return the milliseconds of all operators by cause."""
    each = [operator.shares_ms() for operator in operators]
    kinds = ("compute", "streaming", "overhead", "cpu")
    return {kind: math.fsum(shares[kind] for shares in each) for kind in kinds}


@dataclasses.dataclass(frozen=True)
class Estimate(_Timed):
    """Estimated time of one inference, by cause.

    Attributes:
        device: where the chip is.
        clock: key of `edge_tpu.CLOCK_HZ`.
        operators: in the order of execution.
        input_bytes: sent to the chip for every inference, without parameters.
        output_bytes: sent back.
        invoke_ms: of the call itself.
        input_ms: of sending the input.
        output_ms: of sending back.
        cpu_was_measured: whether the times on the CPU are scaled measurements
            (`cpu_time`) instead of guesses.
    """

    device: Device
    clock: str
    operators: tuple[OperatorTime, ...]
    input_bytes: int
    output_bytes: int
    invoke_ms: float
    input_ms: float
    output_ms: float
    cpu_was_measured: bool = False

    @property
    def cache_bytes(self) -> int:
        """Bytes of the chip's memory that this network leaves for parameters."""
        return parameter_cache.cache_bytes([each.cost for each in self.operators])

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay on the chip between inferences."""
        return sum(operator.cached_bytes for operator in self.operators)

    @property
    def streamed_bytes(self) -> int:
        """Parameters that are sent again for every inference."""
        return sum(operator.streamed_bytes for operator in self.operators)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one inference."""
        return sum(operator.cost.macs for operator in self.operators)

    def shares_ms(self) -> dict[str, float]:
        """Return milliseconds by cause; they sum to the latency."""
        transfer_ms = self.invoke_ms + self.input_ms + self.output_ms
        return {"transfer": transfer_ms, **total_shares_ms(self.operators)}

    @property
    def comparison(self) -> comparable.Comparison:
        """How wrong such estimates were for networks like this one."""
        compute_ms: dict[str, float] = {}
        for operator in self.operators:
            kind = operator.cost.kind
            compute_ms[kind] = compute_ms.get(kind, 0.0) + operator.compute_ms
        group = comparable.group_of(
            compute_ms,
            sends=self.streamed_bytes > 0,
            cpu_share=self.shares_ms()["cpu"] / self.latency_ms,
        )
        return comparable.compare(group, self.device.name, self.clock)

    @property
    def caveat(self) -> str:
        """A sentence or two on the accuracy of such estimates."""
        words = f"An estimate, not a measurement: {self.comparison}."
        if any(operator.on_cpu for operator in self.operators):
            words += (
                " The time on the CPU was measured here and scaled to the host."
                if self.cpu_was_measured
                else " The time on the CPU is a guess."
            )
        return words


def estimate_tflite(
    model: str | Path | bytes, *, device: str = "usb", clock: str = "max"
) -> Estimate:
    """Estimate how long one inference of a TFLite file takes.

    Operators that `check` predicts on the CPU are counted there.

    Args:
        model: path or bytes of an int8 `.tflite` file, not compiled.
        device: key of `DEVICES`.
        clock: "max" for 500 MHz, or "std" for the 250 MHz of the standard USB library.

    Raises:
        InputError: the file cannot be read, the compiler would refuse it, or device
            and clock do not exist together.
    """
    if device not in DEVICES:
        raise InputError(f"device {device!r} is unknown; use {', '.join(DEVICES)}")
    clocks = DEVICES[device].clocks
    if clock not in clocks:
        raise InputError(
            f"clock {clock!r} does not exist on {device}; use {' or '.join(clocks)}"
        )
    file = read_tflite(model)
    report = check.check_file(file)
    if report.is_refused:
        first = report.findings[0]
        name = "the model" if isinstance(model, bytes) else model
        raise InputError(
            f"{name} would not run on the Edge TPU: {first.reason}; {first.remedy}"
        )
    statuses = enumerate(report.statuses)
    on_cpu = {i for i, (_, status) in statuses if status != edge_tpu.MAPPED}
    input_bytes, output_bytes = crossing_bytes(file, on_cpu)
    return estimate_operators(
        operator_costs(file),
        on_cpu,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        device=DEVICES[device],
        clock=clock,
    )


def estimate_operators(
    costs: Sequence[OperatorCost],
    on_cpu: Collection[int] = (),
    *,
    input_bytes: int,
    output_bytes: int,
    device: Device = DEVICES["usb"],
    clock: str = "max",
    chip: Chip = CHIP,
) -> Estimate:
    """Estimate how long one inference of these operators takes.

    Whole layers are cached or sent for every inference (`parameter_cache`); while one
    operator computes, the parameters of the next are sent.

    Args:
        costs: from `operator_costs`, in the order of execution.
        on_cpu: indices of operators that stay on the host.
        input_bytes: sent to the chip.
        output_bytes: sent back.
        device: where the chip is.
        clock: key of `edge_tpu.CLOCK_HZ`.
        chip: its fitted constants.
    """
    peak_macs_per_s = edge_tpu.MULTIPLIERS * edge_tpu.CLOCK_HZ[clock]
    cached = parameter_cache.cached_operators(costs, on_cpu)
    times, hidden_ms = [], 0.0
    for cost in costs:
        if cost.index in on_cpu:
            times.append(on_host(cost, device))
            continue
        sent_ms = 0.0 if cost.index in cached else _sending_ms(cost, device)
        waiting_ms = max(0.0, sent_ms - hidden_ms)
        time = _on_chip(cost, cost.index in cached, waiting_ms, chip, peak_macs_per_s)
        hidden_ms = time.compute_ms
        times.append(time)
    return Estimate(
        device=device,
        clock=clock,
        operators=tuple(times),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        invoke_ms=device.invoke_ms if len(times) > len(on_cpu) else 0.0,
        input_ms=1e3 * input_bytes / device.link_bytes_per_s,
        output_ms=1e3 * output_bytes / device.output_bytes_per_s,
    )


def on_host(cost: OperatorCost, device: Device) -> OperatorTime:
    """Return the time of an operator on the host's CPU, a guess from its counts."""
    moved_bytes = cost.input_bytes + cost.output_bytes
    seconds = cost.macs / device.cpu_macs_per_s + moved_bytes / device.cpu_bytes_per_s
    return OperatorTime(cost, on_cpu=True, cpu_ms=1e3 * seconds)


def _on_chip(
    cost: OperatorCost,
    is_cached: bool,
    waiting_ms: float,
    chip: Chip,
    peak_macs_per_s: float,
) -> OperatorTime:
    """Return the time of an operator that waits so long for its parameters."""
    occupied_macs = cost.occupied_macs(chip.depthwise_cost)
    compute_ms = 1e3 * occupied_macs / (chip.utilisation * peak_macs_per_s)
    overhead_ms = 0.0 if cost.kind in _FREE else chip.operator_us / 1e3
    latency_ms = compute_ms + waiting_ms + overhead_ms
    reached_macs_per_s = 1e3 * cost.macs / latency_ms if cost.macs else 0.0
    return OperatorTime(
        cost,
        on_cpu=False,
        cached_bytes=cost.parameter_bytes if is_cached else 0,
        streamed_bytes=0 if is_cached else cost.parameter_bytes,
        compute_ms=compute_ms,
        streaming_ms=waiting_ms,
        overhead_ms=overhead_ms,
        utilisation=reached_macs_per_s / peak_macs_per_s,
    )


def _sending_ms(cost: OperatorCost, device: Device) -> float:
    """Return the time of sending an operator's parameters, once for each piece."""
    moved_bytes = cost.input_bytes + cost.output_bytes
    in_pieces = moved_bytes > edge_tpu.ACTIVATION_BYTES
    pieces = moved_bytes / PIECE_BYTES if in_pieces else 1
    return 1e3 * pieces * cost.parameter_bytes / device.link_bytes_per_s
