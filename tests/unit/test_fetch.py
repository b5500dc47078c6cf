"""Fetched checkpoints: whole, verified, safe to unpack, and fetched only once."""

import contextlib
import gzip
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgetpu_lib import fetch
from edgetpu_lib.artifacts import InputError, sha256_of

S = "efficientnet-edgetpu-S"
TARBALL = f"{S}.tar.gz"
RECORD = f"{TARBALL}.json"
PART = f"{TARBALL}.part"
WHOLE = [S, TARBALL, RECORD]
# Noise, so that half of the tarball is far from its end.
WEIGHTS = np.random.default_rng(5).bytes(300_000)
FILES = {
    "checkpoint": b'model_checkpoint_path: "model.ckpt"\n',
    "model.ckpt.data-00000-of-00001": WEIGHTS,
    "model.ckpt.index": b"index",
}


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(*members):
    """Return a .tar.gz of the published shape, with more members at its end."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in FILES.items():
            info, _ = member(f"{S}/{name}", content)
            tar.addfile(info, io.BytesIO(content))
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(file.getvalue(), compresslevel=1, mtime=0)


GOOD = pack()
OTHER = pack(member("LICENSE", b"Apache"))


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's script says, then well."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        way = server.script.pop(0) if server.script else "well"
        # The client may be gone: that is what some tests are about.
        with contextlib.suppress(OSError):
            if isinstance(way, int):
                self.start(way, {"Content-Length": 0})
            else:
                self.answer(way)

    def answer(self, way):
        content, tag = self.server.content, self.server.etag
        start = 0 if way == "whole" else self.first_byte()
        if start >= len(content) > 0:
            self.start(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        body = content[start:]
        length = len(body) + (10 if way == "lie" else 0)
        headers = {"Content-Length": length, **tag}
        if way == "nameless":
            del headers["Content-Length"]
        if start:
            first = start + (1 if way == "shifted" else 0)
            last = len(content) - 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.start(206 if start else 200, headers)
        if way in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if way == "stall":
                self.server.release.wait(10)
        else:
            self.wfile.write(body)

    def first_byte(self):
        """Return where the asked range starts; 0 for a version that changed."""
        condition = self.headers.get("If-Range")
        if condition and condition not in self.server.etag.values():
            return 0
        asked = self.headers.get("Range", "bytes=0-")
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def start(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()


@pytest.fixture
def server(monkeypatch):
    """Return a server on this machine, set as the mirror."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.etag = GOOD, {"ETag": '"one"'}
    server.script, server.requests = [], []
    server.release = threading.Event()
    # Neither stopping nor closing waits long.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "*")
    url = f"http://127.0.0.1:{server.server_port}/models"
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, url)
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "new" / "cache"


def call(cache, **options):
    quick = {"timeout_s": 5.0, "pauses_s": (0.0, 0.0), "show_progress": False}
    return fetch.fetch_checkpoint(S, cache_dir=cache, **{**quick, **options})


def refused(cache, *parts, **options):
    """Return the one-line message of a refusal that holds all `parts`."""
    with pytest.raises(InputError) as caught:
        call(cache, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def assert_whole(cache, content=GOOD):
    assert names(cache) == WHOLE
    assert (cache / TARBALL).read_bytes() == content
    assert {p.name: p.read_bytes() for p in (cache / S).iterdir()} == FILES
    record = json.loads((cache / RECORD).read_text())
    assert record["sha256"] == sha256_of(cache / TARBALL)


def assert_nothing_final(cache):
    assert not {*names(cache)} - {PART, f"{PART}.json"}


def test_downloads_once(server, cache):
    assert call(cache) == cache / S
    assert_whole(cache)
    (path, headers) = server.requests[0]
    assert path == f"/models/{TARBALL}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers
    server.shutdown()
    server.server_close()
    assert call(cache, pauses_s=()) == cache / S
    assert len(server.requests) == 1


def test_load_weights_reads_it(
    server, cache, slim_checkpoint, new_model, tmp_path, slim_tensors
):
    from edgetpu_lib import checkpoint

    packed = tmp_path / "slim.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(slim_checkpoint, arcname=S)
    server.content = packed.read_bytes()
    report = checkpoint.load_weights(new_model(), call(cache))
    assert report.global_step == slim_tensors["global_step"]


@pytest.mark.parametrize("name", ["efficientnet-edgetpu-M", "efficientnet-edgetpu-L"])
def test_every_model_has_its_file(server, cache, name):
    folder = fetch.fetch_checkpoint(name, cache_dir=str(cache), show_progress=False)
    assert folder == cache / name
    assert server.requests[0][0] == f"/models/{name}.tar.gz"


def test_cache_is_below_the_home_of_the_moment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder = fetch.fetch_checkpoint(S, show_progress=False)
    assert folder == tmp_path / ".cache" / "edgetpu_lib" / S
    assert_whole(folder.parent)


def test_published_place_without_a_mirror(cache, monkeypatch):
    asked = []

    def bring(url, part, *options):
        asked.append(url)
        part.parent.mkdir(parents=True)
        part.write_bytes(GOOD)

    monkeypatch.setattr(fetch, "_bring", bring)
    monkeypatch.delenv(fetch.MIRROR_VARIABLE, raising=False)
    call(cache)
    assert asked == [f"{fetch.PUBLISHED_URL}/{TARBALL}"]


@pytest.mark.parametrize("name", ["efficientnet-b0", "", "../S"])
def test_unknown_name_is_refused_with_the_known(server, cache, name):
    with pytest.raises(InputError) as caught:
        fetch.fetch_checkpoint(name, cache_dir=cache)
    for known in (repr(name), S, "efficientnet-edgetpu-L"):
        assert known in str(caught.value)
    assert not server.requests


HALF = len(GOOD) // 2
RESUMED = [None, f"bytes={HALF}-"]
AGAIN = [None, None]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["cut"], RESUMED),
        (["cut", 503], [*RESUMED, RESUMED[1]]),
        (["cut", "whole"], RESUMED),
        (["cut", 416], [*RESUMED, None]),
        (["cut", "shifted"], [*RESUMED, None]),
        ([503], AGAIN),
        ([500, 429], [None, *AGAIN]),
        (["nameless"], [None]),
        (["lie"], [None, f"bytes={len(GOOD)}-", None]),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "etag", [{"ETag": '"one"'}, {"Last-Modified": "Thu, 01 Aug 2019"}, {}], ids=str
)
def test_goes_on_after_a_failure(server, cache, script, expected, etag):
    server.script, server.etag = list(script), etag
    call(cache)
    assert_whole(cache)
    assert ranges(server) == expected
    for _, headers in server.requests:
        known = next(iter(etag.values()), None) if "Range" in headers else None
        assert headers.get("If-Range") == known


def test_weak_validator_is_not_sent(server, cache):
    server.script, server.etag = ["cut"], {"ETag": 'W/"one"'}
    call(cache)
    assert_whole(cache)
    assert ranges(server) == RESUMED
    assert "If-Range" not in server.requests[1][1]


def test_stall_ends_and_the_next_attempt_goes_on(server, cache):
    server.script = ["stall"]
    call(cache, timeout_s=0.2)
    assert_whole(cache)
    assert ranges(server) == RESUMED


@pytest.mark.parametrize("etag", [{"ETag": '"two"'}, {}], ids=str)
def test_changed_file_starts_over(server, cache, etag):
    server.script = ["cut"]
    server.etag = {"ETag": '"one"'} if etag else {}
    refused(cache, pauses_s=())
    server.content, server.etag = OTHER, etag
    call(cache)
    assert_whole(cache, OTHER)


def test_next_call_goes_on(server, cache):
    server.script = ["cut"]
    refused(cache, TARBALL, fetch.MIRROR_VARIABLE, "--ckpt_dir", pauses_s=())
    assert (cache / PART).read_bytes() == GOOD[:HALF]
    assert_nothing_final(cache)
    call(cache)
    assert_whole(cache)
    assert ranges(server) == RESUMED


def test_partial_of_another_mirror_is_not_continued(server, cache, monkeypatch):
    server.script = ["cut"]
    refused(cache, pauses_s=())
    url = f"http://127.0.0.1:{server.server_port}/elsewhere/"
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, url)
    server.content = OTHER
    call(cache)
    assert_whole(cache, OTHER)
    assert ranges(server) == AGAIN
    assert server.requests[1][0] == f"/elsewhere/{TARBALL}"


@pytest.mark.parametrize("way", ["lie", "cut", 503, 408])
def test_gives_up_after_the_last_attempt(server, cache, way):
    server.script = [way] * 9
    refused(cache, TARBALL, fetch.MIRROR_VARIABLE, "--ckpt_dir")
    assert len(server.requests) == 3
    assert_nothing_final(cache)


def test_pauses_between_attempts(server, cache, monkeypatch):
    waited = []
    monkeypatch.setattr(fetch.time, "sleep", waited.append)
    server.script = [503] * 3
    call(cache, pauses_s=(1.0, 3.0, 9.0))
    assert waited == [1.0, 3.0, 9.0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_refusal_is_final(server, cache, status):
    server.script = [status]
    refused(cache, str(status), TARBALL, fetch.MIRROR_VARIABLE)
    assert len(server.requests) == 1
    assert_nothing_final(cache)


def test_offline(cache, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv(fetch.MIRROR_VARIABLE, f"http://127.0.0.1:{port}")
        refused(cache, f"{port}/{TARBALL}", "file:///", "--ckpt_dir")
    assert_nothing_final(cache)


def test_progress_counts_bytes_from_where_it_goes_on(server, cache, monkeypatch):
    bars = []

    class Bar(fetch.tqdm):
        def __init__(self, **options):
            super().__init__(file=io.StringIO(), **options)
            bars.append(self)

    monkeypatch.setattr(fetch, "tqdm", Bar)
    server.script = ["cut"]
    call(cache, show_progress=True)
    counts = [(bar.initial, bar.n, bar.total, bar.unit) for bar in bars]
    size = len(GOOD)
    assert counts == [(0, HALF, size, "B"), (HALF, size, size, "B")]


@pytest.mark.parametrize("shown", [True, False])
def test_progress_can_be_silent(server, cache, capsys, shown):
    call(cache, show_progress=shown)
    captured = capsys.readouterr()
    assert (S in captured.err) == shown
    assert captured.out == ""


def test_file_mirror(cache, tmp_path, monkeypatch):
    folder = tmp_path / "on a stick"
    folder.mkdir()
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, folder.as_uri())
    refused(cache, str(folder / TARBALL), fetch.MIRROR_VARIABLE)
    assert_nothing_final(cache)
    (folder / TARBALL).write_bytes(GOOD)
    call(cache)
    assert_whole(cache)
    assert names(folder) == [TARBALL]


@pytest.mark.parametrize(
    "base",
    ["/folder", "folder", "ftp://host/x", "http://", "file://folder/x", "http:x"],
)
def test_mirror_must_be_a_url(cache, monkeypatch, base):
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, base)
    refused(cache, base, "https://", "file:///")
    assert_nothing_final(cache)


def test_later_download_with_another_digest_is_refused(server, cache):
    call(cache)
    first = sha256_of(cache / TARBALL)
    (cache / TARBALL).unlink()
    server.content = OTHER
    message = refused(cache, first, str(cache / RECORD), str(cache / PART))
    assert sha256_of(cache / PART) in message
    assert not (cache / TARBALL).exists()
    assert {p.name: p.read_bytes() for p in (cache / S).iterdir()} == FILES
    # Both remedies: fetch again from a sound place, or trust what came.
    (cache / PART).unlink()
    server.content = GOOD
    call(cache)
    assert_whole(cache)


def test_other_file_can_be_trusted(server, cache):
    call(cache)
    (cache / TARBALL).unlink()
    server.content = pack(member(f"{S}/NOTICE", b"new"))
    refused(cache)
    (cache / RECORD).unlink()
    asked = len(server.requests)
    assert (call(cache) / "NOTICE").read_bytes() == b"new"
    assert len(server.requests) == asked
    assert names(cache) == WHOLE


def test_cached_tarball_that_changed_is_refused(server, cache):
    call(cache)
    first = sha256_of(cache / TARBALL)
    (cache / TARBALL).write_bytes(OTHER)
    message = refused(cache, first, str(cache / TARBALL))
    assert sha256_of(cache / TARBALL) in message
    (cache / TARBALL).unlink()
    call(cache)
    assert_whole(cache)


@pytest.mark.parametrize("recorded", [True, False])
def test_cached_tarball_is_unpacked_again(server, cache, recorded):
    call(cache)
    for file in (cache / S).iterdir():
        file.unlink()
    (cache / S).rmdir()
    if not recorded:
        (cache / RECORD).unlink()
    call(cache)
    assert_whole(cache)
    assert len(server.requests) == 1


LINK = {"linkname": "../../outside"}
HOSTILE = {
    "parent": member("../outside", b"x"),
    "deep parent": member(f"{S}/../../outside", b"x"),
    "parent at the end": member(f"{S}/..", type=tarfile.DIRTYPE),
    "absolute": member("/outside", b"x"),
    "drive": member("C:outside", b"x"),
    "backslash": member("..\\outside", b"x"),
    "symlink": member(f"{S}/link", type=tarfile.SYMTYPE, **LINK),
    "inner symlink": member(f"{S}/link", type=tarfile.SYMTYPE, linkname="checkpoint"),
    "hardlink": member(f"{S}/link", type=tarfile.LNKTYPE, **LINK),
    "character device": member(f"{S}/null", type=tarfile.CHRTYPE, devmajor=1),
    "block device": member(f"{S}/disk", type=tarfile.BLKTYPE, devmajor=8),
    "fifo": member(f"{S}/pipe", type=tarfile.FIFOTYPE),
    "file as folder": member(f"{S}/checkpoint/file", b"x"),
    "folder as file": member(S, b"x"),
    "second checkpoint": member("more/model.ckpt.index", b"x"),
    "bomb": member(f"{S}/zeros", bytes(2_000_000)),
}


def lying_header():
    """Return a tarball whose last header promises more than follows."""
    info, _ = member(f"{S}/short")
    info.size = 1 << 40
    plain = gzip.decompress(GOOD).rstrip(b"\0")
    plain += bytes(-len(plain) % 512)
    return gzip.compress(plain + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def nested_headers():
    """Return a tarball of many extended headers, one for the next."""
    info = tarfile.TarInfo("x")
    header = info.create_pax_header({**info.get_info(), "path": "é"}, "utf-8")
    return gzip.compress(header[:1024] * 3000)


DAMAGED = {
    "truncated": GOOD[:-1000],
    "without its end": GOOD[:-4],
    "flipped": GOOD[:HALF] + bytes([GOOD[HALF] ^ 0xFF]) + GOOD[HALF + 1 :],
    "text": b"<html>sign in</html>",
    "nothing": b"",
    "gzip of text": gzip.compress(b"not a tar" * 100),
    "empty tar": gzip.compress(bytes(10240)),
    "lying header": lying_header(),
    "nested headers": nested_headers(),
}


@pytest.mark.parametrize(
    "content",
    [*(pack(hostile) for hostile in HOSTILE.values()), *DAMAGED.values()],
    ids=[*HOSTILE, *DAMAGED],
)
def test_bad_tarball_writes_nothing_and_is_deleted(
    server, cache, tmp_path, monkeypatch, content
):
    monkeypatch.setattr(fetch, "MAX_UNPACKED_BYTES", 1_000_000)
    server.content = content
    refused(cache, TARBALL)
    assert not {*names(cache)} - {f"{PART}.json"}
    assert names(tmp_path) == ["new"]
    assert names(tmp_path / "new") == ["cache"]
    server.content = GOOD
    call(cache)
    assert_whole(cache)


def test_number_of_members_is_limited(server, cache, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_MEMBERS", 2)
    refused(cache, TARBALL, "2 members")
    assert_nothing_final(cache)


@pytest.mark.parametrize("moment", ["extract", "rename", "record"])
def test_interrupted_unpacking_leaves_no_half(server, cache, monkeypatch, moment):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    def extract_half(tar, target, members, **options):
        tar.extract(members[0], target, filter="data")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "extract":
            patch.setattr(tarfile.TarFile, "extractall", extract_half)
        else:
            step = {"rename": "_checkpoint_folder", "record": "save_record"}[moment]
            patch.setattr(fetch, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            call(cache)
    if moment != "record":
        assert_nothing_final(cache)
    call(cache)
    assert_whole(cache)
    assert len(server.requests) == 1


def test_killed_download_leaves_only_the_partial(server, cache):
    server.script = ["stall"]
    code = f"from edgetpu_lib import fetch; fetch.fetch_checkpoint({S!r}, cache_dir="
    root = str(Path(fetch.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}{str(cache)!r}, show_progress=False)"],
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        part, deadline = cache / PART, time.monotonic() + 8
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert_nothing_final(cache)
    arrived = part.stat().st_size
    assert part.read_bytes() == GOOD[:arrived]
    call(cache)
    assert_whole(cache)
    assert ranges(server) == [None, f"bytes={arrived}-"]


def test_full_disk_is_no_damage(server, cache, monkeypatch):
    def no_space(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractall", no_space)
        refused(cache, "No space left", str(cache / S))
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_append", no_space)
        refused(cache.with_name("other"), "No space left", TARBALL)
    call(cache)
    assert_whole(cache)


def test_cache_below_a_file_is_refused(server, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file" / "cache", str(tmp_path / "file"))
    assert not server.requests
