"""Write files atomically, and save and verify the metadata beside them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgetpu_lib.base import leftovers
from edgetpu_lib.base.lock import exclusive
from edgetpu_lib.base.quiet import start_tensorflow

# Another run holds a folder only while it renames: no longer than this is waited.
_MAX_WAIT_S = 10.0


class InputError(ValueError):
    """Invalid input of the user; the message is one line that says what to do."""


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `target` only if the block succeeds.

    The target is a file or folder; missing parent folders are made. The temporary path
    lies beside it, so that the final rename never crosses a file system.

    Two runs may write the same target: it is that of the later one, whole.

    Raises:
        InputError: the parent folder cannot be written, or the disk is full.
    """
    target = Path(target)
    scratch = _scratch_folder(target)
    try:
        yield scratch / target.name
        leftovers.flush(scratch / target.name)
        with exclusive(target.parent, wait_s=_MAX_WAIT_S):
            _replace(scratch / target.name, target)
        leftovers.flush_one(target.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; {remedy_of(error)}"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remedy_of(error: OSError) -> str:
    """Return what to do about an error of writing: only a full disk needs space."""
    # TensorFlow tells the words of the system, without its number.
    words = str(error.strerror or error)
    full = [os.strerror(number).lower() for number in (errno.ENOSPC, errno.EDQUOT)]
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or any(
        each in words.lower() for each in full
    ):
        return "free some space or choose another output path"
    return "choose another output path"


def require_writable(target: str | Path) -> None:
    """Raise InputError if the target's folder cannot be made or written."""
    _scratch_folder(Path(target)).rmdir()


def _scratch_folder(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with leftovers.LOCK:
            leftovers.remove(target.parent)
            name = tempfile.mkdtemp(prefix=leftovers.prefix(), dir=target.parent)
            leftovers.keep(Path(name))
        return Path(name)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}; choose another output path"
        ) from error


def _replace(source: Path, target: Path) -> None:
    """Rename `source` to `target`; a folder that is in the way is replaced."""
    if source.is_dir() and target.is_dir():
        old = source.with_name(target.name + leftovers.REPLACED)
        target.rename(old)
        try:
            source.rename(target)
        except BaseException:
            old.rename(target)
            raise
    else:
        source.replace(target)


@contextlib.contextmanager
def atomic_files(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder whose files all become files of `folder`, or none.

    Other files of the folder stay; it is made if it is missing.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    scratch = _scratch_folder(folder / "results")
    made, replaced = scratch / "made", scratch / "replaced"
    try:
        made.mkdir()
        replaced.mkdir()
        yield made
        _move_files(made, folder, replaced)
    except InputError as error:
        # The reader knows the folder, not the temporary one.
        raise InputError(str(error).replace(str(made), str(folder))) from error
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; {remedy_of(error)}"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        # Succeeds only if nothing was written, and nothing else was there.
        with contextlib.suppress(OSError):
            folder.rmdir()


def _move_files(source: Path, folder: Path, replaced: Path) -> None:
    """Move all files of a folder into another; if one fails, undo the others."""
    moved = []
    try:
        for path in sorted(source.iterdir()):
            target = folder / path.name
            if target.is_file():
                target.rename(replaced / path.name)
            path.rename(target)
            moved.append(target)
    except BaseException:
        for target in moved:
            target.unlink()
        for old in replaced.iterdir():
            old.rename(folder / old.name)
        raise


def write_file(target: str | Path, content: bytes) -> Path:
    """Write a file atomically and return its path; InputError if that fails."""
    with atomic_path(target) as path:
        path.write_bytes(content)
    return Path(target)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder's names and contents, in hex."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{sha256_of(f)}  {f.relative_to(path).as_posix()}\n" for f in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    # Not `hashlib.file_digest`, which a board's Python 3.9 lacks.
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def metadata_path(path: str | Path) -> Path:
    """Return the path of an artefact's metadata: its name plus `.json`."""
    return Path(f"{Path(path)}.json")


def save_metadata(path: str | Path, **facts: object) -> Path:
    """Write the metadata of an artefact (file or folder) beside it; return its path.

    The JSON object holds the facts plus `sha256` and `versions`.

    Raises:
        InputError: the metadata cannot be written.
    """
    metadata = {**facts, "sha256": sha256_of(path), "versions": library_versions()}
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    return write_file(metadata_path(path), text.encode())


@contextlib.contextmanager
def one_writer(path: str | Path) -> Iterator[None]:
    """Let no other run write beside `path` until its metadata are written too.

    Two runs with one output would otherwise leave the file of one and the metadata of
    the other.
    """
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, wait_s=_MAX_WAIT_S):
        yield


def read_metadata(path: str | Path) -> dict:
    """Return the metadata of an artefact, or an empty dictionary if it has none.

    Raises:
        InputError: the metadata is not a JSON object.
    """
    try:
        metadata = json.loads(metadata_path(path).read_text(encoding="utf-8"))
        if not isinstance(metadata, dict):
            raise ValueError("not a JSON object")
        return metadata
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, OSError) as error:
        raise InputError(
            f"{metadata_path(path)} holds no readable metadata ({error});"
            " delete it and make the artefact again"
        ) from error


def require_artifact(folder: str | Path, name: str, *, made_by: str) -> Path:
    """Return the path of an artefact after verifying its SHA-256.

    Raises:
        InputError: the artefact is missing or differs from its metadata; the message
            names the notebook `made_by`.
    """
    path = Path(folder) / name
    metadata = read_metadata(path)
    if not path.exists() or not metadata:
        raise InputError(f"{path} is missing; run notebook {made_by} first")
    if metadata.get("sha256") != sha256_of(path):
        raise InputError(f"{path} changed since it was made; run {made_by} again")
    return path


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape results."""
    # Imported here: `check` needs no versions and starts sooner.
    from edgetpu_lib.base import environment

    names = ("edgetpu_lib", "tensorflow", "keras", "ai-edge-litert", "numpy")
    python = {"python": platform.python_version()}
    return python | environment.installed_versions(names)


def check_environment() -> str:
    """Start TensorFlow and return a line with the versions of the libraries.

    Another line follows for each library that is newer than tested.

    Raises:
        InputError: Python or a library is missing, too old or too new, TensorFlow
            cannot be loaded, or the kernel must be restarted.
    """
    from edgetpu_lib.base import environment

    if problems := environment.find_problems():
        raise InputError("; ".join(problems))
    versions = library_versions()
    try:
        start_tensorflow()
    # What a NumPy of another binary interface raises is not always an ImportError.
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        tensorflow, numpy = (versions.get(n, "?") for n in ("tensorflow", "numpy"))
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"TensorFlow {tensorflow} cannot be loaded with NumPy {numpy} ({reason});"
            " `%pip install --force-reinstall tensorflow numpy` and restart the kernel"
        ) from error
    line = " · ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([line, *environment.newer_than_tested(versions)])


def data_file(name: str) -> Path:
    """Return the path of a file that ships with the package.

    Args:
        name: below `data/`, for example "samples/tulip_1.jpg".

    Raises:
        InputError: there is no such file.
    """
    package = Path(__file__).parents[1]
    # In an installed wheel the files lie inside the package, in a clone beside it.
    for folder in (package / "data_files", package.parent / "data"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"no file {name!r} ships with edgetpu_lib; see data/README.md")
