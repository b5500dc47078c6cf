"""Take a package of npm at a pinned version, once, into a cache."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, atomic_path

_TIMEOUT_S = 300


def npm_package(
    name: str, version: str, integrity: str, *, cache_dir: str | Path | None = None
) -> Path:
    """Return the folder of an unpacked package; the first call fetches it by npm.

    Args:
        name: as npm knows it, such as "pyodide".
        version: exact version.
        integrity: "sha512-" and the digest of the packed file in base64, as
            `npm view NAME@VERSION dist.integrity` prints it.
        cache_dir: where packages are kept; `None` is `~/.cache/edgetpu_lib`.

    Raises:
        InputError: it is not cached, and there is no npm or no network, or npm gave
            another file than the pinned one.
    """
    cache = Path.home() / ".cache/edgetpu_lib" if cache_dir is None else Path(cache_dir)
    folder = cache / f"{name.replace('/', '_')}-{version}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            packed = _fetch(f"{name}@{version}", Path(scratch))
            _require_digest(packed, f"{name}@{version}", integrity)
            with atomic_path(folder) as made, tarfile.open(packed) as archive:
                archive.extractall(made, filter="data")
    # All files of an npm package lie below this name.
    return folder / "package"


def _fetch(wanted: str, scratch: Path) -> Path:
    """Return the packed file of a package, fetched by npm into a folder."""
    npm = shutil.which("npm")
    if not npm:
        raise InputError(f"{wanted} is needed, and there is no npm; install Node.js")
    options = ["--silent", "--fetch-retries=0", "--pack-destination", str(scratch)]
    command = [npm, "pack", *options, wanted]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
        (packed,) = scratch.glob("*.tgz")
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise InputError(
            f"npm cannot fetch {wanted}; connect to a network once, it is then kept"
        ) from error
    return packed


def _require_digest(packed: Path, wanted: str, integrity: str) -> None:
    digest = hashlib.sha512(packed.read_bytes()).digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != integrity:
        raise InputError(
            f"npm gave another {wanted} than the pinned one ({found}); use the"
            " registry that npm has by default"
        )
