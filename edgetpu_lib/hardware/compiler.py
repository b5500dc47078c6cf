"""Run Google's `edgetpu_compiler` and read what it says.

Takes a `.tflite` file that `check` has looked at; gives the compiled file and numbers.
The compiler is a closed program for 64-bit Intel and AMD Linux. None ran while this was
written: the parser knows the logs that users published (google-coral/edgetpu issues
512, 572; HanChangHun/EdgeTPU-Compiler-Log-Parser).
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, require_writable
from edgetpu_lib.hardware import check, edge_tpu
from edgetpu_lib.tflite.file import read_tflite

PROGRAM = "edgetpu_compiler"
# Seconds after which a compiler that overran its own clock is stopped.
_GRACE_S = 60
_KEY = "https://packages.cloud.google.com/apt/doc/apt-key.gpg"
_KEYRING = "/etc/apt/keyrings/coral-edgetpu.gpg"
_APT_LINE = (
    f"deb [signed-by={_KEYRING}] https://packages.cloud.google.com/apt"
    " coral-edgetpu-stable main"
)
HOW_TO_GET_IT = f"""\
{PROGRAM} runs on 64-bit Intel and AMD Linux of the Debian family only.

On such a machine (leave out sudo in a container):
  sudo apt-get update && sudo apt-get install -y curl gpg
  sudo install -d /etc/apt/keyrings
  curl -fsSL {_KEY} | sudo gpg --dearmor -o {_KEYRING}
  echo "{_APT_LINE}" | sudo tee /etc/apt/sources.list.d/coral-edgetpu.list
  sudo apt-get update && sudo apt-get install -y edgetpu-compiler

In a container, on any machine with Docker (add --platform=linux/amd64 on ARM), with
the lines above inside it:
  docker run --rm -it -v "$PWD:/models" -w /models debian:bookworm bash

In Colab: the same lines in a cell, each after an exclamation mark, then upload the
.tflite file, compile, and download the result.
"""

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZES = {
    "Input size": "input_bytes",
    "Output size": "output_bytes",
    "On-chip memory used for caching model parameters": "cached_bytes",
    # The older words of compilers 1 and 2 come second.
    "On-chip memory remaining for caching model parameters": "cache_left_bytes",
    "On-chip memory available for caching model parameters": "cache_left_bytes",
    "Off-chip memory used for streaming uncached model parameters": "streamed_bytes",
}
_COUNTS = {
    "Number of Edge TPU subgraphs": "subgraphs",
    "Total number of operations": "operators",
    "Number of operations that will run on Edge TPU": "edge_tpu_operators",
    "Number of operations that will run on CPU": "cpu_operators",
}
_NAMES = {"Input model": "input", "Output model": "output"}

# What the compiler prints when it gives up → what a user can do.
_REMEDIES = (
    ("large activation tensors", "take a smaller input size, or --search-delegate"),
    ("Didn't find op for builtin opcode", "run `check`: it names the operator"),
    ("Model not quantized", "run `check`: it names the float or open tensor"),
    ("could not be parsed", "run `check`: it says what the file holds"),
    (
        "Internal compiler error",
        "try again (it is not deterministic), another --min-runtime-version, or"
        " --search-delegate",
    ),
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """A row of the operation log: a kind of operator, how many, and their status."""

    kind: str
    count: int
    status: str


@dataclasses.dataclass(frozen=True)
class CompiledModel:
    """What the compiler says of one model it compiled.

    Sizes are in bytes, as precise as the log, which rounds to two decimals.

    Attributes:
        input: path of the model.
        output: path of the compiled model.
        input_bytes: size of the model.
        output_bytes: size of the compiled model.
        cached_bytes: parameters kept on the chip.
        cache_left_bytes: room for more of them.
        streamed_bytes: parameters sent again for every inference.
        subgraphs: parts that run on the Edge TPU; 0 when nothing does.
        operators: of the model.
        edge_tpu_operators: how many run on the Edge TPU.
        cpu_operators: how many the CPU is left with.
        operations: rows of the operation log; empty where it was not shown.
    """

    input: str
    output: str
    input_bytes: int
    output_bytes: int
    cached_bytes: int
    cache_left_bytes: int
    streamed_bytes: int
    subgraphs: int
    operators: int
    edge_tpu_operators: int
    cpu_operators: int
    operations: tuple[Operation, ...]


@dataclasses.dataclass(frozen=True)
class CompilerLog:
    """What one run of the compiler said.

    Attributes:
        version: of the compiler; empty if it said none.
        models: what was compiled, in order.
        failure: why nothing was, in the compiler's words; `None` after a success.
        duration_ms: as the compiler measured it; 0 after a failure.
    """

    version: str
    models: tuple[CompiledModel, ...]
    failure: str | None
    duration_ms: int


@dataclasses.dataclass(frozen=True)
class Compilation:
    """Files for the Edge TPU, and what the compiler said of them.

    Attributes:
        outputs: the compiled files: one, or one a segment.
        log: of the run; its paths are those of a scratch folder.
    """

    outputs: tuple[Path, ...]
    log: CompilerLog


def parse_log(text: str) -> CompilerLog:
    """Read what `edgetpu_compiler` printed.

    Args:
        text: its standard output and error, of any of its versions; with or without
            the operation log of `--show_operations`.

    Returns:
        The parts. With `--search_delegate`, failed tries before a success do not
        count.
    """
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    duration = re.search(r"Models? compiled successfully in (\d+) ms", text)
    # Each model's part begins with its name.
    parts = re.split(r"(?m)^(?=Input model: )", text)[1:]
    models = tuple(_parse_model(part) for part in parts)
    return CompilerLog(
        version=version[1] if version else "",
        models=models,
        failure=None if models else _failure_of(text),
        duration_ms=int(duration[1]) if duration else 0,
    )


def _parse_model(part: str) -> CompiledModel:
    found: dict[str, object] = {}
    for line in part.splitlines():
        key, _, value = line.partition(":")
        value = value.strip()
        if key in _SIZES:
            found[_SIZES[key]] = _bytes_of(value)
        elif key in _COUNTS:
            found[_COUNTS[key]] = int(value)
        elif key in _NAMES:
            found[_NAMES[key]] = value
    missing = {*_SIZES.values(), *_NAMES.values(), "subgraphs", "operators"} - {*found}
    if missing:
        raise InputError(
            f"the compiler's log lacks {', '.join(sorted(missing))}; was it cut off?"
        )
    # The two counts are left out when all operators are mapped.
    found.setdefault("edge_tpu_operators", found["operators"])
    found.setdefault("cpu_operators", 0)
    return CompiledModel(operations=tuple(_operations(part)), **found)


def _bytes_of(size: str) -> int:
    match = re.fullmatch(r"([\d.]+)(B|KiB|MiB|GiB)", size)
    if not match:
        raise InputError(f"the compiler's log has a size of {size!r}; was it cut off?")
    return round(float(match[1]) * _UNITS[match[2]])


def _operations(text: str) -> Iterator[Operation]:
    """Yield the rows below the heading `Operator  Count  Status`."""
    _, _, table = text.partition("Operator  ")
    for line in table.splitlines()[1:]:
        row = re.fullmatch(r"(\S+)\s+(\d+)\s+(\S.*?)\s*", line)
        if row:
            yield Operation(row[1], int(row[2]), row[3])
        elif line.strip():
            return


def _failure_of(text: str) -> str:
    for pattern in (
        r"Compilation failed: (.+)",
        r"(?:ERROR: )?(Didn't find op for builtin opcode .+)",
        r"(Internal compiler error.*)",
        r"(Invalid model: .+)",
        r"ERROR: (.+)",
        r"(Compilation failed.*)",
        r"(.*time.?out.*exceeded.*|.*timed out.*)",
    ):
        found = re.findall(pattern, text)
        if found:
            return " ".join(found[-1].split())
    return "it said nothing of a result"


def compile_tflite(
    model: str | Path,
    *,
    output_dir: str | Path,
    num_segments: int = 1,
    min_runtime_version: int = edge_tpu.NEWEST_RUNTIME,
    search_delegate: bool = False,
    timeout_s: int = 180,
) -> Compilation:
    """Compile a TFLite file for the Edge TPU with Google's compiler.

    Outputs appear in `output_dir` when all of them are complete and verified; an
    interrupted or failed run leaves nothing there.

    Args:
        model: path of a full-integer `.tflite` file.
        output_dir: gets `NAME_edgetpu.tflite` and `NAME_edgetpu.log`, or
            `NAME_segment_K_of_N_edgetpu.tflite`.
        num_segments: parts for as many Edge TPUs in a row.
        min_runtime_version: of the device, 10 to 14.
        search_delegate: retry with fewer operators until it compiles.
        timeout_s: seconds for one compilation.

    Raises:
        InputError: the compiler is not installed, the folder cannot be written, the
            compilation fails, takes too long, or gives a file that is no use.
    """
    program = shutil.which(PROGRAM)
    if not program:
        raise InputError(
            f"{PROGRAM} is not on the PATH; `python -m edgetpu_lib compile` says how to"
            " get it"
        )
    output_dir = Path(output_dir)
    require_writable(output_dir / "compiled")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=output_dir) as scratch:
        command = [program, "--out_dir", scratch, "--show_operations"]
        command += ["--min_runtime_version", str(min_runtime_version)]
        command += ["--timeout_sec", str(timeout_s)]
        if num_segments > 1:
            command += ["--num_segments", str(num_segments)]
        if search_delegate:
            command += ["--search_delegate"]
        log = parse_log(_run([*command, str(model)], timeout_s, search_delegate))
        made = _verified(log, Path(scratch), num_segments)
        for path in Path(scratch).iterdir():
            path.replace(output_dir / path.name)
    return Compilation(tuple(output_dir / path.name for path in made), log)


def _run(command: list[str], timeout_s: int, search_delegate: bool) -> str:
    """Return all that the compiler prints; it may have failed."""
    # The compiler has a clock of its own; this one is for when that does not work. A
    # search starts it anew for every try.
    patience_s = None if search_delegate else timeout_s + _GRACE_S
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=patience_s,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{PROGRAM} did not finish within {patience_s} s; give more time with"
            " --timeout-sec, or try --search-delegate"
        ) from error
    except OSError as error:
        raise InputError(f"{PROGRAM} cannot be run: {error.strerror}") from error
    if done.returncode:
        failure = _failure_of(done.stdout)
        raise InputError(
            f"{PROGRAM} failed with exit code {done.returncode}: {failure};"
            f" {_remedy(failure)}"
        )
    return done.stdout


def _remedy(failure: str) -> str:
    for words, remedy in _REMEDIES:
        if words in failure:
            return remedy
    return "run `check`, and try --search-delegate"


def _verified(log: CompilerLog, folder: Path, num_segments: int) -> list[Path]:
    """Return the compiled files; refuse what is called a success but is no use.

    A model of which nothing is mapped still "compiles".
    Source: google-coral/edgetpu issue 358.
    """
    if log.failure:
        raise InputError(f"{PROGRAM} failed: {log.failure}; {_remedy(log.failure)}")
    outputs = sorted(folder.glob("*_edgetpu.tflite"))
    if len(outputs) != num_segments:
        raise InputError(
            f"{PROGRAM} wrote {len(outputs)} compiled files, not {num_segments};"
            f" {_remedy('')}"
        )
    for path in outputs:
        kinds = [operator.kind for operator in read_tflite(path).operators]
        if check.COMPILED_OPERATOR not in kinds:
            raise InputError(
                f"{PROGRAM} mapped nothing of {path.name} to the Edge TPU; run `check`"
                " on the model: it says why"
            )
    return outputs
