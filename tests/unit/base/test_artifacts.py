"""Files are whole or absent, and their records tell when they changed."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from edgetpu_lib.base import artifacts, environment
from edgetpu_lib.base.artifacts import InputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_is_written_whole_and_alone(tmp_path):
    path = artifacts.write_file(tmp_path / "new" / "folder" / "a.bin", b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["a.bin"]


def test_file_is_replaced(tmp_path):
    artifacts.write_file(tmp_path / "a.bin", b"old")
    artifacts.write_file(str(tmp_path / "a.bin"), b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, RuntimeError, SystemExit, MemoryError]
)
def test_failed_block_keeps_the_old_file(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), artifacts.atomic_path(target) as path:
        path.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_failed_block_makes_no_file(tmp_path):
    with pytest.raises(RuntimeError), artifacts.atomic_path(tmp_path / "a") as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert names(tmp_path) == []


def test_target_does_not_change_while_the_block_runs(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with artifacts.atomic_path(target) as path:
        path.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def test_whole_folders_are_written_and_replaced(tmp_path):
    for content in (b"old", b"new"):
        with artifacts.atomic_path(tmp_path / "folder") as path:
            path.mkdir()
            (path / content.decode()).write_bytes(content)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["new"]


def test_failed_block_keeps_the_old_folder(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(KeyboardInterrupt), artifacts.atomic_path(target) as path:
        path.mkdir()
        raise KeyboardInterrupt
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_folder_in_the_way_of_a_file_is_kept(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(InputError, match=str(tmp_path / "a")):
        artifacts.write_file(tmp_path / "a", b"content")
    assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path) == ["a"]


def test_output_below_a_file_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    target = tmp_path / "file" / "a.bin"
    with pytest.raises(InputError, match=str(target)):
        artifacts.write_file(target, b"content")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_unwritable_folder_is_named(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(artifacts.tempfile, "mkdtemp", refuse)
    with pytest.raises(InputError) as caught:
        artifacts.write_file(tmp_path / "a.bin", b"content")
    assert str(tmp_path / "a.bin") in str(caught.value)
    assert "Permission denied" in str(caught.value)


def test_writability_is_found_out_without_a_trace(tmp_path):
    artifacts.require_writable(tmp_path / "a.bin")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=str(tmp_path / "file" / "a.bin")):
        artifacts.require_writable(tmp_path / "file" / "a.bin")


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fill(self, content):
        with open(self, "wb") as stream:
            stream.write(content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(InputError) as caught:
        artifacts.write_file(target, b"content")
    assert str(target) in str(caught.value)
    assert "No space left" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        # TensorFlow tells no number.
        (OSError("/x: No space left on device"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.EFBIG, "File too large"), False),
        (OSError(errno.EIO, "Input/output error"), False),
    ],
    ids=str,
)
def test_only_a_full_disk_needs_space(tmp_path, error, is_full):
    with pytest.raises(artifacts.InputError) as caught:
        with artifacts.atomic_path(tmp_path / "out"):
            raise error
    assert ("free some space" in str(caught.value)) == is_full
    assert list(tmp_path.iterdir()) == []


def test_hash_of_a_file_is_its_sha256(tmp_path):
    path = tmp_path / "a.bin"
    content = bytes(range(256)) * 9000  # more than one chunk
    path.write_bytes(content)
    assert artifacts.sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_hash_of_a_folder_knows_names_and_contents(tmp_path):
    def folder(name, **files):
        path = tmp_path / name
        for file, text in files.items():
            artifacts.write_file(path / "sub" / file, text.encode())
        return artifacts.sha256_of(path)

    first = folder("a", x="1", y="2")
    assert folder("b", y="2", x="1") == first
    assert folder("c", x="2", y="1") != first
    assert folder("d", x="1", z="2") != first


def test_record_lies_beside_its_artefact(tmp_path):
    path = artifacts.write_file(tmp_path / "S_quant.tflite", b"model")
    metadata = artifacts.save_metadata(path, class_names=("rose", "ñandú"), top1=0.5)
    assert metadata == tmp_path / "S_quant.tflite.json"
    content = json.loads(metadata.read_text(encoding="utf-8"))
    assert content["class_names"] == ["rose", "ñandú"]
    assert content["top1"] == 0.5
    assert content["sha256"] == hashlib.sha256(b"model").hexdigest()
    assert content["versions"]["python"]
    assert artifacts.read_metadata(path) == content


def test_artefact_without_a_record_has_an_empty_one(tmp_path):
    assert artifacts.read_metadata(tmp_path / "nothing.tflite") == {}
    (tmp_path / "file").touch()
    assert artifacts.read_metadata(tmp_path / "file" / "below") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3"])
def test_damaged_record_is_named(tmp_path, content):
    path = tmp_path / "model.tflite"
    (tmp_path / "model.tflite.json").write_bytes(content)
    with pytest.raises(InputError, match="model.tflite.json"):
        artifacts.read_metadata(path)


@pytest.fixture
def artefact(tmp_path):
    path = artifacts.write_file(tmp_path / "model.tflite", b"model")
    artifacts.save_metadata(path, top1=0.5)
    return path


def require(path):
    return artifacts.require_artifact(path.parent, path.name, made_by="04_quantize")


def test_verified_artefact_is_returned(artefact):
    assert require(artefact) == artefact
    as_string = artifacts.require_artifact(
        str(artefact.parent), artefact.name, made_by="x"
    )
    assert as_string == artefact


def test_verified_folder_is_returned(tmp_path):
    folder = tmp_path / "saved_model"
    artifacts.write_file(folder / "variables" / "v", b"1")
    artifacts.save_metadata(folder)
    assert require(folder) == folder
    artifacts.write_file(folder / "variables" / "v", b"2")
    with pytest.raises(InputError, match="04_quantize"):
        require(folder)


@pytest.mark.parametrize("tampered", ["content", "cut", "no file", "no record"])
def test_artefact_that_cannot_be_trusted_names_its_maker(artefact, tampered):
    if tampered == "content":
        artefact.write_bytes(b"other")
    elif tampered == "cut":
        artefact.write_bytes(b"mod")
    elif tampered == "no file":
        artefact.unlink()
    else:
        artifacts.metadata_path(artefact).unlink()
    with pytest.raises(InputError) as caught:
        require(artefact)
    assert str(artefact) in str(caught.value)
    assert "04_quantize" in str(caught.value)


def test_moved_artefact_is_still_verified(artefact, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(artefact, moved / artefact.name)
    shutil.move(artifacts.metadata_path(artefact), moved)
    assert require(moved / artefact.name).read_bytes() == b"model"


def test_environment_names_the_versions():
    line = artifacts.check_environment()
    versions = artifacts.library_versions()
    assert {"tensorflow", "keras", "ai-edge-litert", "numpy"} <= versions.keys()
    assert all(version in line for version in versions.values())
    assert "\n" not in line


def test_what_is_wrong_becomes_one_line(monkeypatch):
    monkeypatch.setattr(
        environment, "find_problems", lambda: ["this is old", "that too"]
    )
    with pytest.raises(InputError, match="^this is old; that too$"):
        artifacts.check_environment()


def test_a_tensorflow_that_cannot_be_loaded_is_named_with_numpy(monkeypatch):
    def fail():
        raise AttributeError("_ARRAY_API not found")

    monkeypatch.setattr(artifacts, "start_tensorflow", fail)
    with pytest.raises(InputError) as caught:
        artifacts.check_environment()
    assert "_ARRAY_API" in str(caught.value)
    assert artifacts.library_versions()["numpy"] in str(caught.value)


def test_a_library_newer_than_tested_is_remarked_and_let_pass(monkeypatch):
    monkeypatch.setattr(environment, "TESTED", {"keras": "3.0.0"})
    versions, remark = artifacts.check_environment().split("\n")
    assert "tensorflow" in versions
    assert "keras" in remark


def test_small_files_ship_with_the_package():
    assert artifacts.data_file("samples/tulip_1.jpg").read_bytes()[:2] == b"\xff\xd8"
    with pytest.raises(InputError, match="samples/orchid_1.jpg"):
        artifacts.data_file("samples/orchid_1.jpg")


def test_files_of_a_folder_are_all_there_or_none(tmp_path):
    with artifacts.atomic_files(tmp_path / "new") as scratch:
        (scratch / "a").write_text("1")
        (scratch / "b").write_text("2")
    assert names(tmp_path / "new") == ["a", "b"]
    with pytest.raises(KeyError), artifacts.atomic_files(tmp_path / "new") as scratch:
        (scratch / "a").write_text("3")
        raise KeyError
    assert (tmp_path / "new" / "a").read_text() == "1"
    assert names(tmp_path / "new") == ["a", "b"]
    with pytest.raises(KeyError), artifacts.atomic_files(tmp_path / "none"):
        raise KeyError
    assert not (tmp_path / "none").exists()


def test_a_folder_in_the_way_undoes_the_files_before_it(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").mkdir()
    with (
        pytest.raises(InputError, match=str(tmp_path)),
        artifacts.atomic_files(tmp_path) as scratch,
    ):
        for name in "abc":
            (scratch / name).write_text("new")
    assert names(tmp_path) == ["a", "c"]
    assert (tmp_path / "a").read_text() == "old"
