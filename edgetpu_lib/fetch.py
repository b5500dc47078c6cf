"""Fetch a published checkpoint once, safely.

Takes a model name; gives the folder of its checkpoint.
Next: `checkpoint` fills the model from it. Works through cuts, stalls and lies; without
a network it says what to do.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import time
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

import httpx
from tqdm import tqdm

from edgetpu_lib.artifacts import InputError, atomic_path, write_file
from edgetpu_lib.specs import SPECS

# Source: tensorflow/tpu models/official/efficientnet/edgetpu/README.md.
PUBLISHED = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"
MIRROR_VARIABLE = "EDGETPU_CHECKPOINT_MIRROR"
TIMEOUT_S = 30.0
PAUSES_S = (1.0, 4.0, 15.0)
MAX_UNPACKED_BYTES = 1 << 30
MAX_FILES = 100
_CHUNK = 1 << 16


def fetch_checkpoint(
    name: str,
    *,
    cache_dir: str | Path | None = None,
    timeout_s: float = TIMEOUT_S,
    pauses_s: tuple[float, ...] = PAUSES_S,
) -> Path:
    """Download a published checkpoint, unless it is here already.

    `EDGETPU_CHECKPOINT_MIRROR` names another place of the same files, `http(s)://…` or
    `file:///…`. The digest of the first download is kept and compared ever after.

    Args:
        name: "efficientnet-edgetpu-S", "…-M" or "…-L".
        cache_dir: keeps tarball, digest and folder; `None` takes
            `~/.cache/edgetpu_lib`.
        timeout_s: of connecting, and of silence while reading.
        pauses_s: before each further attempt.

    Returns:
        The folder, for `checkpoint.load_weights`.

    Raises:
        InputError: the name is unknown, the file cannot be had, differs from the
            first download, or holds what a checkpoint must not.
    """
    if name not in SPECS:
        raise InputError(f"no checkpoint {name!r} is published; use {', '.join(SPECS)}")
    cache = Path(cache_dir or Path.home() / ".cache" / "edgetpu_lib")
    tarball = cache / f"{name}.tar.gz"
    folder = cache / name
    if not tarball.exists():
        _download(_url(tarball.name), tarball, timeout_s, pauses_s)
        shutil.rmtree(folder, ignore_errors=True)
    digest = _check_digest(tarball)
    if not folder.is_dir():
        _unpack(tarball, folder)
        write_file(_digest_path(tarball), json.dumps({"sha256": digest}).encode())
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else folder


def _url(file_name: str) -> str:
    base = os.environ.get(MIRROR_VARIABLE) or PUBLISHED
    if not base.startswith(("http://", "https://", "file://")):
        raise InputError(
            f"{MIRROR_VARIABLE}={base} must begin with https://, http:// or file://"
        )
    return f"{base.rstrip('/')}/{file_name}"


def _download(
    url: str, target: Path, timeout_s: float, pauses_s: tuple[float, ...]
) -> None:
    """Bring a file from its URL; what a failed attempt got is kept for the next.

    Raises:
        InputError: no attempt brought it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if url.startswith("file://"):
        _copy(url, target)
        return
    partial = target.with_name(target.name + ".part")
    for attempt in range(len(pauses_s) + 1):
        try:
            _attempt(url, partial, timeout_s)
            partial.replace(target)
            return
        except _RetryableError as error:
            reason = error
        if attempt < len(pauses_s):
            time.sleep(pauses_s[attempt])
    raise InputError(
        f"{url} could not be fetched ({reason}); fetch it where there is internet and"
        f" set {MIRROR_VARIABLE}=file:///its/folder, or give --ckpt_dir"
    ) from reason


class _RetryableError(Exception):
    """An attempt failed in a way that another may not."""


def _copy(url: str, target: Path) -> None:
    source = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
    if not source.is_file():
        raise InputError(f"no file at {source}; check {MIRROR_VARIABLE}")
    with atomic_path(target) as scratch:
        shutil.copyfile(source, scratch)


def _attempt(url: str, partial: Path, timeout_s: float) -> None:
    """Read as much as is missing, once.

    Raises:
        _RetryableError: something broke on the way.
        InputError: the server will never give the file.
    """
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with httpx.stream(
            "GET", url, headers=headers, timeout=timeout_s, follow_redirects=True
        ) as answer:
            if answer.status_code == 416:
                partial.unlink()
            total = _total_bytes(answer, have)
            if answer.status_code == 200:
                have = 0
            _receive(answer, partial, have, total)
    except (httpx.TransportError, httpx.StreamError) as error:
        raise _RetryableError(f"{type(error).__name__}: {error}") from error
    if partial.stat().st_size != total:
        size = partial.stat().st_size
        if size > total:
            partial.unlink()
        raise _RetryableError(f"{size} bytes came, {total} were promised")


def _total_bytes(answer: httpx.Response, have: int) -> int:
    """Return how long the whole file is, as the answer says.

    Raises:
        _RetryableError: the server failed for now, or does not say.
        InputError: the server refuses.
    """
    status = answer.status_code
    if status == 416:
        raise _RetryableError("the part kept is longer than the file")
    if status in (408, 429) or status >= 500:
        raise _RetryableError(f"the server answered {status}")
    if status not in (200, 206):
        raise InputError(
            f"{answer.url} answered {status}; check {MIRROR_VARIABLE}, or give"
            " --ckpt_dir"
        )
    try:
        if status == 206:
            unit, _, total = answer.headers["Content-Range"].partition("/")
            if not unit.startswith(f"bytes {have}-"):
                raise ValueError(unit)
            return int(total)
        return int(answer.headers["Content-Length"])
    except (KeyError, ValueError) as error:
        raise _RetryableError(f"the answer's length is unclear ({error})") from error


def _receive(answer: httpx.Response, partial: Path, have: int, total: int) -> None:
    with (
        open(partial, "ab" if have else "wb") as file,
        tqdm(
            total=total,
            initial=have,
            desc=partial.name.removesuffix(".part"),
            unit="B",
            unit_scale=True,
            leave=False,
        ) as bar,
    ):
        for chunk in answer.iter_raw(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _digest_path(tarball: Path) -> Path:
    return tarball.with_name(tarball.name + ".json")


def _check_digest(tarball: Path) -> str:
    """Return a tarball's SHA-256, which must be that of the first download.

    Raises:
        InputError: they differ.
    """
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    record = _digest_path(tarball)
    try:
        known = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return digest
    if known != digest:
        raise InputError(
            f"{tarball} has SHA-256 {digest}, the first download had {known}; delete"
            f" it to fetch it again, and {record.name} too if the new one is right"
        )
    return digest


def _unpack(tarball: Path, folder: Path) -> None:
    """Unpack a tarball of plain files, whole or not at all.

    Raises:
        InputError: it is damaged, too large, or holds more than plain files below the
            folder.
    """
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        left = MAX_UNPACKED_BYTES
        try:
            with tarfile.open(tarball, "r:gz") as tar:
                for number, member in enumerate(tar, start=1):
                    left -= member.size
                    _check_member(tarball, member, scratch, number, left)
                    tar.extract(member, scratch, filter="data")
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            tarball.unlink()
            raise InputError(
                f"{tarball} was damaged and is deleted ({error}); fetch it again"
            ) from error


def _check_member(
    tarball: Path, member: tarfile.TarInfo, folder: Path, number: int, left: int
) -> None:
    """Refuse what a checkpoint has no need of.

    Raises:
        InputError: it names the member.
    """
    target = (folder / member.name).resolve()
    outside = folder.resolve() not in (target, *target.parents)
    problem = (
        ("more files than a checkpoint has", number > MAX_FILES),
        ("more than a checkpoint's size", left < 0),
        ("a path outside the folder", outside or ":" in member.name),
        ("neither a file nor a folder", not (member.isfile() or member.isdir())),
    )
    for what, found in problem:
        if found:
            raise InputError(
                f"{tarball} holds {what} ({member.name!r}) and was not unpacked; delete"
                " it, and take another mirror"
            )
