"""A computer with any Edge TPUs: a folder with its files, and a library built in C."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from edgetpu_lib.board.system import System

NEW = "COMPILER=14.2.0,DATE=Feb 22 2026,TIME=09:51:57"
OLD = "COMPILER=6.3.0 20170516,DATE=redacted,TIME=redacted"


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Return a function: settings of the stand-in's source → its shared library."""
    compiler = shutil.which("cc") or shutil.which("gcc")

    @functools.cache
    def made(link=None, **settings):
        if not compiler:
            pytest.skip("needs a C compiler")
        path = tmp_path_factory.mktemp("fake") / "libedgetpu.so.1"
        defined = {"FAILURES": 0, "LABEL": f'"{NEW}"', **settings}
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", path]
        command += [f"-D{name}={value}" for name, value in defined.items()]
        command += [Path(__file__).with_name("fake_edgetpu.c")]
        # What nothing uses is needed all the same.
        command += ["-Wl,--no-as-needed", link] if link else []
        subprocess.run(command, check=True)
        return path

    return made


class Computer:
    """A folder in the place of `/`."""

    def __init__(self, root):
        self.root = root
        self.closed = set()
        self.write("sys/bus/usb/devices/usb1/idVendor", "1d6b")
        (root / "sys/bus/pci/devices").mkdir(parents=True)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def install(self, library, folder="usr/lib/x86_64-linux-gnu", package=None):
        path = self.root / folder / "libedgetpu.so.1"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, path)
        if package:
            info = f"var/lib/dpkg/info/{package[0]}:amd64.list"
            self.write(info, f"/.\n/usr\n/{folder}/libedgetpu.so.1\n")
            self.write(
                "var/lib/dpkg/status",
                "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n\n"
                f"Package: {package[0]}\nStatus: install ok installed\n"
                f"Architecture: amd64\nVersion: {package[1]}\n",
            )
        return path

    def plug(self, ids="18d1:9302", place="2-1", number=5, speed="5000", file=True):
        folder = f"sys/bus/usb/devices/{place}"
        vendor, product = ids.split(":")
        for name, text in {
            "idVendor": vendor,
            "idProduct": product,
            "busnum": "2",
            "devnum": str(number),
            "speed": speed,
        }.items():
            self.write(f"{folder}/{name}", text + "\n")
        path = self.root / f"dev/bus/usb/002/{number:03}"
        return self.write(path.relative_to(self.root), "") if file else path

    def insert(self, number=0, driver=True):
        folder = f"sys/bus/pci/devices/0000:0{number + 1}:00.0"
        self.write(f"{folder}/vendor", "0x1ac1\n")
        self.write(f"{folder}/device", "0x089a\n")
        return self.write(f"dev/apex_{number}", "") if driver else None

    def system(self, **changes):
        return System(
            **{
                "root": self.root,
                "platform": "linux",
                "searched_first": (),
                "may_open": lambda path: path not in self.closed,
                **changes,
            }
        )


@pytest.fixture
def computer(tmp_path):
    """Return a computer without Edge TPU and library."""
    return Computer(tmp_path / "root")
