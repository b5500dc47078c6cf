"""Which Edge TPU to use, and how fast it may run."""

from __future__ import annotations

import dataclasses
import re
from typing import Optional

from edgetpu_lib.base.artifacts import InputError

PERFORMANCES = ("Low", "Medium", "High", "Max")
MAX_QUEUE_LENGTH = 255


@dataclasses.dataclass(frozen=True)
class DeviceOptions:
    """A device of those attached, and its settings.

    Source: google-coral/libedgetpu edgetpu_delegate_for_custom_op_tflite_plugin.cc,
    which ignores the settings unless the device has a number.

    Attributes:
        device: Edge TPU: usb, pci, usb:0, pci:1, or :0 for the first of any kind.
            [default: any]
        performance: clock of the device: Low, Medium, High or Max. [default: Max]
        usb_always_dfu: load the firmware again even if the stick has it. [default:
            False]
        usb_max_bulk_in_queue_length: transfers that may wait, 0..255. [default: 32]

    Raises:
        InputError: a value is none of these, or a setting has no numbered device.
    """

    device: Optional[str] = None  # noqa: UP045 (evaluated on Python 3.9)
    performance: Optional[str] = None  # noqa: UP045
    usb_always_dfu: Optional[bool] = None  # noqa: UP045
    usb_max_bulk_in_queue_length: Optional[int] = None  # noqa: UP045

    def __post_init__(self) -> None:
        """Refuse what the library would refuse, or ignore, without a word."""
        if not re.fullmatch(r"|usb|pci|(usb|pci)?:\d+", self.device or ""):
            raise InputError(
                f"no Edge TPU is called {self.device!r}; give usb, pci, usb:0, pci:0"
                " or :0"
            )
        if self.performance not in (None, *PERFORMANCES):
            raise InputError(
                f"performance {self.performance!r} is unknown; give one of"
                f" {', '.join(PERFORMANCES)}"
            )
        length = self.usb_max_bulk_in_queue_length
        if length is not None and not 0 <= length <= MAX_QUEUE_LENGTH:
            raise InputError(
                f"usb_max_bulk_in_queue_length {length} is not 0 … {MAX_QUEUE_LENGTH};"
                " leave it out for 32"
            )
        if self.given().keys() - {"device"} and self.number is None:
            raise InputError(
                "settings are ignored for any device; name one with its"
                " number, such as usb:0"
            )

    @property
    def kind(self) -> str:
        """Kind of the device: "usb", "pci", or "" for any."""
        return (self.device or "").split(":")[0]

    @property
    def number(self) -> int | None:
        """The place among the devices of this kind, from 0; `None` for any."""
        _, colon, number = (self.device or "").partition(":")
        return int(number) if colon else None

    def given(self) -> dict[str, str]:
        """Return what the library is told: all values are texts."""
        values = {
            "device": self.device,
            "Performance": self.performance,
            "Usb.AlwaysDfu": self.usb_always_dfu,
            "Usb.MaxBulkInQueueLength": self.usb_max_bulk_in_queue_length,
        }
        return {
            name: str(value)
            for name, value in values.items()
            if value not in (None, "")
        }
