"""Tell for which processors a program or shared library was made, by its header."""

from __future__ import annotations

import struct
from pathlib import Path

# Sources: the System V ABI (e_machine), Apple's mach/machine.h, Microsoft's PE format.
_ELF = {0x03: "x86", 0x28: "arm", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv"}
_MACH = {7: "x86", 0x01000007: "x86_64", 12: "arm", 0x0100000C: "aarch64"}
_PE = {0x14C: "x86", 0x8664: "x86_64", 0x1C4: "arm", 0xAA64: "aarch64"}
_MAX_FAT = 16


def processors_of(path: str | Path) -> frozenset[str]:
    """Return the processors that a binary file runs on; empty if it is no such file.

    Returns:
        "x86_64", "aarch64", "arm", "x86", "riscv", or a number for any other.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(4096)
    try:
        return frozenset(_processors(head))
    except struct.error:
        return frozenset()


def _processors(head: bytes) -> set[str]:
    if head[:4] == b"\x7fELF":
        order = ">" if head[5:6] == b"\x02" else "<"
        return {_name(_ELF, struct.unpack_from(f"{order}H", head, 18)[0])}
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe"):
        return {_name(_MACH, struct.unpack_from("<I", head, 4)[0])}
    if head[:4] == b"\xca\xfe\xba\xbe":  # Several, one behind the other.
        count = min(_MAX_FAT, struct.unpack_from(">I", head, 4)[0])
        kinds = [struct.unpack_from(">I", head, 8 + 20 * i)[0] for i in range(count)]
        return {_name(_MACH, kind) for kind in kinds}
    if head[:2] == b"MZ":
        start = struct.unpack_from("<I", head, 0x3C)[0]
        if head[start : start + 4] == b"PE\0\0":
            return {_name(_PE, struct.unpack_from("<H", head, start + 4)[0])}
    return set()


def _name(names: dict[int, str], number: int) -> str:
    return names.get(number, f"processor {number}")
