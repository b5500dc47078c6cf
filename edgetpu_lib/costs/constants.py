"""The constants of `estimate`: speeds of the chip, its links and its hosts.

`python benchmarks/estimate.py` fits them again to latencies that Google published.
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
        operator_us: from one operator to the next at 500 MHz, microseconds.
    """

    utilisation: float
    depthwise_cost: float
    operator_us: float


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Errors |estimated / published − 1| for networks that are left out of the fit.

    A network is left out together with its relatives, such as all three ResNets.
    """

    networks: int
    median_error: float
    largest_error: float


@dataclasses.dataclass(frozen=True)
class Device:
    """A device with an Edge TPU, and its host.

    Attributes:
        link_bytes_per_s: of parameters and inputs, host to chip.
        output_bytes_per_s: chip to host.
        cpu_macs_per_s: of the host, for operators that stay there.
        cpu_bytes_per_s: of the activations they read and write.
        clocks: keys of `edge_tpu.CLOCK_HZ` that the device knows.
        accuracy: of estimates; `None` where nothing is published.
    """

    name: str
    title: str
    link_bytes_per_s: float
    output_bytes_per_s: float
    cpu_macs_per_s: float
    cpu_bytes_per_s: float
    clocks: tuple[str, ...]
    accuracy: Accuracy | None


# Fitted to the column "Desktop CPU + USB Accelerator (USB 3.0)" of the table in
# coral.ai/docs/edgetpu/benchmarks and two rows of coral.ai/models. That multiplications
# and sending overlap, and that a depthwise one costs more, was chosen with these rows
# in view, so that other networks may be further off than `Accuracy` says.
CHIP = Chip(utilisation=0.46, depthwise_cost=31.5, operator_us=10.4)
# The links are fitted with those columns, the CPUs with the two columns of the same
# table without Edge TPU: a Xeon Gold 6154 and a quad Cortex-A53.
DEVICES = {
    device.name: device
    for device in (
        Device(
            name="usb",
            title="USB Accelerator (USB 3)",
            link_bytes_per_s=457e6,
            # Whatever the clock. Source: a public analysis of the protocol.
            output_bytes_per_s=55e6,
            cpu_macs_per_s=20.8e9,
            cpu_bytes_per_s=0.47e9,
            clocks=("max", "std"),
            accuracy=Accuracy(networks=15, median_error=0.032, largest_error=0.136),
        ),
        Device(
            name="pcie",
            title="PCIe or M.2 card",
            # Assumed: the same lane of PCIe as on the Dev Board, in a desktop.
            link_bytes_per_s=377e6,
            output_bytes_per_s=377e6,
            cpu_macs_per_s=20.8e9,
            cpu_bytes_per_s=0.47e9,
            clocks=("max",),
            accuracy=None,
        ),
        Device(
            name="dev-board",
            title="Dev Board",
            link_bytes_per_s=377e6,
            # Assumed: as fast as the other way.
            output_bytes_per_s=377e6,
            cpu_macs_per_s=3.64e9,
            cpu_bytes_per_s=0.50e9,
            clocks=("max",),
            accuracy=Accuracy(networks=13, median_error=0.089, largest_error=0.209),
        ),
    )
}
# Time of a call for a model that computes next to nothing.
# Source: ricardodeazambuja/LibrEdgeTPU, README.
INVOKE_MS = 0.28
