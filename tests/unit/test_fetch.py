"""Published checkpoints arrive whole or not at all, from servers of every kind."""

import gzip
import http.server
import io
import json
import socket
import tarfile
import threading
import time

import numpy as np
import pytest

from edgetpu_lib import fetch
from edgetpu_lib.artifacts import InputError

NAME = "efficientnet-edgetpu-S"
FILES = {
    "checkpoint": b'model_checkpoint_path: "model.ckpt-7"\n',
    "model.ckpt-7.index": b"index",
    "model.ckpt-7.data-00000-of-00001": np.random.default_rng(0).bytes(200_000),
}


def pack(members):
    """Pack (TarInfo, content) pairs."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


TARBALL = pack((tarfile.TarInfo(f"{NAME}/{n}"), c) for n, c in FILES.items())


class Server(http.server.ThreadingHTTPServer):
    """Answers each request as the next step of its script says."""

    daemon_threads = True

    def __init__(self, *script, content=TARBALL):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.content = content
        self.ranges = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        step = server.script.pop(0) if server.script else "well"
        start = 0
        if self.headers.get("Range") and step != "no range":
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = server.content[start:]
        if isinstance(step, int):
            self.send_error(step)
            return
        if start > len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        promised = len(body) + {"longer": 99, "shorter": -99}.get(step, 0)
        self.send_header("Content-Length", str(promised))
        if start:
            total = start + promised
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if step in ("cut", "stall"):
            body = body[: len(body) // 2]
        self.wfile.write(body if step != "shorter" else body[:promised])
        self.wfile.flush()
        if step == "stall":
            time.sleep(1)


@pytest.fixture
def serve(monkeypatch):
    servers = []

    def start(*script, **options):
        servers.append(Server(*script, **options))
        monkeypatch.setenv(fetch.MIRROR_VARIABLE, servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def get(tmp_path):
    def call(**options):
        options = {"timeout_s": 0.3, "pauses_s": (0.01, 0.01), **options}
        return fetch.fetch_checkpoint(NAME, cache_dir=tmp_path / "cache", **options)

    return call


def assert_whole(folder):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def assert_nothing_final(tmp_path):
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert not names - {f"{NAME}.tar.gz", f"{NAME}.tar.gz.part"}


def test_checkpoint_arrives(serve, get):
    server = serve()
    assert_whole(get())
    assert server.ranges == [None]


def test_second_call_needs_no_server(serve, get, monkeypatch):
    server = serve()
    first = get()
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, "http://127.0.0.1:9")
    assert get() == first
    assert len(server.ranges) == 1


@pytest.mark.parametrize("trouble", ["cut", "stall", "longer"])
def test_broken_transfer_goes_on_where_it_broke(serve, get, trouble):
    server = serve(trouble)
    assert_whole(get())
    start = int(server.ranges[1].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= len(TARBALL)


def test_interrupted_download_is_resumed_by_the_next_call(serve, get, tmp_path):
    serve("cut")
    with pytest.raises(InputError):
        get(pauses_s=())
    assert_nothing_final(tmp_path)
    server = serve()
    assert_whole(get())
    assert server.ranges[0] is not None


def test_server_without_ranges_sends_all_again(serve, get):
    server = serve("cut", "no range")
    assert_whole(get())
    assert len(server.ranges) == 2


def test_busy_server_is_asked_again(serve, get):
    serve(503, 429)
    assert_whole(get())


def test_part_longer_than_the_file_is_thrown_away(serve, get, tmp_path):
    serve()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.tar.gz.part").write_bytes(bytes(10**6))
    assert_whole(get())


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_is_final(serve, get, tmp_path, status):
    server = serve(status)
    with pytest.raises(InputError, match=str(status)):
        get()
    assert len(server.ranges) == 1
    assert_nothing_final(tmp_path)


@pytest.mark.parametrize("trouble", ["cut", 500])
def test_hopeless_server_is_given_up(serve, get, tmp_path, trouble):
    serve(*[trouble] * 40)
    with pytest.raises(InputError, match=fetch.MIRROR_VARIABLE):
        get()
    assert_nothing_final(tmp_path)


def test_length_that_is_too_short_is_found_by_the_content(serve, get, tmp_path):
    serve("shorter")
    with pytest.raises(InputError, match="damaged"):
        get()
    assert_nothing_final(tmp_path)
    assert_whole(get())


def test_offline_is_one_line_with_a_remedy(get, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, address)
    with pytest.raises(InputError, match="file:///") as caught:
        get()
    assert "\n" not in str(caught.value)
    assert_nothing_final(tmp_path)


def test_mirror_may_be_a_folder(get, tmp_path, monkeypatch):
    mirror = tmp_path / "a mirror"
    mirror.mkdir()
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, mirror.as_uri())
    with pytest.raises(InputError, match="a mirror"):
        get()
    (mirror / f"{NAME}.tar.gz").write_bytes(TARBALL)
    assert_whole(get())


@pytest.mark.parametrize("value", ["ftp://127.0.0.1", "/folder"])
def test_other_mirrors_are_refused(get, monkeypatch, value):
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, value)
    with pytest.raises(InputError, match=value):
        get()


def test_unknown_name_is_told_the_known_ones():
    with pytest.raises(InputError, match=NAME):
        fetch.fetch_checkpoint("efficientnet-b0")


def test_later_download_must_have_the_digest_of_the_first(serve, get, tmp_path):
    serve()
    get()
    (tmp_path / "cache" / f"{NAME}.tar.gz").unlink()
    other = pack([(tarfile.TarInfo(f"{NAME}/checkpoint"), b"other")])
    serve(content=other)
    with pytest.raises(InputError, match="SHA-256"):
        get()


def test_tarball_changed_on_disk_is_found(serve, get, tmp_path):
    serve()
    get()
    record = tmp_path / "cache" / f"{NAME}.tar.gz.json"
    assert len(json.loads(record.read_text())["sha256"]) == 64
    with open(tmp_path / "cache" / f"{NAME}.tar.gz", "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="SHA-256"):
        get()


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "parent": [(member("../outside"), b"x")],
    "deep parent": [(member("a/../../outside"), b"x")],
    "absolute": [(member("/tmp/outside"), b"x")],
    "drive": [(member("C:outside"), b"x")],
    "symlink": [(member("a", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "hard link": [(member("a", tarfile.LNKTYPE, "/etc/passwd"), b"")],
    "device": [(member("a", tarfile.CHRTYPE), b"")],
    "pipe": [(member("a", tarfile.FIFOTYPE), b"")],
    "many": [(member(f"{n}"), b"") for n in range(fetch.MAX_FILES + 1)],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tarball_leaves_nothing(serve, get, tmp_path, kind):
    harmless = (member(f"{NAME}/checkpoint"), b"x")
    serve(content=pack([harmless, *HOSTILE[kind]]))
    with pytest.raises(InputError, match="was not unpacked"):
        get()
    assert_nothing_final(tmp_path)
    assert not (tmp_path / "outside").exists()


def test_bomb_is_not_unpacked(serve, get, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_UNPACKED_BYTES", 10_000)
    serve(content=pack([(member("zeros"), bytes(10_001))]))
    with pytest.raises(InputError, match="size"):
        get()
    assert_nothing_final(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"no tar" * 99), TARBALL[:-5000]]
)
def test_damaged_tarball_is_fetched_anew(serve, get, tmp_path, content):
    serve(content=content)
    with pytest.raises(InputError):
        get()
    assert_nothing_final(tmp_path)
    serve()
    assert_whole(get())
