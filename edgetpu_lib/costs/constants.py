"""The constants of `estimate`: speeds of the chip, its links and its hosts.

`python benchmarks/estimate.py` fits again what is marked as a fit, to the rows of
`data/latency_published.json` that are kept for fitting. The other numbers are what
others measured, or assumptions that say so.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """Fitted constants of the chip, the same for all devices.

    Attributes:
        utilisation: share of the peak that a convolution reaches whose positions,
            filters and depth fill tiles, cells and multipliers, 0..1.
        depthwise_cost: multiplications that a depthwise one costs as much as.
        operator_us: from one operator to the next, microseconds, at either clock: a
            network of 26 convolutions took 0.57 ms at 250 MHz, call included, which
            leaves no room for twice as much. Source: mouad-zouhdi/sparta-edgetpu.
    """

    utilisation: float
    depthwise_cost: float
    operator_us: float


@dataclasses.dataclass(frozen=True)
class Device:
    """A device with an Edge TPU, and its host.

    Attributes:
        link_bytes_per_s: of parameters and inputs, host to chip.
        output_bytes_per_s: chip to host.
        invoke_ms: of a call that computes next to nothing.
        cpu_macs_per_s: of the host, for operators that stay there.
        cpu_bytes_per_s: of the activations they read and write.
        clocks: keys of `edge_tpu.CLOCK_HZ` that the device knows.
        source: where the speeds of the link and of the call come from.
    """

    name: str
    title: str
    link_bytes_per_s: float
    output_bytes_per_s: float
    invoke_ms: float
    cpu_macs_per_s: float
    cpu_bytes_per_s: float
    clocks: tuple[str, ...]
    source: str


# A fit to the rows on a USB Accelerator beside a desktop.
CHIP = Chip(utilisation=0.484, depthwise_cost=32.1, operator_us=10.4)
# Where maps are too large for the memory of activations, they are computed in pieces,
# and parameters that are not cached are sent once for each. By eye: those of plain
# convolutions of 452 to 632 filters were sent about three times.
PIECE_BYTES = 1.5 * (1 << 20)

# MACs and bytes of activations a second. Fits to Google's columns without Edge TPU: a
# Xeon Gold 6154 and a quad Cortex-A53. The second stands for other small boards, too.
_DESKTOP = {"cpu_macs_per_s": 21.3e9, "cpu_bytes_per_s": 0.50e9}
_BOARD = {"cpu_macs_per_s": 3.51e9, "cpu_bytes_per_s": 0.51e9}
_BOTH, _MAX = ("max", "std"), ("max",)
# From the chip to a USB host, whatever the clock: ricardodeazambuja/LibrEdgeTPU.
_USB_OUTPUT = 55e6
_SPARTA = "mouad-zouhdi/sparta-edgetpu"

DEVICES = {
    device.name: device
    for device in (
        Device(
            *("usb", "USB Accelerator on USB 3, desktop"),
            *(487e6, _USB_OUTPUT, 0.28),
            clocks=_BOTH,
            source="link: a fit (452 MB/s were measured); rest: LibrEdgeTPU",
            **_DESKTOP,
        ),
        Device(
            *("pi4-usb", "USB Accelerator on USB 3, Raspberry Pi 4"),
            *(319e6, _USB_OUTPUT, 0.28),
            clocks=_BOTH,
            source=f"link: {_SPARTA}; rest: as on a desktop",
            **_BOARD,
        ),
        Device(
            *("pi5-usb", "USB Accelerator on USB 3, Raspberry Pi 5"),
            *(356e6, 64e6, 1.0),
            clocks=_BOTH,
            source=f"RTSS 2025, told by {_SPARTA}: output 35 to 87 MiB/s, call 0.3 to"
            " 2.0 ms; their middles",
            **_BOARD,
        ),
        Device(
            *("usb2", "USB Accelerator on USB 2, Raspberry Pi 3"),
            *(36e6, 36e6, 0.28),
            clocks=_BOTH,
            source="link: deduced from Inception v4 in google-coral/pycoral; output:"
            " assumed as fast; call: as on USB 3",
            **_BOARD,
        ),
        Device(
            *("pcie", "PCIe or M.2 card, desktop"),
            *(380e6, 245e6, 0.05),
            clocks=_MAX,
            source=f"link: {_SPARTA}; output, call: deduced from"
            " Jorgitou98/EdgeTPU-QuantRL-Evaluation",
            **_DESKTOP,
        ),
        Device(
            *("dev-board", "Dev Board"),
            *(386e6, 386e6, 0.05),
            clocks=_MAX,
            source="link: a fit; output: assumed as fast; call: as on PCIe",
            **_BOARD,
        ),
        Device(
            *("dev-board-mini", "Dev Board Mini"),
            *(36e6, 36e6, 0.28),
            clocks=_MAX,
            source="assumed: as on USB 2, which connects its chip",
            **_BOARD,
        ),
    )
}
