"""Run Google's `edgetpu_compiler`, keep its log and read its numbers.

The compiler is a closed program and was not at hand: the format of its log is that of
logs which users published (google-coral/edgetpu issues 512, 572;
HanChangHun/EdgeTPU-Compiler-Log-Parser).
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import InputError, require_writable
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.tflite.file import read_tflite
from edgetpu_lib.tflite.schema import COMPILED_OPERATOR

PROGRAM = "edgetpu_compiler"
# Seconds after its own time limit at which the compiler is stopped.
_GRACE_S = 60
_APT = "https://packages.cloud.google.com/apt"
_KEYRING = "/etc/apt/keyrings/coral-edgetpu.gpg"
HOW_TO_GET_IT = f"""\
{PROGRAM} runs on 64-bit Intel and AMD Linux of the Debian family only.

On such a machine (leave out sudo in a container):
  sudo apt-get update && sudo apt-get install -y curl gpg
  sudo install -d /etc/apt/keyrings
  curl -fsSL {_APT}/doc/apt-key.gpg | sudo gpg --dearmor -o {_KEYRING}
  echo "deb [signed-by={_KEYRING}] {_APT} coral-edgetpu-stable main" \
| sudo tee /etc/apt/sources.list.d/coral-edgetpu.list
  sudo apt-get update && sudo apt-get install -y edgetpu-compiler

In a container, on any machine with Docker (add --platform=linux/amd64 on ARM), with
the lines above inside it:
  docker run --rm -it -v "$PWD:/models" -w /models debian:bookworm bash

In Colab: the same lines in a cell, each after an exclamation mark, then upload the
.tflite file, compile, and download the result.
"""

_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Headings of the log → keys of what `parse_log` returns.
_FIELDS = {
    "Input model": "input",
    "Output model": "output",
    "Input size": "input_bytes",
    "Output size": "output_bytes",
    "On-chip memory used for caching model parameters": "cached_bytes",
    "On-chip memory remaining for caching model parameters": "cache_left_bytes",
    # The words of compilers 1 and 2.
    "On-chip memory available for caching model parameters": "cache_left_bytes",
    "Off-chip memory used for streaming uncached model parameters": "streamed_bytes",
    "Number of Edge TPU subgraphs": "subgraphs",
    "Total number of operations": "operators",
    "Number of operations that will run on Edge TPU": "edge_tpu_operators",
    "Number of operations that will run on CPU": "cpu_operators",
}
_RETRY = "run `check`, and try --search-delegate"
# What the compiler prints when it gives up, most specific first → remedy.
_FAILURES = {
    "large activation tensors": "take a smaller input size, or --search-delegate",
    "Didn't find op for builtin opcode": "run `check`: it names the operator",
    "Model not quantized": "run `check`: it names the float or open tensor",
    "could not be parsed": "run `check`: it says what the file holds",
    "Internal compiler error": "try again (it is not deterministic), another"
    " --min-runtime-version, or --search-delegate",
    **dict.fromkeys(("Compilation failed: ", "Invalid model: ", "ERROR: "), _RETRY),
    **dict.fromkeys(("Compilation failed", "timed out", "exceeded"), _RETRY),
}


@dataclasses.dataclass(frozen=True)
class Compilation:
    """Files for the Edge TPU, and what the compiler printed.

    Attributes:
        outputs: the compiled files: one, or one per segment.
        log: of the run, from `parse_log`; its paths are those of a scratch folder.
    """

    outputs: tuple[Path, ...]
    log: dict[str, Any]


def parse_log(text: str) -> dict[str, Any]:
    """Read the numbers of an `edgetpu_compiler` log.

    Args:
        text: standard output and error of any version of the compiler; with or without
            the operation log of `--show_operations`.

    Returns:
        "version" of the compiler; "models", a dictionary for each compiled one with
        the keys of `_FIELDS` and "operations" (kind, count, status); "failure", the
        compiler's words if there is no model, else `None`; "duration_ms". Sizes in
        bytes are as precise as the log, which rounds to two decimals.

    Raises:
        InputError: the log was cut off.
    """
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    duration = re.search(r"Models? compiled successfully in (\d+) ms", text)
    # Each model's part begins with its name, which failed tries do not print.
    parts = re.split(r"(?m)^(?=Input model: )", text)[1:]
    return {
        "version": version[1] if version else "",
        "models": [_parse_model(part) for part in parts],
        "failure": None if parts else _failure_of(text)[0],
        "duration_ms": int(duration[1]) if duration else 0,
    }


def _parse_model(part: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for heading, value in re.findall(r"(?m)^([^:\n]+): *(.*?) *$", part):
        if key := _FIELDS.get(heading):
            found[key] = value if key in ("input", "output") else _number(value)
    # The two counts are left out when all operators are mapped.
    found.setdefault("edge_tpu_operators", found.get("operators"))
    found.setdefault("cpu_operators", 0)
    missing = {*_FIELDS.values()} - found.keys()
    if missing:
        raise InputError(
            f"the compiler's log lacks {', '.join(sorted(missing))}; was it cut off?"
        )
    found["operations"] = [
        {"kind": kind, "count": int(count), "status": status}
        for kind, count, status in re.findall(r"(?m)^(\S+) +(\d+) +(\S.*?) *$", part)
    ]
    return found


def _number(text: str) -> int:
    """Return a count, or a size in bytes: "5.86MiB"."""
    match = re.fullmatch(r"([\d.]+)(B|KiB|MiB|GiB|)", text)
    if not match:
        raise InputError(f"the compiler's log says {text!r} for a number; was it cut?")
    return round(float(match[1]) * _UNITS[match[2]])


def _failure_of(text: str) -> tuple[str, str]:
    """Return the line in which the compiler says why it failed, and a remedy."""
    for words, remedy in _FAILURES.items():
        if lines := [line for line in text.splitlines() if words in line]:
            return " ".join(lines[-1].split()), remedy
    return "it printed no result", _RETRY


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

    An interrupted or failed run leaves nothing in `output_dir`.

    Args:
        model: path of an int8 `.tflite` file.
        output_dir: gets `NAME_edgetpu.tflite`, or one
            `NAME_segment_K_of_N_edgetpu.tflite` per segment, and the compiler's output
            as `NAME_edgetpu.log`.
        num_segments: parts for as many Edge TPUs in a row.
        min_runtime_version: of the device, 10 to 14.
        search_delegate: retry with fewer operators until it compiles.
        timeout_s: seconds for one compilation.

    Raises:
        InputError: the compiler is not installed, the folder cannot be written, the
            compilation fails, takes too long, or maps nothing to the Edge TPU.
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
        text = _run([*command, str(model)], timeout_s, search_delegate)
        log = parse_log(text)
        if log["failure"]:
            raise _failed(text)
        made = _verified(Path(scratch), num_segments)
        # With the operations, which the compiler's own file of this name repeats.
        log_path = Path(scratch, f"{Path(model).stem}_edgetpu.log")
        log_path.write_text(text, encoding="utf-8")
        for path in Path(scratch).iterdir():
            path.replace(output_dir / path.name)
    return Compilation(tuple(output_dir / path.name for path in made), log)


def _run(command: list[str], timeout_s: int, search_delegate: bool) -> str:
    """Return the compiler's output, standard error included."""
    # The compiler has a time limit of its own; this one is for when that fails. A
    # search restarts it for every try.
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
        raise _failed(done.stdout, f" with exit code {done.returncode}")
    return done.stdout


def _failed(text: str, how: str = "") -> InputError:
    failure, remedy = _failure_of(text)
    return InputError(f"{PROGRAM} failed{how}: {failure}; {remedy}")


def _verified(folder: Path, num_segments: int) -> list[Path]:
    """Return the compiled files; raise if the compiler succeeded without a result.

    A model of which nothing is mapped still "compiles".
    Source: google-coral/edgetpu issue 358.
    """
    outputs = sorted(folder.glob("*_edgetpu.tflite"))
    if len(outputs) != num_segments:
        raise InputError(
            f"{PROGRAM} wrote {len(outputs)} compiled files, not {num_segments};"
            f" {_RETRY}"
        )
    for path in outputs:
        kinds = [operator.kind for operator in read_tflite(path).operators]
        if COMPILED_OPERATOR not in kinds:
            raise InputError(
                f"{PROGRAM} mapped nothing of {path.name} to the Edge TPU; run `check`"
                " on the model: it says why"
            )
    return outputs
