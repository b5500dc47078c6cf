"""Download the published TensorFlow-1 checkpoints once, and trust only what was kept.

Takes a model name; gives the folder of its checkpoint, from a cache where it can.
Next: `checkpoint` loads it into the model.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from tqdm import tqdm

from edgetpu_lib import specs
from edgetpu_lib.artifacts import (
    InputError,
    atomic_path,
    read_record,
    record_path,
    require_writable,
    save_record,
    sha256_of,
    write_file,
)

# Source: tensorflow/tpu models/official/efficientnet/edgetpu/README.md.
PUBLISHED_URL = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"
MIRROR_VARIABLE = "EDGETPU_CHECKPOINT_MIRROR"
# Several times what weights, averages and optimizer slots of the largest model take.
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBERS = 1000

_CHUNK_BYTES = 1 << 20
_WORTH_ANOTHER_TRY = {408, 416, 429}
_REMEDY = (
    "download it where there is internet and set"
    f" {MIRROR_VARIABLE}=file:///its/folder, or pass --ckpt_dir"
)
# The last three: one member is the folder of another, or the other way round.
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

    An interrupted download goes on where it stopped. The SHA-256 of the first whole
    download is kept in a record beside it, and all later ones must have the same.

    Args:
        name: a key of `specs.SPECS`.
        cache_dir: where downloads are kept; `None` is `~/.cache/edgetpu_lib`.
        timeout_s: longest wait for a connection or for the next bytes, in seconds.
        pauses_s: waits before the second, third, … attempt, in seconds.
        show_progress: draw a bar with bytes and time left.

    Returns:
        The folder with `checkpoint` and `model.ckpt*`, for `checkpoint.load_weights`.

    Raises:
        InputError: the name is unknown, the file cannot be downloaded or written, its
            digest is another than recorded, or it is no safe tarball of a checkpoint.

    The environment variable `EDGETPU_CHECKPOINT_MIRROR` names another place for the
    same files: a base URL that starts with http://, https:// or file:///.
    """
    specs.model_spec(name)
    cache = Path.home() / ".cache/edgetpu_lib" if cache_dir is None else Path(cache_dir)
    folder, tarball = cache / name, cache / f"{name}.tar.gz"
    part = tarball.with_name(tarball.name + ".part")
    recorded = read_record(tarball).get("sha256")
    if tarball.is_file():
        _require_digest(tarball, recorded, record_path(tarball))
        if not (recorded and folder.is_dir()):
            _unpack(tarball, folder)
    else:
        _bring(_url(tarball.name), part, timeout_s, pauses_s, not show_progress)
        _require_digest(part, recorded, record_path(tarball))
        _unpack(part, folder)
        # The tarball appears last: where it lies, the folder is whole.
        part.replace(tarball)
        _discard(part)
    if not recorded:
        save_record(tarball)
    return folder


def _require_digest(path: Path, recorded: str | None, record: Path) -> None:
    found = sha256_of(path)
    if recorded and found != recorded:
        raise InputError(
            f"{path} has SHA-256 {found}, but the first download had {recorded};"
            f" delete {path} to download it again, or {record} to trust the new file"
        )


def _url(file_name: str) -> str:
    """Return where a published file, or its mirror's copy, lies.

    Raises:
        InputError: the mirror is no usable URL.
    """
    base = os.environ.get(MIRROR_VARIABLE) or PUBLISHED_URL
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL:
        url = httpx.URL("")
    remote = url.scheme in ("http", "https") and url.host
    if not remote and not (url.scheme == "file" and url.host in ("", "localhost")):
        raise InputError(
            f"{MIRROR_VARIABLE}={base} is no base URL; start it with http://, https://"
            " or file:///"
        )
    return f"{base.rstrip('/')}/{file_name}"


def _bring(
    url: str, part: Path, timeout_s: float, pauses_s: tuple[float, ...], silent: bool
) -> None:
    """Make `part` the whole file at `url`, by download or by copy.

    Raises:
        InputError: the file cannot be had, or `part` cannot be written.
    """
    require_writable(part)
    # Bytes as they are stored: their number and digest are compared.
    headers = {"Accept-Encoding": "identity"}
    options = {"timeout": timeout_s, "follow_redirects": True, "headers": headers}
    try:
        if url.startswith("file:"):
            _copy(Path(url2pathname(urlsplit(url).path)), part)
            return
        with httpx.Client(**options) as client:
            _download(client, url, part, pauses_s, silent)
    except OSError as error:
        raise InputError(
            f"cannot copy {url} to {part}: {error.strerror or error}; free some space"
            " or choose another cache folder"
        ) from error


def _copy(source: Path, part: Path) -> None:
    if not source.is_file():
        raise InputError(f"no file {source}; put it there or change {MIRROR_VARIABLE}")
    _discard(part)
    shutil.copyfile(source, part)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    record_path(part).unlink(missing_ok=True)


def _download(
    client: httpx.Client,
    url: str,
    part: Path,
    pauses_s: tuple[float, ...],
    silent: bool,
) -> None:
    """Download into `part`, with a new attempt after every pause."""
    for pause_s in (*pauses_s, None):
        try:
            return _continue(client, url, part, silent)
        except httpx.HTTPError as error:
            if pause_s is None:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise InputError(
                    f"cannot download {url} ({reason}); try again later, or {_REMEDY}"
                ) from error
        time.sleep(pause_s)


def _continue(client: httpx.Client, url: str, part: Path, silent: bool) -> None:
    """Download what `part` lacks, in one attempt.

    Raises:
        httpx.HTTPError: another attempt may succeed.
        InputError: no other attempt will.
    """
    known = read_record(part)
    offset = part.stat().st_size if part.is_file() else 0
    if known.get("url") != url:
        known, offset = {}, 0
    if offset and offset == known["size_bytes"]:
        return
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and known["validator"]:
        headers["If-Range"] = known["validator"]
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 206:
            size_bytes = _size_if_continued(response, offset, known, part)
        elif response.status_code == 200:
            offset, size_bytes = 0, _start_over(response, url, part)
        else:
            _refuse(response, part)
        _append(response, part, offset, size_bytes, silent)


def _refuse(response: httpx.Response, part: Path) -> NoReturn:
    """Tell answers to try again from those to give up at."""
    status = response.status_code
    if status == 416:
        _discard(part)
    if 400 <= status < 500 and status not in _WORTH_ANOTHER_TRY:
        raise InputError(
            f"{response.url} answers HTTP {status}; check {MIRROR_VARIABLE}, or"
            f" {_REMEDY}"
        )
    raise httpx.RemoteProtocolError(f"HTTP {status}")


def _start_over(response: httpx.Response, url: str, part: Path) -> int | None:
    """Forget what came before; return the file's size if the server tells it."""
    length = response.headers.get("Content-Length", "")
    size_bytes = int(length) if length.isdecimal() else None
    known = {"url": url, "validator": _validator(response), "size_bytes": size_bytes}
    # In this order: old bytes never get the new validator.
    _discard(part)
    write_file(record_path(part), json.dumps(known).encode())
    return size_bytes


def _size_if_continued(
    response: httpx.Response, offset: int, known: dict, part: Path
) -> int:
    """Return the file's size, once the answer goes on where `part` stops.

    Raises:
        httpx.RemoteProtocolError: it does not; `part` is gone, for a fresh start.
    """
    said = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", said)
    continues = match and offset and int(match[1]) == offset
    same = _validator(response) in ("", known.get("validator"))
    if continues and same and known["size_bytes"] in (None, int(match[2])):
        return int(match[2])
    _discard(part)
    raise httpx.RemoteProtocolError(f"another range than asked for: {said!r}")


def _validator(response: httpx.Response) -> str:
    """Return what tells one version of the file from another, or an empty string."""
    etag = response.headers.get("ETag", "")
    # A weak one may not be sent in If-Range (RFC 9110, section 13.1.5).
    strong = etag and not etag.startswith("W/")
    return etag if strong else response.headers.get("Last-Modified", "")


def _append(
    response: httpx.Response,
    part: Path,
    offset: int,
    size_bytes: int | None,
    silent: bool,
) -> None:
    """Append an answer's bytes to `part` and verify the sum."""
    bar = tqdm(
        desc=part.stem, initial=offset, total=size_bytes, unit="B", unit_scale=True,
        leave=False, disable=silent,
    )  # fmt: skip
    with bar, open(part, "ab") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            bar.update(len(chunk))
        found = file.tell()
    if size_bytes is not None and found > size_bytes:
        _discard(part)
    if size_bytes not in (None, found):
        raise httpx.RemoteProtocolError(f"{found} bytes instead of {size_bytes}")


def _unpack(tarball: Path, folder: Path) -> None:
    """Make `folder` the checkpoint that a tarball holds, whole or not at all.

    Raises:
        InputError: the tarball is damaged, unsafe or holds no checkpoint, and is gone;
            or the folder cannot be written.
    """
    try:
        with atomic_path(folder) as scratch:
            plain, unpacked = scratch.with_name("tar"), scratch.with_name("unpacked")
            try:
                _decompress(tarball, plain)
                _extract(plain, unpacked)
                _checkpoint_folder(unpacked).rename(scratch)
            except _DAMAGED as error:
                # Out of reach of `atomic_path`, which takes OSError for a full disk.
                raise tarfile.TarError(" ".join(str(error).split())) from error
    except tarfile.TarError as error:
        tarball.unlink()
        raise InputError(
            f"{tarball.name.removesuffix('.part')} is no usable checkpoint ({error});"
            f" it was deleted: try again, or check {MIRROR_VARIABLE}"
        ) from error


def _decompress(tarball: Path, plain: Path) -> None:
    """Write the tar inside a gzip file; headers inside it may lie, its size cannot."""
    left = MAX_UNPACKED_BYTES
    with gzip.open(tarball) as source, open(plain, "wb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise tarfile.TarError(f"more than {MAX_UNPACKED_BYTES} bytes")
            target.write(chunk)


def _extract(plain: Path, target: Path) -> None:
    """Extract an uncompressed tar once every member was found safe."""
    with tarfile.open(plain, "r:") as tar:
        members = []
        for member in tar:
            members.append(member)
            if len(members) > MAX_MEMBERS:
                raise tarfile.TarError(f"more than {MAX_MEMBERS} members")
            _require_safe(member)
        tar.extractall(target, members, filter="data")


def _require_safe(member: tarfile.TarInfo) -> None:
    # A sparse file unpacks to more than the tar holds.
    plain = member.isreg() and not member.issparse()
    if not (plain or member.isdir()):
        raise tarfile.TarError(f"{member.name!r} is neither a plain file nor a folder")
    # Colons and backslashes lead elsewhere on Windows.
    outside = re.search(r"^/|(^|/)\.\.(/|$)|[:\\]", member.name)
    if outside:
        raise tarfile.TarError(f"{member.name!r} may lie outside the folder")


def _checkpoint_folder(unpacked: Path) -> Path:
    folders = {index.parent for index in unpacked.rglob("*.index")}
    if len(folders) != 1:
        raise tarfile.TarError(f"{len(folders)} checkpoints inside instead of one")
    return folders.pop()
