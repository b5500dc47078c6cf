"""Fetched checkpoints: whole, verified, safe to unpack, and fetched only once."""

import concurrent.futures
import contextlib
import errno
import gzip
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest

from edgetpu_lib.base.artifacts import InputError, sha256_of
from edgetpu_lib.weights import download, fetch

S = "efficientnet-edgetpu-S"
TARBALL = f"{S}.tar.gz"
RECORD = f"{TARBALL}.json"
PART = f"{TARBALL}.part"
# Noise, so that half of the tarball is far from its end.
FILES = {
    "checkpoint": b'model_checkpoint_path: "model.ckpt"\n',
    "model.ckpt.data-00000-of-00001": np.random.default_rng(5).bytes(300_000),
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
        published = [member(f"{S}/{name}", FILES[name]) for name in FILES]
        for info, content in [*published, *members]:
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(file.getvalue(), compresslevel=1, mtime=0)


GOOD = pack()
HALF = len(GOOD) // 2
OTHER = pack(member("LICENSE", b"Apache"))
TAG = {"ETag": '"one"'}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's script says, then well."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers
        server.requests.append((self.path, dict(asked)))
        way = server.script.pop(0) if server.script else "well"
        # Another version than the one that was begun is sent from its start.
        known = asked.get("If-Range") in (None, *server.tag.values())
        start = int(asked.get("Range", "bytes=0-")[6:-1]) if known else 0
        start = 0 if way == "whole" else start
        size = len(server.content)
        end = size - (1000 if way == "early" else 0)
        body = server.content[start:end]
        status = 206 if start or way == "unasked" else 200
        if isinstance(way, int) or start >= size > 0:
            status, body = (way if isinstance(way, int) else 416), b""
        length = len(body) + {"more": 10, "less": -1000, "drip": 9_999}.get(way, 0)
        self.send_response(status)
        for name, value in server.tag.items():
            self.send_header(name, value)
        if way == 302:
            self.send_header("Location", server.location or self.path)
        if way != "nameless":
            self.send_header("Content-Length", str(length))
        if status == 206:
            first = start + (way == "shifted")
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.end_headers()
        # The client may be gone: that is what some tests are about.
        with contextlib.suppress(OSError):
            cut = way in ("cut", "stall", "drip")
            self.wfile.write(body[: len(body) // 2] if cut else body)
            while way == "drip" and not server.release.wait(0.05):
                self.wfile.write(b"x")
            if way == "stall":
                server.waited_in_vain = not server.release.wait(10)


@pytest.fixture
def server(monkeypatch):
    """Return a server on this machine, set as the mirror."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.tag, server.script, server.requests = GOOD, TAG, [], []
    server.location = None
    server.release, server.waited_in_vain = threading.Event(), False
    # Neither stopping nor closing waits long.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, f"{server.url}/models")
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
    """Check that a call is refused by one line that holds all `parts`."""
    with pytest.raises(InputError) as caught:
        call(cache, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def unpacked(cache):
    return {path.name: path.read_bytes() for path in (cache / S).iterdir()}


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def assert_whole(cache, content=GOOD):
    assert names(cache) == [S, TARBALL, RECORD]
    assert (cache / TARBALL).read_bytes() == content
    assert unpacked(cache) == FILES
    metadata = json.loads((cache / RECORD).read_text())
    assert metadata["sha256"] == sha256_of(cache / TARBALL)


# Where it comes from and where it goes.


def test_downloads_once(server, cache):
    assert call(cache) == cache / S
    assert_whole(cache)
    ((path, headers),) = server.requests
    assert path == f"/models/{TARBALL}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers
    server.shutdown()
    server.server_close()
    assert call(cache, pauses_s=()) == cache / S


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
def test_every_model_has_its_file_below_the_home(server, tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder = fetch.fetch_checkpoint(name, show_progress=False)
    assert folder == tmp_path / ".cache" / "edgetpu_lib" / name
    assert server.requests[0][0] == f"/models/{name}.tar.gz"


def test_published_place_without_a_mirror(monkeypatch):
    monkeypatch.delenv(fetch.MIRROR_VARIABLE, raising=False)
    assert fetch._url(TARBALL) == f"{fetch.PUBLISHED_URL}/{TARBALL}"


@pytest.mark.parametrize("name", ["efficientnet-b0", "", "../S"])
def test_unknown_name_is_refused_with_the_known(server, cache, name):
    with pytest.raises(InputError, match=f"{name!r}.*{S}.*efficientnet-edgetpu-L"):
        fetch.fetch_checkpoint(name, cache_dir=cache)
    assert not server.requests


def test_file_mirror(cache, tmp_path, monkeypatch):
    folder = tmp_path / "on a stick"
    folder.mkdir()
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, folder.as_uri())
    refused(cache, folder / TARBALL, fetch.MIRROR_VARIABLE)
    assert names(cache) == []
    (folder / TARBALL).write_bytes(GOOD)
    call(cache)
    assert_whole(cache)
    assert names(folder) == [TARBALL]


@pytest.mark.parametrize(
    "base",
    ["/folder", "folder", "ftp://host/x", "http://", "file://folder/x", "http://a:b/"],
)
def test_mirror_must_be_a_url(cache, monkeypatch, base):
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, base)
    refused(cache, f"{base} is no base URL", "https://", "file:///")
    assert names(cache) == []


def test_cache_below_a_file_is_refused(server, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file" / "cache", tmp_path / "file")
    assert not server.requests


# Servers that fail.

AGAIN = [None, None]
RESUMED = [None, f"bytes={HALF}-"]
DATE = {"Last-Modified": "Thu, 01 Aug 2019 10:00:00 GMT"}
WEAK = {"ETag": 'W/"one"'}


@pytest.mark.parametrize(
    ("script", "tag", "asked"),
    [
        (["cut"], TAG, RESUMED),
        (["cut"], DATE, RESUMED),
        (["cut"], WEAK | DATE, RESUMED),
        # What cannot be told from another version is not gone on with.
        (["cut"], WEAK, AGAIN),
        (["cut"], {}, AGAIN),
        (["stall"], TAG, RESUMED),
        (["cut", 503], TAG, [*RESUMED, RESUMED[1]]),
        (["cut", "whole"], TAG, RESUMED),
        (["cut", 416], TAG, [*RESUMED, None]),
        (["cut", "shifted"], TAG, [*RESUMED, None]),
        (["cut", "early"], TAG, [*RESUMED, f"bytes={len(GOOD) - 1000}-"]),
        (["unasked"], TAG, AGAIN),
        ([500, 429], TAG, [None, *AGAIN]),
        ([408], TAG, AGAIN),
        ([302] * 3, TAG, [*AGAIN, *AGAIN]),
        (["nameless"], TAG, [None]),
        (["more"], TAG, [None, f"bytes={len(GOOD)}-", None]),
    ],
    ids=str,
)
def test_goes_on_after_a_failure(server, cache, script, tag, asked):
    server.script, server.tag = list(script), tag
    call(cache, timeout_s=0.3 if "stall" in script else 5.0)
    assert_whole(cache)
    assert ranges(server) == asked
    assert not server.waited_in_vain
    strong = [value for value in tag.values() if not value.startswith("W/")]
    for _, headers in server.requests:
        known = strong[0] if "Range" in headers else None
        assert headers.get("If-Range") == known


@pytest.mark.parametrize(
    ("place", "tag", "content", "asked"),
    [
        ("models", TAG, GOOD, RESUMED),
        ("models", {"ETag": '"two"'}, OTHER, RESUMED),
        ("elsewhere", TAG, OTHER, AGAIN),
    ],
    ids=["same", "changed", "another mirror"],
)
def test_next_call_goes_on_with_the_same_file(
    server, cache, monkeypatch, place, tag, content, asked
):
    server.script = ["cut"]
    refused(cache, pauses_s=())
    assert names(cache) == [PART, f"{PART}.json"]
    assert (cache / PART).read_bytes() == GOOD[:HALF]
    server.tag, server.content = tag, content
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, f"{server.url}/{place}/")
    call(cache)
    assert_whole(cache, content)
    assert ranges(server) == asked
    assert server.requests[1][0] == f"/{place}/{TARBALL}"


@pytest.mark.parametrize(
    ("way", "requests"),
    [("more", 3), ("cut", 3), (503, 3), (403, 1), (404, 1), (410, 1)],
)
def test_gives_up_with_one_line(server, cache, way, requests):
    server.script = [way] * 9
    refused(cache, TARBALL, f"{fetch.MIRROR_VARIABLE}=file:///", "--ckpt_dir")
    assert len(server.requests) == requests
    assert not {*names(cache)} - {PART, f"{PART}.json"}


@pytest.mark.parametrize("way", ["well", "nameless"])
def test_too_many_bytes_are_refused_on_the_way(server, cache, monkeypatch, way):
    monkeypatch.setattr(download, "MAX_DOWNLOAD_BYTES", HALF)
    server.script = [way]
    refused(cache, server.url, HALF, fetch.MIRROR_VARIABLE)
    assert len(server.requests) == 1
    assert names(cache) == []


def test_too_slow_a_server_is_left_and_gone_on_with(server, cache):
    server.script = ["drip"]
    refused(cache, server.url, "too slow", total_s=0.4)
    assert names(cache) == [PART, f"{PART}.json"]


@pytest.mark.parametrize(
    "place",
    [
        "http://localhost:{port}/x",
        "https://127.0.0.1:{port}/x",
        "http://127.0.0.1:1/x",
        "ftp://127.0.0.1:{port}/x",
        "//localhost:{port}/x",
    ],
)
def test_another_server_is_named_and_not_followed(server, cache, place):
    server.location = place.format(port=server.server_port)
    server.script = [302]
    refused(cache, server.url, server.location.split("//")[1], fetch.MIRROR_VARIABLE)
    assert len(server.requests) == 1
    assert names(cache) == []


def test_two_downloads_at_once_end_well(server, cache):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: call(cache), range(4)))
    assert folders == [cache / S] * 4
    assert_whole(cache)
    assert len(server.requests) == 1


def test_a_download_that_another_run_has_begun_is_not_waited_for_long(server, cache):
    cache.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(cache)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        refused(cache, cache, "another run", total_s=0.2)
        assert not server.requests
        other.communicate("")
    call(cache)
    assert_whole(cache)


HOLD = """
import sys
from edgetpu_lib.base.lock import exclusive
with exclusive(sys.argv[1], wait_s=0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_offline(cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, "http://127.0.0.1:1")
    refused(cache, f"http://127.0.0.1:1/{TARBALL}", "file:///", "--ckpt_dir")
    assert names(cache) == []


def test_pauses_between_attempts(server, cache, monkeypatch):
    waited = []
    monkeypatch.setattr(download.time, "sleep", waited.append)
    server.script = [503] * 3
    call(cache, pauses_s=(1.0, 3.0, 9.0))
    assert waited == [1.0, 3.0, 9.0]


def test_progress_counts_bytes_from_where_it_goes_on(server, cache, monkeypatch):
    bars = []

    class Bar(download.tqdm):
        def __exit__(self, *error):
            bars.append((self.initial, self.n, self.total))
            super().__exit__(*error)

    monkeypatch.setattr(download, "tqdm", Bar)
    server.script = ["cut"]
    call(cache, show_progress=True)
    assert bars == [(0, HALF, len(GOOD)), (HALF, len(GOOD), len(GOOD))]


@pytest.mark.parametrize("shown", [True, False])
def test_progress_can_be_silent(server, cache, capsys, shown):
    call(cache, show_progress=shown)
    out, err = capsys.readouterr()
    assert (out, S in err) == ("", shown)


# The digest of the first download.


def test_another_digest_is_refused_until_one_is_chosen(server, cache):
    call(cache)
    first = sha256_of(cache / TARBALL)
    (cache / TARBALL).unlink()
    server.content = pack(member(f"{S}/NOTICE", b"new"))
    for _ in range(2):
        refused(cache, first, cache / RECORD, f"delete {cache / TARBALL}")
        refused(cache, sha256_of(cache / TARBALL))
        assert unpacked(cache) == FILES
    # The second remedy: trust what came.
    (cache / RECORD).unlink()
    call(cache)
    assert unpacked(cache) == {**FILES, "NOTICE": b"new"}
    assert len(server.requests) == 2
    # The first: fetch again from a sound place.
    (cache / TARBALL).write_bytes(OTHER)
    refused(cache)
    (cache / TARBALL).unlink()
    call(cache)
    assert names(cache) == [S, TARBALL, RECORD]


@pytest.mark.parametrize("recorded", [True, False])
def test_cached_tarball_is_unpacked_again(server, cache, recorded):
    call(cache)
    (cache / S).rename(cache.with_name("gone"))
    if not recorded:
        (cache / RECORD).unlink()
    call(cache)
    assert_whole(cache)
    assert len(server.requests) == 1


# Tarballs that are damaged or hostile.


def nested_headers():
    """Return a tarball of many extended headers, one for the next."""
    info = tarfile.TarInfo("x")
    header = info.create_pax_header({**info.get_info(), "path": "é"}, "utf-8")
    return gzip.compress(header[:1024] * 900)


def special(kind, linkname=""):
    return pack(member(f"{S}/it", type=kind, linkname=linkname))


def pax(**headers):
    headers = {f"GNU.sparse.{name}": value for name, value in headers.items()}
    return pack(member(f"{S}/it", b"x", pax_headers=headers))


BAD = {
    "parent": pack(member("../outside", b"x")),
    "symlink": special(tarfile.SYMTYPE, "../../outside"),
    "inner symlink": special(tarfile.SYMTYPE, "checkpoint"),
    "inner hardlink": special(tarfile.LNKTYPE, f"{S}/checkpoint"),
    "device": special(tarfile.CHRTYPE),
    "fifo": special(tarfile.FIFOTYPE),
    "holes": pax(map="0,1", size="9"),
    "no number": pax(map="x", size="9"),
    "lying header": gzip.compress(member("x", size=1 << 70)[0].tobuf() + bytes(1024)),
    "file as folder": pack(member(f"{S}/checkpoint/file", b"x")),
    "folder as file": pack(member(S, b"x")),
    "second checkpoint": pack(member("more/model.ckpt.index", b"x")),
    "bomb": pack(member(f"{S}/zeros", bytes(2_000_000))),
    "many members": pack(*(member(f"{S}/{number}") for number in range(18))),
    "truncated": GOOD[:-1000],
    "no deflate": GOOD[:10] + b"\xff" + GOOD[11:],
    "flipped": GOOD[:HALF] + bytes([GOOD[HALF] ^ 0xFF]) + GOOD[HALF + 1 :],
    "text": b"<html>sign in</html>",
    "nothing": b"",
    "empty tar": gzip.compress(bytes(10240)),
    "nested headers": nested_headers(),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_bad_tarball_writes_nothing_and_is_deleted(
    server, cache, tmp_path, monkeypatch, content
):
    monkeypatch.setattr(fetch, "MAX_UNPACKED_BYTES", 1_000_000)
    monkeypatch.setattr(fetch, "MAX_MEMBERS", 20)
    server.content = content
    refused(cache, TARBALL, "deleted", fetch.MIRROR_VARIABLE)
    assert [*tmp_path.rglob("*")] == [tmp_path / "new", cache]
    server.content = GOOD
    call(cache)
    assert_whole(cache)


def test_announcing_too_little_is_no_whole_file(server, cache):
    server.script = ["less"]
    refused(cache, TARBALL, "deleted")
    assert names(cache) == []


def test_absolute_path_stays_inside(server, cache, tmp_path):
    target = tmp_path / "outside"
    server.content = pack(member(str(target), b"x"))
    call(cache)
    assert_whole(cache, server.content)
    assert not target.exists()


# Whatever interrupts leaves no half.


@pytest.mark.parametrize(
    ("owner", "function", "left"),
    [
        (download.tqdm, "update", [PART, f"{PART}.json"]),
        # When the first file is there.
        (tarfile.TarFile, "utime", [TARBALL]),
        (fetch, "save_metadata", [S, TARBALL]),
    ],
    ids=["download", "unpack", "metadata"],
)
@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left"),
        OSError(errno.EIO, "Input/output error"),
    ],
)
def test_interruption_leaves_no_half(
    server, cache, monkeypatch, owner, function, left, error
):
    def stop(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(owner, function, stop)
        with pytest.raises((KeyboardInterrupt, InputError, OSError)) as caught:
            call(cache)
    # A full disk is no damage.
    assert str(error).split("] ")[-1] in str(caught.value)
    is_full = getattr(error, "errno", None) == errno.ENOSPC
    assert ("free some space" in str(caught.value)) == is_full
    assert names(cache) == left
    call(cache)
    assert_whole(cache)
