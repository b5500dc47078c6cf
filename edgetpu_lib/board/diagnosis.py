"""Go through all that a compiled file needs, and say what is right and what is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board import attached, library, remedies
from edgetpu_lib.board.finding import RIGHT, UNSURE, WRONG, Finding
from edgetpu_lib.board.library import Library
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.board.runtime import CHANGED, Runtime, find_runtime
from edgetpu_lib.board.system import System


@dataclasses.dataclass(frozen=True)
class Software:
    """The programs that run a compiled file, as far as they were found.

    Attributes:
        findings: on each of them.
        runtime: of TFLite, or `None`.
        library: for the Edge TPU, or `None`.
    """

    findings: tuple[Finding, ...]
    runtime: Runtime | None = None
    library: Library | None = None


def look_at_software(
    system: System, *, needed: int = 0, runtime: Runtime | None = None
) -> Software:
    """Look at the TFLite runtime and at the Edge TPU's library; open no device.

    Args:
        system: to look at.
        needed: version of the Edge TPU runtime that a compiled file asks for.
        runtime: that will run it; `None` takes the one that is installed.
    """
    findings: list[Finding] = []
    try:
        runtime = runtime or find_runtime()
        shown = f"{runtime.package} {runtime.version}".strip()
        findings.append(Finding(RIGHT, "TFLite runtime", shown))
    except InputError as error:
        text, _, remedy = str(error).partition("; ")
        findings.append(Finding(WRONG, "TFLite runtime", text, remedy))
    found = library.find_library(system)
    if found is None:
        name = library.name_on(system)
        findings.append(
            Finding(
                WRONG,
                "library",
                f"{name} is not installed",
                remedies.install_library(system),
            )
        )
        return Software(tuple(findings), runtime)
    findings.append(_processor(found, system))
    if findings[-1].state != WRONG:
        printed, loaded = _load(found, system)
        found = dataclasses.replace(
            found, label=found.label or library.label_in(printed.encode())
        )
        findings.append(loaded)
        findings += [_fit(found, runtime, system)] if runtime else []
        findings += _version(found, printed, needed, system)
    return Software(tuple(findings), runtime, found)


def _processor(found: Library, system: System) -> Finding:
    """Say whether a library is for the processor that Python was built for."""
    wanted = library.processors_of_python(system)
    if not found.processors:
        text = f"{found.path} is no shared library"
        return Finding(WRONG, "library", text, remedies.install_library(system))
    kinds = " and ".join(sorted(found.processors))
    if wanted and not wanted & found.processors:
        text = f"{found.path} is for {kinds}, this Python for {' '.join(wanted)}"
        remedy = f"take the one for {' '.join(wanted)}: "
        return Finding(
            WRONG, "library", text, remedy + remedies.install_library(system)
        )
    return Finding(RIGHT, "library", f"{found.path} for {kinds}")


def _load(found: Library, system: System) -> tuple[str, Finding]:
    """Load a library in a child; return what that printed, and a finding."""
    done = library.load_in_child(found)
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if done.returncode == 0:
        return done.stdout, Finding(RIGHT, "loading", "the library can be loaded")
    # An exception of Python has the number 1.
    if done.returncode != 1:
        text = f"{found.path} ends the process ({library.ending(done.returncode)})"
        remedy = remedies.install_library(system)
    elif "libusb" in reason:
        text = f"{found.path} needs libusb, which is not installed"
        remedy = remedies.install_libusb(system)
    elif "tflite_plugin" in reason:
        text = f"{found.path} is no library for TFLite"
        remedy = remedies.install_library(system)
    else:
        text = f"{found.path} cannot be loaded ({reason})"
        remedy = remedies.install_library(system)
    return "", Finding(WRONG, "loading", text, remedy)


def _fit(found: Library, runtime: Runtime, system: System) -> Finding:
    """Say whether library and TFLite agree on the layout of their structures.

    The library of 2021 crashes the process with TFLite 2.12 and later, before Python
    can tell; so it is never loaded together with one.
    """
    ours = found.package_version or found.label or "of unknown age"
    both = f"libedgetpu {ours} with {runtime.package} {runtime.version}".strip()
    newer = runtime.tflite and runtime.tflite >= CHANGED
    if found.has_old_layout is None or runtime.tflite is None:
        return Finding(UNSURE, "versions", f"{both}: nothing tells if they fit")
    if found.has_old_layout and newer:
        return Finding(
            WRONG,
            "versions",
            f"{found.path} ({ours}) was built before TFLite 2.12 and crashes"
            f" with {runtime.package} {runtime.version}",
            remedies.install_library(system)
            + "; or on Python 3.9 pip install 'tflite-runtime<2.12' 'numpy<2'",
        )
    if not found.has_old_layout and not newer:
        remedy = "pip install --upgrade ai-edge-litert, if it crashes"
        return Finding(UNSURE, "versions", f"{both}: the library is newer", remedy)
    return Finding(RIGHT, "versions", both)


def _version(
    found: Library, printed: str, needed: int, system: System
) -> Iterator[Finding]:
    """Compare the Edge TPU runtime in a library with the one that a file asks for."""
    has = library.runtime_version(printed, found)
    if has is None:
        yield Finding(UNSURE, "Edge TPU runtime", "its version is unknown")
    elif has < needed:
        yield Finding(
            WRONG,
            "Edge TPU runtime",
            f"the file was compiled for Edge TPU runtime {needed}, the library here"
            f" has {has}",
            f"compile with --min_runtime_version={has}, or"
            f" {remedies.install_library(system)}",
        )
    else:
        yield Finding(RIGHT, "Edge TPU runtime", f"version {has}")


def look_at_devices(system: System, options: DeviceOptions) -> tuple[Finding, ...]:
    """Look at the attached devices, their driver and permissions; open none."""
    devices = attached.find_devices(system)
    if devices is None:
        text = f"this system ({system.platform}) does not list its devices"
        return (Finding(UNSURE, "device", text),)
    chosen = [d for d in devices if options.kind in ("", d.kind)]
    # Which of them has the number, the library alone knows.
    if len(chosen) <= (options.number or 0):
        return (_absent(devices, options),)
    findings = tuple(f for device in chosen for f in _of_device(device))
    # Of several, one that can be used is enough.
    usable = [d for d in chosen if d.may_open]
    if usable:
        return tuple(f for device in usable for f in _of_device(device))
    return findings


def _absent(devices: list[attached.Device], options: DeviceOptions) -> Finding:
    if not devices:
        return Finding(
            WRONG,
            "device",
            "no Edge TPU is attached",
            "plug it in, a stick into a USB 3 port (lsusb shows 1a6e:089a or"
            " 18d1:9302), a card with the power off (lspci -d 1ac1:)",
        )
    kinds = [device.kind for device in devices]
    shown = [f"{kind}:{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]
    return Finding(
        WRONG,
        "device",
        f"{options.device} is not attached",
        f"give --device={shown[0]}, of {', '.join(shown)}",
    )


def _of_device(device: attached.Device) -> Iterator[Finding]:
    """Yield what is right or wrong with one device."""
    usb = device.kind == "usb"
    where = f"{'USB' if usb else 'PCIe'} device {device.place}"
    if device.file is None and usb:
        text = f"{where} has no file below /dev/bus/usb"
        remedy = "let the container see all of it: --device=/dev/bus/usb --privileged"
        yield Finding(WRONG, "device", text, remedy)
    elif device.file is None:
        text = f"{where} is there, but the kernel has no driver for it: no /dev/apex_*"
        yield Finding(WRONG, "driver", text, remedies.DRIVER)
    elif not device.may_open:
        rule = remedies.USB_RULE if usb else remedies.PCI_RULE
        text = f"this user may not open {device.file}"
        yield Finding(WRONG, "permission", text, rule)
    else:
        yield Finding(RIGHT, "device", f"{where}, {device.file}")
    if device.is_first_mode:
        text = f"{where} is in its first mode (1a6e:089a): no firmware was loaded yet"
        yield Finding(UNSURE, "firmware", text, "its first use loads it")
    elif usb and 0 < device.speed_mbps < 5000:
        text = f"{where} runs at {device.speed_mbps:g} Mb/s, as USB 2 does"
        remedy = "take a USB 3 port and cable: it is up to ten times as fast"
        yield Finding(UNSURE, "speed", text, remedy)
