"""How wrong estimates were for networks like the one at hand.

An error is estimated / measured − 1 of a network that was not used to fit the constants
with which it is estimated: one of the families kept for a test, or one of the others,
with constants fitted without its family. `python benchmarks/estimate.py` prints the
table below; a test compares them.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping

# Below this share of the time, operators on the CPU make no other kind of network: a
# QUANTIZE of the input, for example.
_CPU_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Group:
    """Networks that an estimate is good or bad at for the same reasons.

    Attributes:
        kind: "depthwise" if depthwise convolutions take half of the computing,
            "dense" if dense layers do, else "convolutions".
        parameters: "cached" wholly, or "sent" in part.
        on_cpu: whether operators on the CPU take a tenth of the time or more.
    """

    kind: str
    parameters: str
    on_cpu: bool = False

    def __str__(self) -> str:
        """Return words for a sentence."""
        kinds = {
            "depthwise": "mostly depthwise convolutions",
            "convolutions": "mostly full convolutions",
            "dense": "dense layers",
        }
        parameters = {"cached": "parameters all cached", "sent": "parameters sent"}
        words = f"{kinds[self.kind]}, {parameters[self.parameters]}"
        return words + (", partly on the CPU" if self.on_cpu else "")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Errors of estimates of networks like one at hand.

    Attributes:
        group: the networks.
        device: key of `constants.DEVICES`, or "" for any.
        networks: how many measurements there are; 0 if nothing is comparable.
        median_error: |estimated / measured − 1|; 0 without measurements.
        largest_error: the same.
    """

    group: Group
    device: str
    networks: int
    median_error: float = 0.0
    largest_error: float = 0.0

    def __str__(self) -> str:
        """Return a part of a sentence."""
        if not self.networks:
            return f"no comparable measurement ({self.group})"
        where = f"on {self.device}" if self.device else "on other devices"
        count = f"{self.networks} measurement" + ("s" if self.networks > 1 else "")
        return (
            f"for networks like this one ({self.group}) {where}, it was wrong by"
            f" {self.median_error:.0%} in the median and {self.largest_error:.0%} at"
            f" most, over {count} that were not used for its fit"
        )


def group_of(
    compute_ms: Mapping[str, float], *, sends: bool, cpu_share: float
) -> Group:
    """Return the group of a network.

    Args:
        compute_ms: kind of operator, such as "CONV_2D" → milliseconds of computing.
        sends: whether parameters are sent for every inference.
        cpu_share: of the time that operators on the CPU take, 0..1.
    """
    half = sum(compute_ms.values()) / 2
    kind = "convolutions"
    for operator, name in (
        ("DEPTHWISE_CONV_2D", "depthwise"),
        ("FULLY_CONNECTED", "dense"),
    ):
        if compute_ms.get(operator, 0) > half:
            kind = name
    return Group(kind, "sent" if sends else "cached", cpu_share >= _CPU_SHARE)


def compare(group: Group, device: str, clock: str) -> Comparison:
    """Return the errors for a group, on the device if it was measured there.

    Args:
        group: of the network at hand.
        device: key of `constants.DEVICES`.
        clock: key of `edge_tpu.CLOCK_HZ`.
    """
    fields = dataclasses.astuple(group)
    here = ERRORS.get((*fields, device, clock), ())
    elsewhere = [
        error
        for key, errors in ERRORS.items()
        for error in errors
        if key[: len(fields)] == fields
    ]
    errors = [abs(error) for error in here or elsewhere]
    name = (device if clock == "max" else f"{device} at 250 MHz") if here else ""
    if not errors:
        return Comparison(group, name, 0)
    return Comparison(group, name, len(errors), statistics.median(errors), max(errors))


# Fields of a group, device and clock → errors.
ERRORS: dict[tuple[str, str, bool, str, str], tuple[float, ...]] = {
    ("convolutions", "cached", False, "dev-board", "max"): (-0.02, -0.27, -0.13, -0.25),
    ("convolutions", "cached", False, "pcie", "max"): (
        -0.4,
        -0.39,
        -0.37,
        -0.4,
        -0.39,
        -0.3,
        -0.24,
        -0.2,
        -0.16,
        -0.15,
        -0.1,
        -0.1,
    ),
    ("convolutions", "cached", False, "pi4-usb", "max"): (-0.47,),
    ("convolutions", "cached", False, "pi4-usb", "std"): (0.04, 0.11),
    ("convolutions", "cached", False, "usb", "max"): (0.02, -0.07, -0.03, 0.03),
    ("convolutions", "cached", False, "usb2", "max"): (-0.63,),
    ("convolutions", "cached", True, "pcie", "max"): (-0.49,),
    ("convolutions", "sent", False, "dev-board", "max"): (
        -0.09,
        -0.08,
        0.02,
        -0.03,
        0.11,
        0.02,
        0.05,
        0.05,
        -0.09,
        0.09,
        0.13,
    ),
    ("convolutions", "sent", False, "pcie", "max"): (
        0.01,
        -0.1,
        -0.08,
        -0.16,
        -0.06,
        -0.34,
        -0.46,
    ),
    ("convolutions", "sent", False, "pi4-usb", "max"): (-0.09,),
    ("convolutions", "sent", False, "pi4-usb", "std"): (0.01, 0.02, -0.0, 0.07),
    ("convolutions", "sent", False, "usb", "max"): (
        0.07,
        -0.01,
        0.07,
        -0.05,
        -0.07,
        0.07,
        -0.03,
        -0.08,
        -0.08,
        0.08,
    ),
    ("convolutions", "sent", False, "usb", "std"): (0.2,),
    ("convolutions", "sent", False, "usb2", "max"): (-0.31, -0.09, 0.03),
    ("dense", "cached", False, "pcie", "max"): (0.32, 0.05, 0.04, 0.54, 0.23),
    ("dense", "cached", True, "pcie", "max"): (0.72, 0.05, 0.14),
    ("dense", "sent", False, "pcie", "max"): (
        -0.0,
        0.04,
        0.02,
        0.02,
        0.02,
        5.69,
        0.01,
        0.21,
    ),
    ("depthwise", "cached", False, "dev-board", "max"): (-0.07, 0.17, 0.0, 0.19),
    ("depthwise", "cached", False, "dev-board-mini", "max"): (-0.62,),
    ("depthwise", "cached", False, "pcie", "max"): (-0.09, -0.09, -0.03),
    ("depthwise", "cached", False, "pi4-usb", "max"): (-0.39, -0.26, -0.33),
    ("depthwise", "cached", False, "pi4-usb", "std"): (-0.01,),
    ("depthwise", "cached", False, "usb", "max"): (
        0.31,
        0.0,
        0.24,
        0.27,
        0.24,
        0.12,
        0.11,
        0.4,
    ),
    ("depthwise", "cached", False, "usb", "std"): (-0.08,),
    ("depthwise", "cached", False, "usb2", "max"): (-0.3, -0.33),
    ("depthwise", "cached", True, "dev-board", "max"): (-0.64,),
    ("depthwise", "cached", True, "usb", "max"): (0.42, 0.3, 0.08),
}
