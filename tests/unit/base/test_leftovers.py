"""What killed processes leave half-written is removed, and nothing else."""

import os
import signal
import subprocess
import sys

import pytest

from edgetpu_lib.base import artifacts, leftovers

WRITE = """
import sys, time
from edgetpu_lib.base import artifacts
with artifacts.atomic_path(sys.argv[1]) as path:
    path.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """Return a process that is writing a file."""
    command = [sys.executable, "-c", WRITE, str(tmp_path / "a.bin")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


def partial(folder):
    return list(folder.glob(".partial-*"))


def test_next_run_removes_what_a_killed_one_left(writer, tmp_path):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(partial(tmp_path)) == 1
    artifacts.write_file(tmp_path / "b.bin", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]


def test_what_a_living_process_writes_stays(writer, tmp_path):
    before = partial(tmp_path)
    artifacts.write_file(tmp_path / "b.bin", b"whole")
    assert partial(tmp_path) == before != []


def test_what_this_process_writes_stays(tmp_path):
    with artifacts.atomic_path(tmp_path / "a.bin") as path:
        path.write_bytes(b"outer")
        artifacts.write_file(tmp_path / "b.bin", b"inner")
    assert (tmp_path / "a.bin").read_bytes() == b"outer"


def test_names_of_others_stay(tmp_path):
    names = [".partial-elsewhere-1-ab", ".partial-mine", ".partial-host-x-ab"]
    for name in names:
        (tmp_path / name).mkdir()
    artifacts.write_file(tmp_path / "b.bin", b"whole")
    assert {path.name for path in partial(tmp_path)} == set(names)


def test_number_of_an_earlier_process_is_not_this_one(tmp_path):
    (tmp_path / f"{leftovers.prefix()}abcdefgh").mkdir()
    artifacts.write_file(tmp_path / "b.bin", b"whole")
    assert partial(tmp_path) == []


@pytest.mark.parametrize("is_new_whole", [True, False])
def test_folder_killed_between_two_renames_comes_back(tmp_path, is_new_whole, killed):
    scratch = tmp_path / f".partial-{killed}-abcdefgh"
    (scratch / "folder.replaced").mkdir(parents=True)
    (scratch / "folder.replaced/old").touch()
    if is_new_whole:
        (scratch / "folder").mkdir()
        (scratch / "folder/new").touch()
    artifacts.write_file(tmp_path / "b.bin", b"whole")
    found = [path.name for path in (tmp_path / "folder").iterdir()]
    assert found == ["new" if is_new_whole else "old"]
    assert partial(tmp_path) == []


@pytest.fixture
def killed():
    """Return host and number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    name = leftovers.prefix().removeprefix(".partial-")
    return name.replace(f"-{os.getpid()}-", f"-{process.pid}")


def test_files_reach_the_disk_before_their_names(tmp_path, monkeypatch):
    calls = []
    flush, replace = os.fsync, artifacts._replace

    def note_flush(descriptor):
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        flush(descriptor)

    def note_replace(*paths):
        calls.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(artifacts, "_replace", note_replace)
    artifacts.write_file(tmp_path / "a.bin", b"content")
    assert calls == ["a.bin", "rename", tmp_path.name]


def test_a_process_that_never_ends_is_alive():
    assert leftovers.is_alive(os.getpid())
    assert leftovers.is_alive(1)
