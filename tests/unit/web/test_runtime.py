"""Packages come from npm once, as pinned and whole, or not at all."""

import base64
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.web import runtime


def packed():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/index.js")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    return stream.getvalue()


PACKED = packed()
DIGEST = base64.b64encode(hashlib.sha512(PACKED).digest()).decode()
PINNED = ("@some/thing", "1.2.3", f"sha512-{DIGEST}")


@pytest.fixture
def npm(monkeypatch):
    """Stand in for npm; return the commands that were run."""
    commands = []

    def run(command, **_):
        commands.append(command)
        folder = Path(command[command.index("--pack-destination") + 1])
        (folder / "some-thing-1.2.3.tgz").write_bytes(PACKED)

    monkeypatch.setattr(runtime.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(runtime.subprocess, "run", run)
    return commands


def test_package_is_fetched_once(npm, tmp_path):
    for _ in range(2):
        folder = runtime.npm_package(*PINNED, cache_dir=tmp_path)
        assert (folder / "index.js").read_bytes() == b"hello"
    assert len(npm) == 1


def test_another_file_than_the_pinned_one_is_refused(npm, tmp_path):
    with pytest.raises(InputError, match=r"@some/thing@1\.2\.3"):
        runtime.npm_package(*PINNED[:2], "sha512-other", cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_npm_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="install Node.js"):
        runtime.npm_package(*PINNED, cache_dir=tmp_path)


def test_without_a_network_the_remedy_is_named(npm, monkeypatch, tmp_path):
    def run(command, **_):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(runtime.subprocess, "run", run)
    with pytest.raises(InputError, match="network"):
        runtime.npm_package(*PINNED, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
