"""Compile a TFLite file for Arm's Ethos-U accelerators, as a second opinion.

Vela, Arm's compiler, is public and runs anywhere. What it says of a file holds for
Ethos-U: it is no proof for the Edge TPU.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite.file import read_bytes, read_tflite

# Names of `--accelerator-config` of ethos-u-vela 5.2.0: a kind, then the number of
# multiplications of 8 bits in a cycle.
ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
USUAL = ("ethos-u55-256", "ethos-u65-512", "ethos-u85-512")
# What a compiled file holds in place of the operators on the accelerator.
COMPILED_OPERATOR = "ethos-u"
_KIB = 1 << 10
# Seconds for one compilation: EfficientNet-EdgeTPU-L takes a few.
_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True)
class Target:
    """What Vela made of a file for one configuration.

    Attributes:
        accelerator: one of `ACCELERATORS`.
        system_config: clock and memories that Vela assumed.
        memory_mode: what Vela kept in which memory.
        operators: number of operators on the accelerator.
        cpu_operators: kinds of the operators on the CPU, in order.
        latency_ms: Vela's estimate of an inference on the accelerator, without the
            operators on the CPU; `None` after a failure.
        cycles: the same in cycles of the accelerator.
        sram_bytes: memory on the chip.
        other_bytes: DRAM and flash.
        warnings: of Vela, each once.
        failure: why Vela gave up, or "".
    """

    accelerator: str
    system_config: str = ""
    memory_mode: str = ""
    operators: int = 0
    cpu_operators: tuple[str, ...] = ()
    latency_ms: float | None = None
    cycles: int = 0
    sram_bytes: int = 0
    other_bytes: int = 0
    warnings: tuple[str, ...] = ()
    failure: str = ""


def parse_accelerators(text: str) -> tuple[str, ...]:
    """Return the configurations that a list separated by commas names, each once.

    Raises:
        InputError: one does not exist.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in ACCELERATORS:
            raise InputError(
                f"accelerator {name!r} does not exist; give some of"
                f" {', '.join(ACCELERATORS)}"
            )
    return names


def require_vela() -> None:
    """Raise InputError if Vela is not installed."""
    try:
        found = importlib.util.find_spec("ethosu.vela")
    except ModuleNotFoundError:
        found = None
    if not found:
        raise InputError(
            "Vela, the compiler for Ethos-U, is not installed; run pip install"
            " 'edgetpu_lib[targets]' (the package ethos-u-vela)"
        )


def compile_for(
    model: str | Path | bytes,
    accelerators: Sequence[str] = USUAL,
    *,
    system_config: str | None = None,
    memory_mode: str | None = None,
) -> list[Target]:
    """Compile a TFLite file for configurations of Ethos-U; the files are not kept.

    Args:
        model: path or bytes of a `.tflite` file.
        accelerators: some of `ACCELERATORS`.
        system_config: section of Vela's configuration file; `None` takes Vela's
            default for each accelerator, of which Vela warns.
        memory_mode: the same for the use of memories.

    Raises:
        InputError: the file cannot be read, Vela is not installed, or it fails for
            all configurations.
    """
    name, content = read_bytes(model)
    count = len(read_tflite(content).operators)
    require_vela()
    chosen = {"--system-config": system_config, "--memory-mode": memory_mode}
    options = [f"{flag}={value}" for flag, value in chosen.items() if value]
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        for accelerator in accelerators:
            made.append(_compile(path, accelerator, options, count))
    if made and all(target.failure for target in made):
        raise InputError(
            f"Vela cannot compile {name}: {made[0].failure}; give an int8 model, and"
            " names of Vela's own configurations"
        )
    return made


def _compile(
    model: Path, accelerator: str, options: Sequence[str], count: int
) -> Target:
    """Run Vela once in a process of its own, which a crash in its C++ ends alone."""
    output = model.parent / accelerator
    command = [sys.executable, "-m", "ethosu.vela", str(model), *options]
    command += [f"--accelerator-config={accelerator}", f"--output-dir={output}"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Target(accelerator, failure=f"not finished within {_TIMEOUT_S} s")
    summaries = list(output.glob("*_summary_*.csv"))
    compiled = list(output.glob("*_vela.tflite"))
    if done.returncode or not (summaries and compiled):
        return Target(accelerator, failure=_reason(done))
    with summaries[0].open(newline="", encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    return _target(accelerator, row, _left(compiled[0]), count, _warnings(done.stdout))


def _target(
    accelerator: str,
    row: dict[str, str],
    left: tuple[str, ...],
    count: int,
    warnings: tuple[str, ...],
) -> Target:
    """Return what a row of Vela's summary says; its memories are in KiB."""
    memories = ("dram", "on_chip_flash", "off_chip_flash")
    other_kib = sum(float(row[f"{name}_memory_used"]) for name in memories)
    return Target(
        accelerator,
        row["system_config"],
        row["memory_mode"],
        max(0, count - len(left)),
        left,
        1000 * float(row["inference_time"]),
        int(float(row["cycles_total"])),
        round(_KIB * float(row["sram_memory_used"])),
        round(_KIB * other_kib),
        warnings,
    )


def _left(compiled: Path) -> tuple[str, ...]:
    """Return the kinds of operators that Vela left to the CPU."""
    operators = read_tflite(compiled).operators
    return tuple(o.kind for o in operators if o.kind != COMPILED_OPERATOR)


def _warnings(text: str) -> tuple[str, ...]:
    """Return Vela's warnings of the configuration, each once."""
    lines = [line for line in text.splitlines() if line.startswith("Warning: ")]
    return tuple(dict.fromkeys(line[len("Warning: ") :] for line in lines))


def _reason(done: subprocess.CompletedProcess) -> str:
    """Return the line in which Vela says why it failed."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or [line for line in lines if line] or ["it printed nothing"])[-1]
