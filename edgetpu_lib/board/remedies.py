"""What to type where something is missing, for each system."""

from __future__ import annotations

from edgetpu_lib.board.system import System

# Sources: google-coral/libedgetpu debian/edgetpu-accelerator.rules and README, coral.ai
# "Get started"; builds for today's TFLite: github.com/feranick/libedgetpu.
_BUILDS = "https://github.com/feranick/libedgetpu/releases"
_USB_RULES = "/etc/udev/rules.d/99-edgetpu-accelerator.rules"
_PCI_RULES = "/etc/udev/rules.d/65-apex.rules"
_RELOAD = "sudo udevadm control --reload-rules && sudo udevadm trigger"
USB_RULE = (
    'printf \'%s\\n\' \'SUBSYSTEM=="usb",ATTRS{idVendor}=="1a6e",GROUP="plugdev"\''
    ' \'SUBSYSTEM=="usb",ATTRS{idVendor}=="18d1",ATTRS{idProduct}=="9302",'
    f'GROUP="plugdev"\' | sudo tee {_USB_RULES} && sudo usermod -aG plugdev $USER'
    f" && {_RELOAD}; then log in again and replug the stick"
)
PCI_RULE = (
    'echo \'SUBSYSTEM=="apex", MODE="0660", GROUP="apex"\' |'
    f" sudo tee {_PCI_RULES} && sudo groupadd -f apex"
    f" && sudo usermod -aG apex $USER && {_RELOAD}; then log in again"
)
DRIVER = (
    "install the kernel's driver (package gasket-dkms) and reboot:"
    " sudo apt install gasket-dkms && sudo modprobe apex"
)


def install_library(system: System) -> str:
    """Return how to install the Edge TPU's library."""
    if system.platform == "darwin":
        return f"install libusb (brew install libusb) and the library of {_BUILDS}"
    if system.platform == "win32":
        return f"install the runtime of {_BUILDS} and add its folder to PATH"
    return f"download libedgetpu1-std of {_BUILDS}, then sudo apt install ./FILE.deb"


def install_libusb(system: System) -> str:
    """Return how to install the library that ours needs."""
    if system.platform == "darwin":
        return "brew install libusb"
    if system.platform == "win32":
        return "install the runtime again, with its USB driver"
    return "sudo apt install libusb-1.0-0"
