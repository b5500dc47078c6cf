"""Download a file by HTTP: resumed, retried, and within limits."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from tqdm import tqdm

from edgetpu_lib.base.artifacts import (
    InputError,
    metadata_path,
    read_metadata,
    write_file,
)

MIRROR_VARIABLE = "EDGETPU_CHECKPOINT_MIRROR"
# Several times the published file of the largest model.
MAX_DOWNLOAD_BYTES = 1 << 30

_RETRIED_STATUSES = {408, 429}
_MAX_REDIRECTS = 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long to wait.

    Attributes:
        timeout_s: for a connection or for the next bytes, in seconds.
        pauses_s: before the second, third, … attempt, in seconds.
        total_s: for the whole download, in seconds.
    """

    timeout_s: float
    pauses_s: tuple[float, ...]
    total_s: float


def download(url: str, target: Path, limits: Limits, *, show_progress: bool) -> None:
    """Download a file, or go on where an earlier call stopped.

    Until it is complete, its bytes are in the file with `.part` after the name. No more
    than one run may download a target.

    Raises:
        InputError: the server refuses, cannot be reached, sends too much or too slowly,
            or redirects to another server.
        OSError: the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    end_s = time.monotonic() + limits.total_s
    for pause_s in (*limits.pauses_s, None):
        try:
            _continue(url, part, limits.timeout_s, end_s, not show_progress)
            break
        except httpx.HTTPError as error:
            _give_up_or_wait(error, url, pause_s)
    part.replace(target)
    metadata_path(part).unlink()


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


def _continue(
    url: str, part: Path, timeout_s: float, end_s: float, silent: bool
) -> None:
    """Download the missing bytes of `part` in one attempt, or raise httpx.HTTPError."""
    begun = read_metadata(part)
    # Only a validator (ETag or date) tells whether the file is still the same.
    same = begun.get("url") == url and begun.get("validator")
    offset = part.stat().st_size if same and part.is_file() else 0
    # No compression in transit, so that ranges and digest are of the stored bytes.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": same}
    with _request(url, headers, timeout_s) as response:
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
        found = _receive(response, part, size_bytes, end_s, silent)
    # A range may end early. A body shorter than its length is noticed by the client.
    if size_bytes and found != size_bytes:
        raise httpx.RemoteProtocolError(f"{found} bytes instead of {size_bytes}")


@contextlib.contextmanager
def _request(
    url: str, headers: dict[str, str], timeout_s: float
) -> Iterator[httpx.Response]:
    """Yield the response to a request; redirections stay on the same server."""
    with httpx.Client(timeout=timeout_s) as client:
        request = client.build_request("GET", url, headers=headers)
        for _ in range(_MAX_REDIRECTS):
            response = client.send(request, stream=True)
            with contextlib.closing(response):
                following = response.next_request
                if following is None:
                    yield response
                    return
            if _server_of(following.url) != _server_of(request.url):
                raise InputError(
                    f"{request.url} redirects to another server, {following.url};"
                    f" download it there yourself and set {MIRROR_VARIABLE}=file:///"
                    "its/folder, or set it to that server if you trust it"
                )
            request = following
        raise httpx.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirections")


def _server_of(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _receive(
    response: httpx.Response,
    part: Path,
    size_bytes: int,
    end_s: float,
    silent: bool,
) -> int:
    """Append the body to `part`, within the limits, and return the size of all, bytes.

    Raises:
        InputError: there are too many bytes, or they come too slowly.
    """
    with (
        open(part, "ab") as file,
        tqdm(
            desc=part.stem, initial=file.tell(), total=size_bytes or None, unit="B",
            unit_scale=True, leave=False, disable=silent,
        ) as bar,
    ):  # fmt: skip
        for chunk in response.iter_raw():
            if max(file.tell() + len(chunk), size_bytes) > MAX_DOWNLOAD_BYTES:
                metadata_path(part).unlink()
                part.unlink()
                raise InputError(
                    f"{response.url} sends more than {MAX_DOWNLOAD_BYTES} bytes, which"
                    f" is no checkpoint; check {MIRROR_VARIABLE}"
                )
            if time.monotonic() > end_s:
                raise InputError(
                    f"{response.url} is too slow: {file.tell()} bytes are there in the"
                    " time allowed; call again to go on, or set"
                    f" {MIRROR_VARIABLE} to another server"
                )
            file.write(chunk)
            bar.update(len(chunk))
        return file.tell()
