"""`device`: what an Edge TPU needs on this computer, what is missing, what to type."""

from __future__ import annotations

import dataclasses

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.finding import first_wrong
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.commands import options
from edgetpu_lib.tflite.device import examine


@options.command
@options.JSON
def device(*, device: DeviceOptions, model: str | None = None, as_json: bool) -> None:
    """Examine an Edge TPU, its library, driver and permissions.

    Opens the device in the end, in a process of its own. Exit code 0: it can be used.
    2: it cannot; the line on standard error says what to do first.

    Args:
        model: compiled .tflite file to run on it once.
    """
    findings = examine(device, model=model)
    wrong = first_wrong(findings)
    lines = []
    for each in findings:
        lines.append(f"{each.state:<7} {each.topic:<17} {each.text}")
        if each.remedy:
            lines.append(f"{'':<26}→ {each.remedy}")
    content = {
        "usable": wrong is None,
        "findings": [dataclasses.asdict(each) for each in findings],
    }
    options.print_result(content, as_json, lines)
    if wrong:
        raise InputError(f"{wrong.text}; {wrong.remedy}")
