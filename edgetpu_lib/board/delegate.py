"""Open an Edge TPU for a compiled file, or say why that cannot be."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.board import attached, diagnosis
from edgetpu_lib.board.finding import Finding, first_wrong
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
    if not options.kind == "pci" and not wrong:
        _LOG.warning(SLOW)
    # Where the system shows no usable device, one attempt tells that it is right.
    waits = _waits() if not wrong else []
    path = str(software.library.path)
    for wait_s in [*waits, None]:
        try:
            with quiet_native():
                return software.runtime.module.load_delegate(path, options.given())
        except (ValueError, OSError) as error:
            if wait_s is None:
                reason = str(error).strip().splitlines()[-1]
                raise _error(wrong or _no_reply(system, options, reason)) from error
        pause(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _waits() -> list[float]:
    """Return the seconds between the attempts: each twice the last, at most two."""
    return [
        min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        for attempt in range(ATTEMPTS - 1)
    ]


def _no_reply(system: System, options: DeviceOptions, reason: str) -> Finding:
    """Say why a device that is attached and may be opened does not open."""
    devices = attached.find_devices(system) or []
    if any(d.is_first_mode and options.kind in ("", d.kind) for d in devices):
        return Finding(
            "wrong",
            "firmware",
            "the stick stays in its first mode (1a6e:089a), so its firmware was not"
            " loaded",
            "replug it, into a USB 3 port without a hub; a container must see all of"
            " /dev/bus/usb, as its number changes",
        )
    return Finding(
        "wrong",
        "device",
        f"the Edge TPU does not open in {ATTEMPTS} attempts ({reason})",
        "end other programs that use it and replug it; `python -m edgetpu_lib device`"
        " looks further",
    )


def _error(finding: Finding) -> InputError:
    return InputError(f"{finding.text}; {finding.remedy}")
