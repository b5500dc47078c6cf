"""Write the segments of a TFLite file, each with its part of the metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetpu_lib.base.artifacts import atomic_files, save_metadata, sha256_of
from edgetpu_lib.tflite.labels import labels_inside
from edgetpu_lib.tflite.pipeline import require_equal

# What is known of the whole file alone, and not of its segments.
_OF_THE_WHOLE = "sha256 versions edge_tpu_operators cpu_operators agreement".split()
# What the first segment takes, and what the last one gives.
_OF_THE_INPUT = ("input", "mean", "stddev", "image_size")
_OF_THE_OUTPUT = ("class_names",)


def write_segments(
    model: str | Path,
    contents: Sequence[bytes],
    folder: str | Path,
    *,
    metadata: dict[str, Any],
) -> list[Path]:
    """Write the files of all segments with their metadata, or nothing.

    They are named as the compiler names its own: NAME_segment_0_of_2.tflite.

    Args:
        model: the whole file.
        contents: of the segments, in order.
        folder: made if it is missing.
        metadata: of the whole; the first segment keeps what belongs to the input, the
            last one the class names, from here or from inside the file.

    Raises:
        InputError: run one after another, the segments do not equal the whole, or the
            folder cannot be written.
    """
    require_equal(model, contents)
    labels = metadata.get("class_names") or labels_inside(model)
    whole = {**metadata, **({"class_names": labels} if labels else {})}
    of_model = {"file": Path(model).name, "sha256": sha256_of(model)}
    stem, count = Path(model).stem, len(contents)
    names = [f"{stem}_segment_{k}_of_{count}.tflite" for k in range(count)]
    with atomic_files(folder) as made:
        for place, name in enumerate(names):
            (made / name).write_bytes(contents[place])
            part = {"of": of_model, "index": place, "segments": count}
            save_metadata(made / name, **_facts(whole, place, count), segment=part)
    return [Path(folder) / name for name in names]


def _facts(metadata: dict[str, Any], place: int, count: int) -> dict[str, Any]:
    """Return the metadata of a segment."""
    left_out = set(_OF_THE_WHOLE)
    left_out |= set(_OF_THE_INPUT) if place else set()
    left_out |= set(_OF_THE_OUTPUT) if place < count - 1 else set()
    return {key: value for key, value in metadata.items() if key not in left_out}
