"""Examine the Edge TPU of this computer: programs, device, and a trial."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board import diagnosis
from edgetpu_lib.board.finding import UNSURE, WRONG, Finding, first_wrong
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.board.system import System
from edgetpu_lib.tflite.compiled import is_compiled, needed_runtime
from edgetpu_lib.tflite.file import read_bytes
from edgetpu_lib.tflite.trial import try_device


def examine(
    options: DeviceOptions,
    *,
    model: str | Path | None = None,
    system: System | None = None,
) -> tuple[Finding, ...]:
    """Go through all that a compiled file needs to run here.

    Args:
        options: which device, and its settings.
        model: a compiled file to run on it; `None` opens the device alone.
        system: where to look; `None` takes this computer.

    Returns:
        What was found, in the order in which it is needed; a device can be used if
        nothing is `WRONG`.

    Raises:
        InputError: the model cannot be read, or is not compiled.
    """
    system = system or System()
    name, content = read_bytes(model) if model else ("", b"")
    if model and not is_compiled(content):
        raise InputError(
            f"{name} is not compiled for the Edge TPU; run `python -m edgetpu_lib"
            " compile` first, or leave --model out"
        )
    software = diagnosis.look_at_software(system, needed=needed_runtime(content))
    devices = diagnosis.look_at_devices(system, options)
    if first_wrong(software.findings):
        return (*software.findings, *devices)
    trial = try_device(options, content)
    if trial.state != WRONG:
        # A container may hide from view what it lets through.
        devices = tuple(_softer(each) for each in devices)
    elif first_wrong(devices):
        # It says the same, and the remedy stands there.
        return (*software.findings, *devices)
    return (*software.findings, *devices, trial)


def _softer(finding: Finding) -> Finding:
    wrong = finding.state == WRONG
    return dataclasses.replace(finding, state=UNSURE) if wrong else finding
