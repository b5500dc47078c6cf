"""See which Edge TPUs are attached, and whether this user may open them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.board.system import System

# Source: google-coral/libedgetpu debian/edgetpu-accelerator.rules: a stick shows the
# first number until the library has loaded its firmware, and the second after.
FIRST_MODE, READY = ("1a6e", "089a"), ("18d1", "9302")
# Source: the same, driver/beagle; the device on a card and on the Dev Board.
_PCI = ("0x1ac1", "0x089a")


@dataclasses.dataclass(frozen=True)
class Device:
    """One attached Edge TPU.

    Attributes:
        kind: "usb" or "pci".
        place: where the system lists it.
        file: through which it is opened; `None` if there is none.
        may_open: whether this user may read and write that file.
        is_first_mode: a stick whose firmware was not loaded yet.
        speed_mbps: of a USB port, megabits a second; 0 if unknown, or for PCIe.
    """

    kind: str
    place: str
    file: Path | None
    may_open: bool
    is_first_mode: bool = False
    speed_mbps: float = 0


def find_devices(system: System) -> list[Device] | None:
    """Return all attached Edge TPUs; `None` where the system lists none."""
    folders = [
        system.root / "sys" / "bus" / kind / "devices" for kind in ("usb", "pci")
    ]
    if not system.is_linux or not any(folder.is_dir() for folder in folders):
        return None
    return [*_on_usb(folders[0], system), *_on_pci(folders[1], system)]


def _on_usb(folder: Path, system: System) -> Iterator[Device]:
    for place in sorted(folder.glob("*")):
        ids = (_read(place / "idVendor"), _read(place / "idProduct"))
        if ids not in (FIRST_MODE, READY):
            continue
        numbers = [_read(place / name) for name in ("busnum", "devnum")]
        names = [f"{int(n):03}" for n in numbers if n.isdigit()]
        file = system.root.joinpath("dev", "bus", "usb", *names)
        there = len(names) == 2 and file.exists()
        speed = _read(place / "speed")
        yield Device(
            kind="usb",
            place=place.name,
            file=file if there else None,
            may_open=there and system.may_open(file),
            is_first_mode=ids == FIRST_MODE,
            speed_mbps=float(speed) if speed.replace(".", "").isdigit() else 0,
        )


def _on_pci(folder: Path, system: System) -> Iterator[Device]:
    files = sorted((system.root / "dev").glob("apex_*"))
    places = [
        place
        for place in sorted(folder.glob("*"))
        if (_read(place / "vendor"), _read(place / "device")) == _PCI
    ]
    # The driver numbers its files in the order of the places.
    for number, place in enumerate(places):
        file = files[number] if number < len(files) else None
        yield Device(
            kind="pci",
            place=place.name,
            file=file,
            may_open=file is not None and system.may_open(file),
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""
