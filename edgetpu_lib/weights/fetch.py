"""Download the published TensorFlow-1 checkpoints once, and verify them."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import tarfile
import zlib
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import (
    InputError,
    atomic_path,
    metadata_path,
    read_metadata,
    remedy_of,
    save_metadata,
    sha256_of,
)
from edgetpu_lib.base.lock import exclusive
from edgetpu_lib.weights.download import MIRROR_VARIABLE, Limits, download

# Source: tensorflow/tpu models/official/efficientnet/edgetpu/README.md.
PUBLISHED_URL = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"
# Several times the weights, averages and optimizer slots of the largest model.
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBERS = 1000

_CHUNK_BYTES = 1 << 20
# The last three: one member is the folder of another; Python's versions differ.
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError)
_DAMAGED += (OverflowError, RecursionError)
_DAMAGED += (FileExistsError, IsADirectoryError, NotADirectoryError)


def fetch_checkpoint(
    name: str,
    *,
    cache_dir: str | Path | None = None,
    timeout_s: float = 20.0,
    pauses_s: tuple[float, ...] = (1.0, 3.0, 9.0),
    total_s: float = 3600.0,
    show_progress: bool = True,
) -> Path:
    """Return the folder of a published checkpoint; download it the first time.

    An interrupted download resumes; of two runs, the second waits. The SHA-256 of the
    first complete download is saved in the metadata beside it, and later downloads must
    have the same.

    Args:
        name: a key of `specs.SPECS`.
        cache_dir: where downloads are kept; `None` is `~/.cache/edgetpu_lib`.
        timeout_s: longest wait for a connection or for the next bytes, in seconds.
        pauses_s: waits before the second, third, … attempt, in seconds.
        total_s: longest time for the whole download, or for one that another run has
            begun, in seconds.
        show_progress: draw a bar with bytes and time left.

    Raises:
        InputError: the name is unknown, the file cannot be downloaded or written, the
            server sends too much, too slowly or to another server, the digest differs
            from the saved one, or it is no safe tarball of a checkpoint.

    The environment variable `EDGETPU_CHECKPOINT_MIRROR` names another place for the
    same files: a base URL that starts with http://, https:// or file:///.
    """
    specs.model_spec(name)
    cache = Path.home() / ".cache/edgetpu_lib" if cache_dir is None else Path(cache_dir)
    tarball = cache / f"{name}.tar.gz"
    limits = Limits(timeout_s, pauses_s, total_s)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with exclusive(cache, wait_s=total_s) as is_held:
            if not is_held:
                raise InputError(
                    f"another run has been downloading to {cache} for {total_s:g} s;"
                    " wait for it, or choose another cache folder"
                )
            if not tarball.is_file():
                _bring(_url(tarball.name), tarball, limits, show_progress)
            return _verified(tarball, cache / name)
    except OSError as error:
        raise InputError(
            f"cannot write {tarball}: {error.strerror or error}; {remedy_of(error)}"
        ) from error


def _verified(tarball: Path, folder: Path) -> Path:
    """Return the folder of a tarball that has the digest of the first download."""
    recorded, found = read_metadata(tarball).get("sha256"), sha256_of(tarball)
    if recorded and found != recorded:
        raise InputError(
            f"{tarball} has SHA-256 {found}, but the first download had {recorded};"
            f" delete {tarball} to download it again, or {metadata_path(tarball)} to"
            " trust the new file"
        )
    # Without metadata the folder may be of another tarball.
    if not (recorded and folder.is_dir()):
        _unpack(tarball, folder)
    if not recorded:
        save_metadata(tarball)
    return folder


def _url(file_name: str) -> str:
    """Return the URL of a published file, or of its copy on the mirror."""
    base = os.environ.get(MIRROR_VARIABLE) or PUBLISHED_URL
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL:
        url = httpx.URL("")
    remote = url.scheme in ("http", "https") and url.host
    if not (remote or base.startswith("file:///")):
        raise InputError(
            f"{MIRROR_VARIABLE}={base} is no base URL; start it with http://, https://"
            " or file:///"
        )
    return f"{base.rstrip('/')}/{file_name}"


def _bring(url: str, tarball: Path, limits: Limits, show_progress: bool) -> None:
    """Copy or download the file at `url`, completely or not at all."""
    if not url.startswith("file:"):
        download(url, tarball, limits, show_progress=show_progress)
        return
    source = Path(url2pathname(urlsplit(url).path))
    if not source.is_file():
        raise InputError(f"no file {source}; put it there or change {MIRROR_VARIABLE}")
    with atomic_path(tarball) as scratch:
        shutil.copyfile(source, scratch)


def _unpack(tarball: Path, folder: Path) -> None:
    """Make `folder` the checkpoint of a tarball; delete the tarball if it is bad."""
    with atomic_path(folder) as scratch:
        try:
            _extract(tarball, scratch)
        except _DAMAGED as error:
            tarball.unlink()
            raise InputError(
                f"{tarball.name} is no usable checkpoint"
                f" ({' '.join(str(error).split())}); it was deleted: try again, or"
                f" check {MIRROR_VARIABLE}"
            ) from error


def _extract(tarball: Path, target: Path) -> None:
    """Extract the one folder with a checkpoint, by way of files beside `target`."""
    plain, unpacked = target.with_name("tar"), target.with_name("unpacked")
    # Decompress first: a tar's headers may claim any size, the file itself cannot.
    with gzip.open(tarball) as source, open(plain, "wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            file.write(chunk)
            if file.tell() > MAX_UNPACKED_BYTES:
                raise tarfile.TarError(f"more than {MAX_UNPACKED_BYTES} bytes")
    with tarfile.open(plain, "r:") as tar:
        members = list(itertools.islice(tar, MAX_MEMBERS + 1))
        if len(members) > MAX_MEMBERS:
            raise tarfile.TarError(f"more than {MAX_MEMBERS} members")
        for member in members:
            # The filter "data" allows inner links, and holes larger than the tar.
            if member.islnk() or member.issym() or member.issparse():
                raise tarfile.TarError(f"{member.name!r} is no plain file")
        tar.extractall(unpacked, members, filter="data")
    folders = {index.parent for index in unpacked.rglob("*.index")}
    if len(folders) != 1:
        raise tarfile.TarError(f"{len(folders)} checkpoints inside instead of one")
    folders.pop().rename(target)
