"""`targets`: a TFLite file in, what other accelerators would make of it out."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import options, tables
from edgetpu_lib.costs import estimate
from edgetpu_lib.hardware import check, edge_tpu
from edgetpu_lib.hardware import targets as stage

MEMORY = (
    "Memory: of the Edge TPU, parameters that are cached and that are sent for every"
    " inference; of Ethos-U, SRAM, and then DRAM and flash, with activations."
)
CAVEAT = (
    "What Vela says holds for Ethos-U and proves nothing for the Edge TPU: it takes"
    " hard-swish and an open batch, for example, which check refuses."
)


@options.command
@options.JSON
def targets(
    model: str,
    *,
    accelerators: str = ",".join(stage.USUAL),
    system_config: str | None = None,
    memory_mode: str | None = None,
    as_json: bool,
) -> int:
    """Compile a TFLite file for Arm's Ethos-U, for comparison.

    Vela, Arm's own compiler, compiles; its milliseconds are estimates for an assumed
    clock and assumed memories. Needs the extra `targets`.

    Args:
        model: .tflite file.
        accelerators: configurations of Ethos-U55, U65 and U85, separated by commas.
        system_config: clock and memories, by their name in Vela's configuration file.
            [default: Vela's own]
        memory_mode: use of the memories, by its name in that file. [default: Vela's
            own]
    """
    names = stage.parse_accelerators(accelerators)
    edge = edge_tpu_row(model)
    found = stage.compile_for(
        model, names, system_config=system_config, memory_mode=memory_mode
    )
    if as_json:
        rows = [dataclasses.asdict(target) for target in found]
        content = {"edge_tpu": edge, "ethos_u": rows, "caveat": CAVEAT}
        options.print_result(content, True, [])
    else:
        show(model, edge, found)
    return 0


def edge_tpu_row(model: str) -> dict[str, Any]:
    """Return what check and estimate say of a file; latency `None` if it is refused."""
    report = check.check_tflite(model)
    try:
        found = estimate.estimate_tflite(model)
    except InputError:
        found = None
    return {
        "operators": report.edge_tpu_operators,
        "cpu_operators": report.cpu_operators,
        "refused": report.is_refused,
        "device": found and f"{found.device.title}, {found.clock} clock",
        "latency_ms": found and found.latency_ms,
        "cached_bytes": found and found.cached_bytes,
        "streamed_bytes": found and found.streamed_bytes,
    }


def show(model: str, edge: dict[str, Any], found: list[stage.Target]) -> None:
    """Print what each accelerator makes of a file, for a person."""
    header = ("Target", "accelerator", "CPU", "ms", "on chip", "elsewhere", "assumed")
    print(f"{model}: operators on each accelerator and on the CPU, and estimates.\n")
    rows = [_edge_tpu_cells(edge), *map(_cells, found)]
    tables.print_table(header, rows, right=range(1, 6))
    print(MEMORY)
    for target in found:
        if target.failure:
            print(f"{target.accelerator}: Vela failed: {target.failure}")
        elif target.cpu_operators:
            counts = collections.Counter(target.cpu_operators)
            kinds = ", ".join(f"{kind} {n}" for kind, n in counts.items())
            print(f"{target.accelerator}: on the CPU: {kinds}; not in its ms")
    warnings = dict.fromkeys(line for target in found for line in target.warnings)
    print(*(f"Vela warns: {line}" for line in warnings), CAVEAT, sep="\n")


def _edge_tpu_cells(edge: dict[str, Any]) -> tuple[str, ...]:
    known = edge["latency_ms"] is not None
    return (
        "Edge TPU (check, estimate)",
        str(edge["operators"]),
        str(edge["cpu_operators"]),
        _ms(edge["latency_ms"]) if known else "–",
        _mib(edge["cached_bytes"]) if known else "–",
        _mib(edge["streamed_bytes"]) if known else "–",
        "refused: see check" if edge["refused"] else edge["device"] or "–",
    )


def _cells(target: stage.Target) -> tuple[str, ...]:
    if target.failure:
        return (target.accelerator, *"–––––", "failed")
    return (
        target.accelerator,
        str(target.operators),
        str(len(target.cpu_operators)),
        _ms(target.latency_ms) if target.operators else "–",
        _mib(target.sram_bytes),
        _mib(target.other_bytes),
        f"{target.system_config}, {target.memory_mode}",
    )


def _ms(latency_ms: float) -> str:
    return f"{latency_ms:.1f}" if latency_ms >= 1 else f"{latency_ms:.2g}"


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / edge_tpu.MIB:.2f} MiB"
