"""Find the Edge TPU's shared library, and with which TFLite it was built."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.board.binary import processors_of
from edgetpu_lib.board.runtime import CHANGED, release
from edgetpu_lib.board.system import System

# Source: google-coral/pycoral, pycoral/utils/edgetpu.py.
_NAMES = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
_FOLDERS = {
    "darwin": ("/usr/local/lib", "/opt/homebrew/lib", "/opt/local/lib", "/usr/lib"),
    "win32": ("/Windows/System32",),
}
_LINUX = ("/usr/local/lib", "/lib/*-linux-*", "/usr/lib/*-linux-*", "/lib", "/usr/lib")
_LINUX += ("/lib64", "/usr/lib64")
_PACKAGES = ("libedgetpu1-std", "libedgetpu1-max")
# TFLite changed its layout in a release of March 2023: what was built before that year,
# or by a compiler without the C++17 that it asks for, has the old one; what a compiler
# of that year built has the new one.
_YEAR_OF_CHANGE, _OLD_GCC, _NEW_GCC = 2023, 8, 13
# The library writes this into its version. That Google's build also holds the text in
# one piece was not seen; its version is asked too, in a child.
_LABEL = re.compile(rb"COMPILER=([^\0,]{1,60},DATE=[^\0,]{1,40})")
_TIMEOUT_S = 20
_CHILD = """
import ctypes, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
library = ctypes.CDLL(sys.argv[1])
library.tflite_plugin_create_delegate, library.tflite_plugin_destroy_delegate
if hasattr(library, "edgetpu_version"):
    library.edgetpu_version.restype = ctypes.c_char_p
    print((library.edgetpu_version() or b"").decode())
"""


@dataclasses.dataclass(frozen=True)
class Library:
    """A shared library for the Edge TPU.

    Attributes:
        path: of the file.
        processors: that it runs on; empty if it is no shared library.
        package_version: as dpkg lists it; empty if no package has this file.
        label: compiler and date of its build, as it says; empty if it does not.
    """

    path: Path
    processors: frozenset[str]
    package_version: str
    label: str

    @property
    def built_for(self) -> tuple[int, int] | None:
        """The TFLite that it was built with; `None` if its package does not tell."""
        told = re.search(r"tf(\d+\.\d+)", self.package_version, re.I)
        return release(told[1]) if told else None

    @property
    def has_old_layout(self) -> bool | None:
        """Whether it was built before TFLite 2.12; `None` if nothing tells."""
        if self.built_for:
            return self.built_for < CHANGED
        if self.label:
            return _old_by_label(self.label)
        # The packages of Google end in 2021; later ones name a TFLite.
        return True if self.package_version else None


def _old_by_label(label: str) -> bool | None:
    compiler, _, date = label.partition(",DATE=")
    years = re.findall(r"\b(?:19|20)\d\d\b", date)
    gcc = re.match(r"(\d+)\.\d+\.\d+", compiler)
    if years:
        year = int(years[-1])
        return None if year == _YEAR_OF_CHANGE else year < _YEAR_OF_CHANGE
    if gcc and int(gcc[1]) < _OLD_GCC:
        return True
    return False if gcc and int(gcc[1]) >= _NEW_GCC else None


def name_on(system: System) -> str:
    """Return how the library's file is called on a system."""
    return _NAMES.get(system.platform, "libedgetpu.so.1")


def find_library(system: System) -> Library | None:
    """Return the library that would be loaded, if there is one.

    As the loader does, it passes over one for another processor if it finds a fit one.
    """
    paths = [folder / name_on(system) for folder in _folders(system)]
    found = [read_library(path, system) for path in paths if path.is_file()]
    wanted = processors_of_python(system)
    fit = [each for each in found if each.processors & wanted]
    return next(iter(fit or found), None)


def processors_of_python(system: System) -> frozenset[str]:
    """Return for which processors the running Python was built; empty if unknown.

    Not the kernel's, which may be of 64 bits below a system of 32.
    """
    try:
        return processors_of(system.python)
    except OSError:
        return frozenset()


def read_library(path: Path, system: System) -> Library:
    """Return what the file of a library and the list of packages tell."""
    return Library(
        path=path,
        processors=processors_of(path),
        package_version=_package_version(path, system),
        label=label_in(path.read_bytes()),
    )


def label_in(content: bytes) -> str:
    """Return compiler and date of a library's build out of its bytes or version.

    Such as "6.3.0 20170516,DATE=redacted"; empty if they are not told.
    """
    found = _LABEL.search(content)
    return found[1].decode(errors="replace") if found else ""


def _folders(system: System) -> Iterator[Path]:
    """Yield the folders in which the loader looks, roughly in its order."""
    yield from map(Path, system.searched_first)
    listed = sorted(_below(system, "/etc").glob("ld.so.conf.d/*.conf"))
    if system.is_linux:
        for path in (_below(system, "/etc/ld.so.conf"), *listed):
            if path.is_file():
                lines = path.read_text(errors="replace").splitlines()
                yield from (_below(system, x) for x in lines if x.startswith("/"))
    for pattern in _FOLDERS.get(system.platform, _LINUX):
        yield from sorted(system.root.glob(pattern.lstrip("/")))


def _below(system: System, path: str) -> Path:
    return system.root / path.strip().lstrip("/")


def _package_version(path: Path, system: System) -> str:
    """Return the version of the Debian package that a library's file is of."""
    folder = _below(system, "/var/lib/dpkg")
    for package in _PACKAGES:
        for listed in folder.glob(f"info/{package}*.list"):
            lines = listed.read_text(errors="replace").splitlines()
            if any(_is_same(_below(system, line), path) for line in lines):
                return _version_in(
                    (folder / "status").read_text(errors="replace"), package
                )
    return ""


def _is_same(listed: Path, path: Path) -> bool:
    return listed.name.startswith("libedgetpu") and (
        listed.is_file() and listed.samefile(path)
    )


def _version_in(status: str, package: str) -> str:
    pattern = rf"(?m)^Package: {package}\n(?:.+\n)*?Version: (\S+)"
    found = re.search(pattern, status)
    return found[1] if found else ""


def load_in_child(library: Library) -> subprocess.CompletedProcess:
    """Load a library in a process of its own, which it may crash.

    Returns:
        The ended process: its exit code is that of Python, or the negative number of a
        signal; it prints the library's version, where that has one. No device is
        opened.
    """
    if not sys.executable:
        return subprocess.CompletedProcess([], 0, "", "")
    command = [sys.executable, "-c", _CHILD, str(library.path)]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "it takes more than 20 s")


def ending(code: int) -> str:
    """Return how a process ended: the name of a signal, or its exit code.

    A crash has a negative number, and on Windows a large one.
    """
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"


def runtime_version(printed: str, library: Library) -> int | None:
    """Return the version of the Edge TPU runtime in a library.

    Args:
        printed: what `load_in_child` printed.
        library: whose package tells instead, if nothing was printed.
    """
    if told := re.search(r"RuntimeVersion\((\d+)\)", printed):
        return int(told[1])
    # The packages of Google count as the runtime does, up to 14.
    told = re.match(r"(\d+)", library.package_version)
    return min(14, int(told[1])) if told else None
