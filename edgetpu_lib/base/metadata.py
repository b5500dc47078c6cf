"""Read the metadata of a file only if they belong to it and hold what they should."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import (
    InputError,
    metadata_path,
    read_metadata,
    sha256_of,
)


class StaleMetadata(InputError):
    """Metadata that were written for another file than the one beside them."""


def verified_metadata(path: str | Path) -> dict:
    """Return the metadata of an artefact after comparing its SHA-256 with theirs.

    Metadata without a digest, which no program of this library writes, are taken as
    they are. An empty dictionary if there are none.

    Raises:
        StaleMetadata: they were written for another file.
        InputError: they cannot be read, or a value is of another type than
            `save_metadata` is given.
    """
    metadata = _read(path)
    known = metadata.get("sha256")
    if known and Path(path).exists() and known != sha256_of(path):
        raise StaleMetadata(
            f"{metadata_path(path)} belongs to another file than {path} now is; copy"
            " model and metadata together, or delete the metadata"
        )
    return metadata


def resize_of(path: str | Path) -> str:
    """Return how a model's images become square: "crop", or "stretch".

    Its metadata say which, of the prefix of a checkpoint those of its folder; where
    they say nothing, it is "crop". Metadata of another file are not needed for that.

    Raises:
        StaleMetadata: they say "stretch" and were written for another file.
        InputError: as `verified_metadata`.
    """
    if Path(f"{path}.index").is_file():
        path = Path(path).parent
    try:
        metadata = verified_metadata(path)
    except StaleMetadata:
        metadata = _read(path)
        if metadata.get("resize") == "stretch":
            raise
    return metadata.get("resize") or "crop"


def is_own(path: str | Path) -> bool:
    """Return whether a file has metadata with its digest: this library wrote it."""
    try:
        return "sha256" in verified_metadata(path)
    except InputError:
        return False


def _read(path: str | Path) -> dict:
    """Return metadata whose values are of the types that readers rely on."""
    beside = metadata_path(path)
    remedy = "delete it and make the artefact again"
    # A pipe or a device may never end.
    if beside.exists() and not beside.is_file():
        raise InputError(f"{beside} is not a plain file; {remedy}")
    try:
        metadata = read_metadata(path)
    except RecursionError as error:
        raise InputError(f"{beside} is nested too deeply; {remedy}") from error
    for key, fits in _FITS.items():
        if metadata.get(key) is not None and not fits(metadata[key]):
            shown = repr(metadata[key])[:60]
            raise InputError(f"{beside} says {key}: {shown}; {remedy}")
    return metadata


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_channels(value: Any) -> bool:
    """Return whether a value is one number, or three."""
    values = value if isinstance(value, list) else [value]
    known = all(isinstance(each, numbers.Real) for each in values)
    return len(values) in (1, 3) and known


def _is_calibration(value: Any) -> bool:
    return isinstance(value, dict) and _is_whole(value.get("photos", 0))


def _is_resize(value: Any) -> bool:
    """Return whether a value is one of `normalization.Resize`."""
    return value in ("crop", "stretch")


# What readers rely on: key → whether a value of it is of the right type.
_FITS = {
    "calibration": _is_calibration,
    "class_names": _are_names,
    "data_dir": _is_text,
    "mean": _are_channels,
    "resize": _is_resize,
    "seed": _is_whole,
    "sha256": _is_text,
    "stddev": _are_channels,
}
