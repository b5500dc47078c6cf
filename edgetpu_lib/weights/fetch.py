"""Download the published TensorFlow-1 checkpoints once, and verify them."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from tqdm import tqdm

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import (
    InputError,
    atomic_path,
    metadata_path,
    read_metadata,
    save_metadata,
    sha256_of,
    write_file,
)

# Source: tensorflow/tpu models/official/efficientnet/edgetpu/README.md.
PUBLISHED_URL = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"
MIRROR_VARIABLE = "EDGETPU_CHECKPOINT_MIRROR"
# Several times the weights, averages and optimizer slots of the largest model.
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBERS = 1000

_CHUNK_BYTES = 1 << 20
_RETRIED_STATUSES = {408, 429}
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
    show_progress: bool = True,
) -> Path:
    """Return the folder of a published checkpoint; download it the first time.

    An interrupted download resumes. The SHA-256 of the first complete download is
    saved in the metadata beside it, and later downloads must have the same.

    Args:
        name: a key of `specs.SPECS`.
        cache_dir: where downloads are kept; `None` is `~/.cache/edgetpu_lib`.
        timeout_s: longest wait for a connection or for the next bytes, in seconds.
        pauses_s: waits before the second, third, … attempt, in seconds.
        show_progress: draw a bar with bytes and time left.

    Raises:
        InputError: the name is unknown, the file cannot be downloaded or written, its
            digest differs from the saved one, or it is no safe tarball of a checkpoint.

    The environment variable `EDGETPU_CHECKPOINT_MIRROR` names another place for the
    same files: a base URL that starts with http://, https:// or file:///.
    """
    specs.model_spec(name)
    cache = Path.home() / ".cache/edgetpu_lib" if cache_dir is None else Path(cache_dir)
    folder, tarball = cache / name, cache / f"{name}.tar.gz"
    if not tarball.is_file():
        _bring(_url(tarball.name), tarball, timeout_s, pauses_s, not show_progress)
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


def _bring(
    url: str, tarball: Path, timeout_s: float, pauses_s: tuple[float, ...], silent: bool
) -> None:
    """Copy or download the file at `url`, completely or not at all."""
    if url.startswith("file:"):
        source = Path(url2pathname(urlsplit(url).path))
        if not source.is_file():
            raise InputError(
                f"no file {source}; put it there or change {MIRROR_VARIABLE}"
            )
        with atomic_path(tarball) as scratch:
            shutil.copyfile(source, scratch)
        return
    part = tarball.with_name(tarball.name + ".part")
    try:
        tarball.parent.mkdir(parents=True, exist_ok=True)
        for pause_s in (*pauses_s, None):
            try:
                _continue(url, part, timeout_s, silent)
                break
            except httpx.HTTPError as error:
                _give_up_or_wait(error, url, pause_s)
        part.replace(tarball)
        metadata_path(part).unlink()
    except OSError as error:
        raise InputError(
            f"cannot write {tarball}: {error.strerror or error}; free some space or"
            " choose another cache folder"
        ) from error


def _give_up_or_wait(error: httpx.HTTPError, url: str, pause_s: float | None) -> None:
    """Wait for the next attempt, or raise if there is none or it cannot succeed."""
    status = error.response.status_code if hasattr(error, "response") else 0
    final = 400 <= status < 500 and status not in _RETRIED_STATUSES
    if final or pause_s is None:
        raise InputError(
            f"cannot download {url} ({error}); try again later, or download it where"
            f" there is internet and set {MIRROR_VARIABLE}=file:///its/folder, or pass"
            " --ckpt_dir"
        ) from error
    time.sleep(pause_s)


def _continue(url: str, part: Path, timeout_s: float, silent: bool) -> None:
    """Download the missing bytes of `part` in one attempt, or raise httpx.HTTPError."""
    begun = read_metadata(part)
    # Only a validator (ETag or date) tells whether the file is still the same.
    same = begun.get("url") == url and begun.get("validator")
    offset = part.stat().st_size if same and part.is_file() else 0
    # No compression in transit, so that ranges and digest are of the stored bytes.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": same}
    with httpx.stream(
        "GET", url, headers=headers, timeout=timeout_s, follow_redirects=True
    ) as response:
        status, told = response.status_code, response.headers
        rest = re.fullmatch(rf"bytes {offset}-\d+/(\d+)", told.get("Content-Range", ""))
        if status == 416 or (status == 206 and not (offset and rest)):
            part.unlink(missing_ok=True)
            raise httpx.RemoteProtocolError(f"HTTP {status}, another range than asked")
        if status not in (200, 206):
            raise httpx.HTTPStatusError(
                f"HTTP {status}", request=response.request, response=response
            )
        size_bytes = int(rest[1] if status == 206 else told.get("Content-Length", 0))
        if status == 200:
            # A weak tag may not be sent in If-Range (RFC 9110, section 13.1.5).
            etag, date = told.get("ETag", "W/"), told.get("Last-Modified", "")
            begun = {"url": url, "validator": date if etag[:2] == "W/" else etag}
            # In this order, old bytes never get the new validator.
            part.unlink(missing_ok=True)
            write_file(metadata_path(part), json.dumps(begun).encode())
        with (
            open(part, "ab") as file,
            tqdm(
                desc=part.stem, initial=file.tell(), total=size_bytes or None, unit="B",
                unit_scale=True, leave=False, disable=silent,
            ) as bar,
        ):  # fmt: skip
            for chunk in response.iter_raw():
                file.write(chunk)
                bar.update(len(chunk))
            found = file.tell()
    # A range may end early. A body shorter than its length is noticed by the client.
    if size_bytes and found != size_bytes:
        raise httpx.RemoteProtocolError(f"{found} bytes instead of {size_bytes}")


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
