"""Write a Keras model as a checkpoint that the reference's own tools load."""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from edgetpu_lib.base.artifacts import InputError, atomic_path
from edgetpu_lib.weights.fit import compare_tensors, list_problems
from edgetpu_lib.weights.names import AVERAGE, reference_names

_PACKED = (".tar.gz", ".tgz")
# What a checkpoint folder consists of: nothing else is ever replaced.
_CHECKPOINT_FILE = re.compile(
    r"checkpoint|model\.ckpt.*\.(index|meta|data-\d{5}-of-\d{5})"
)


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    averages: Mapping[str, np.ndarray] | None = None,
    global_step: int = 0,
    only_averages: bool = False,
    round_to_bfloat16: bool = False,
) -> Path:
    """Write a model's weights as a TensorFlow-1 checkpoint, whole or not at all.

    It holds what the reference's checkpoints hold: every weight as float32 under its
    name and, averaged, under the name followed by "/ExponentialMovingAverage", and
    `global_step` as int64.

    Args:
        model: from `build.build_model`.
        path: the folder to make or replace, or a name that ends in `.tar.gz` or
            `.tgz` to pack the folder; the same values give the same bytes.
        averages: the averaged value of every weight, by the names of
            `names.reference_names`; `None` takes the model's own values.
        global_step: training step, at least 0; it is also part of the file names.
        only_averages: write the averaged values alone, without `global_step`: half
            of the size, and enough for `load_weights` and the reference's evaluation.
        round_to_bfloat16: round values to the nearest bfloat16, ties to even. They
            are still stored as float32, and packing then saves half of the size.

    Raises:
        InputError: the model is of another family, the averages do not fit it, the
            step is negative, the name ends in `.tar`, the folder holds anything but a
            checkpoint, or it cannot be written.

    Source: checkpoints that tensorflow/tpu models/official/efficientnet wrote.
    """
    path = Path(path)
    if not 0 <= global_step < 2**63:
        raise InputError(f"global_step={global_step} must be at least 0")
    if path.suffix == ".tar":
        raise InputError(f"{path} must not end in .tar; use .tar.gz or a folder")
    tensors = _tensors(model, averages)
    if round_to_bfloat16:
        tensors = {name: _as_bfloat16(value) for name, value in tensors.items()}
    if only_averages:
        tensors = {n: value for n, value in tensors.items() if n.endswith(AVERAGE)}
    else:
        tensors["global_step"] = np.asarray(global_step, np.int64)
    with atomic_path(path) as scratch:
        _require_replaceable(path)
        if not path.name.endswith(_PACKED):
            _write_folder(scratch, tensors, global_step)
        else:
            folder = scratch.with_name("unpacked")
            _write_folder(folder, tensors, global_step)
            _pack(folder, scratch, model.name)
    return path


def _require_replaceable(path: Path) -> None:
    """Raise InputError if the folder to replace holds anything but a checkpoint."""
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        if not _CHECKPOINT_FILE.fullmatch(file.name):
            raise InputError(
                f"{path} holds {file.name}, which is no part of a checkpoint and would"
                " be lost; choose an empty or a new folder"
            )


def _tensors(
    model: keras.Model, averages: Mapping[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """Return all weights by the reference's names, raw and averaged, as float32."""
    raw = {
        name: np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
        for name, variable in reference_names(model).items()
    }
    if averages is None:
        averages = raw
    given = {name: np.asarray(value, np.float32) for name, value in averages.items()}
    problems = compare_tensors(
        {name: value.shape for name, value in raw.items()},
        {name: value.shape for name, value in given.items()},
        lambda name: False,
    )
    if problems:
        raise InputError(
            f"averages do not fit {model.name}: tensors {list_problems(problems)};"
            " give one array for every name of reference_names"
        )
    return raw | {name + AVERAGE: value for name, value in given.items()}


def _as_bfloat16(value: np.ndarray) -> np.ndarray:
    """Return float32 rounded to the nearest bfloat16, ties to even.

    Integer arithmetic, because some processors round subnormal numbers to zero.
    """
    bits = value.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(value), value, rounded.view(np.float32))


def _write_folder(
    folder: Path, tensors: dict[str, np.ndarray], global_step: int
) -> None:
    """Write a checkpoint's three files into a new folder."""
    import tensorflow as tf

    folder.mkdir()
    name = f"model.ckpt-{global_step}"
    names = sorted(tensors)
    try:
        tf.raw_ops.SaveV2(
            prefix=str(folder / name),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(tensors[name]) for name in names],
        )
    except tf.errors.OpError as error:
        # "{{node …}} /path; No space left on device [Op:SaveV2]": the reason alone.
        reason = error.message.splitlines()[0].split("; ")[-1]
        raise OSError(reason.removesuffix(" [Op:SaveV2]")) from error
    # Relative, so that the folder can be moved.
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
    )


def _pack(folder: Path, target: Path, name: str) -> None:
    """Write a folder's files as `.tar.gz`, below `name`, without times and owners."""
    with (
        open(target, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(f"{name}/{path.name}")
            entry.size = path.stat().st_size
            with open(path, "rb") as content:
                tar.addfile(entry, content)
