"""Open an Edge TPU for a compiled file, or say why that cannot be."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.board import attached, diagnosis
from edgetpu_lib.board.finding import WRONG, Finding, first_wrong
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.board.runtime import Runtime
from edgetpu_lib.board.system import System

# One attempt in five fails where another ended just before, as the stick starts again.
ATTEMPTS = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 2.0
_LOG = logging.getLogger(__name__)
SLOW = "opening the Edge TPU, which takes some 3 s on USB …"


def load_delegate(
    options: DeviceOptions,
    *,
    needed: int = 0,
    runtime: Runtime | None = None,
    system: System | None = None,
    pause: Callable[[float], Any] = time.sleep,
) -> Any:
    """Return the delegate that runs compiled files on an attached Edge TPU.

    What would crash the process is found before the library is loaded.

    Args:
        options: which device, and its settings.
        needed: version of the Edge TPU runtime that the file asks for.
        runtime: that will run the file; `None` takes the one that is installed.
        system: where to look; `None` takes this computer.
        pause: waits so many seconds between attempts.

    Raises:
        InputError: something is missing or unfit, or no device answers; the message
            says what to do.
    """
    system = system or System()
    software = diagnosis.look_at_software(system, needed=needed, runtime=runtime)
    if wrong := first_wrong(software.findings):
        raise _error(wrong)
    assert software.runtime and software.library
    wrong = first_wrong(diagnosis.look_at_devices(system, options))
    if not wrong and _may_be_usb(system, options):
        _LOG.warning(SLOW)
    # Where the system shows no usable device, one attempt tells that it is right.
    waits = [] if wrong else _waits()
    path, given = str(software.library.path), options.given()
    for wait_s in [*waits, None]:
        try:
            with quiet_native():
                return software.runtime.module.load_delegate(path, given)
        except (ValueError, OSError, RuntimeError) as error:
            if wait_s is None:
                raise _error(wrong or _no_reply(system, options, error)) from error
        pause(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _may_be_usb(system: System, options: DeviceOptions) -> bool:
    devices = attached.find_devices(system)
    is_there = devices is None or any(device.kind == "usb" for device in devices)
    return is_there and options.kind != "pci"


def _waits() -> list[float]:
    """Return the seconds between the attempts: each twice the last, at most two."""
    return [
        min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        for attempt in range(ATTEMPTS - 1)
    ]


def _no_reply(system: System, options: DeviceOptions, error: Exception) -> Finding:
    """Say why a device that was attached and might be opened did not open."""
    # Firmware gives a stick another number, whose file may be missing or closed.
    if wrong := first_wrong(diagnosis.look_at_devices(system, options)):
        return wrong
    devices = attached.find_devices(system)
    reason = " ".join(str(error).split()) or type(error).__name__
    if devices is None:
        return Finding(
            WRONG,
            "device",
            f"no Edge TPU opens in {ATTEMPTS} attempts ({reason})",
            "attach one or replug it, and end other programs that use it",
        )
    if any(d.is_first_mode and options.kind in ("", d.kind) for d in devices):
        return Finding(
            WRONG,
            "firmware",
            "the stick stays in its first mode (1a6e:089a), so its firmware was not"
            " loaded",
            "replug it, into a USB 3 port without a hub; a container must see all of"
            " /dev/bus/usb, as its number changes",
        )
    return Finding(
        WRONG,
        "device",
        f"the Edge TPU does not open in {ATTEMPTS} attempts ({reason})",
        "end other programs that use it and replug it; `python -m edgetpu_lib device`"
        " looks further",
    )


def _error(finding: Finding) -> InputError:
    return InputError(f"{finding.text}; {finding.remedy}")
