"""Open a model with its weights: from Keras, TensorFlow, or timm.

Takes the file or folder and the network it belongs to; gives a `keras.Model` with
every tensor filled.
Next: `data` opens images, or `convert` exports the model as it is.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from edgetpu_lib import build
from edgetpu_lib.base.artifacts import InputError, atomic_path, data_file
from edgetpu_lib.base.plain_files import require_plain_file
from edgetpu_lib.weights.fit import LoadReport, compare_tensors, list_problems
from edgetpu_lib.weights.keras_files import (
    SUFFIXES,
    is_saved_model,
    load_model,
    open_saved_model,
)
from edgetpu_lib.weights.names import AVERAGE, CLASSIFIER, reference_names
from edgetpu_lib.weights.network import Network

# Trained by this project; see the model card in data/README.md.
SHIPPED = {
    "efficientnet-edgetpu-S": "checkpoints/efficientnet-edgetpu-S-cifar10.tar.gz"
}
# Tensors of training, not of the model: step counters and optimizer slots.
_LEFTOVER = re.compile(r"(^|/)(global_step|RMSProp(_\d+)?|Momentum|Adam(_\d+)?)$")


def open_model(
    path: str | Path | None = None, network: Network | None = None
) -> keras.Model:
    """Return a Keras model with its weights.

    Args:
        path: a `.keras` or `.h5` file, the folder of a SavedModel, or weights as for
            `load_weights`; `None` takes `network.ckpt_dir`.
        network: what the weights belong to, by default S; a whole model needs none.

    Raises:
        InputError: no weights are given, or they cannot be loaded.
    """
    network = network or Network()
    path = path or network.ckpt_dir
    if not path:
        raise InputError(
            "no weights given; add --ckpt_dir=FOLDER or --model=FILE.keras"
        )
    if str(path).endswith(SUFFIXES):
        return load_model(path)
    if is_saved_model(path):
        return open_saved_model(path, network.image_size)
    model = build.build_model(
        network.model_name, num_classes=network.num_classes or 1001, **network.overrides
    )
    load_weights(model, path, use_ema=network.enable_ema)
    return model


def load_weights(
    model: keras.Model,
    path: str | Path,
    *,
    use_ema: bool = True,
    include_classifier: bool = True,
) -> LoadReport:
    """Fill `model` from a TensorFlow-1 checkpoint or timm's file, or not at all.

    Args:
        model: from `build.build_model`; its name is the checkpoint's variable scope.
        path: a folder with `checkpoint` and `model.ckpt*`, the prefix of such files,
            or a `.tar.gz` of the folder. Without `checkpoint`, the highest step wins.
            A `.safetensors` file is read as `timm.load_timm_weights` does.
        use_ema: load the exponential moving averages, which the published accuracy
            was measured with (batch-norm statistics included), not the raw values.
        include_classifier: load the last dense layer too; False keeps the model's
            own, for another number of classes.

    Raises:
        InputError: there is no readable checkpoint at `path`, or a tensor is missing,
            unexpected or of another shape; the model is then unchanged.

    See: notebooks/01_build.ipynb.
    """
    if str(path).endswith(".safetensors"):
        from edgetpu_lib.weights.timm import load_timm_weights

        return load_timm_weights(model, path, include_classifier=include_classifier)
    with _unpacked(Path(path)) as folder:
        shapes, read = _open_checkpoint(_find_prefix(folder, path), path)
        names = reference_names(model)
        wanted = {
            name: variable
            for name, variable in names.items()
            if include_classifier or CLASSIFIER not in name
        }
        suffix = AVERAGE if use_ema else ""
        _require_values(model.name, shapes, use_ema, path)
        _require_fit(model.name, names, wanted, shapes, suffix, path)
        # Everything is read before anything is assigned.
        values = {name: read(name + suffix) for name in wanted}
        step = int(read("global_step")) if "global_step" in shapes else None
    for name, variable in wanted.items():
        variable.assign(values[name])
    loaded = tuple(name + suffix for name in wanted)
    return LoadReport(
        checkpoint=str(path),
        use_ema=use_ema,
        global_step=step,
        loaded=loaded,
        kept=tuple(name for name in names if name not in wanted),
        ignored=tuple(sorted(set(shapes) - set(loaded))),
    )


def shipped_checkpoint(model_name: str) -> Path | None:
    """Return the path of the checkpoint that ships for a model; None if none does.

    Raises:
        InputError: the file was not installed.
    """
    return data_file(SHIPPED[model_name]) if model_name in SHIPPED else None


def save_model(model: keras.Model, path: str | Path) -> Path:
    """Write a functional model to a `.keras` file, without the optimizer's state.

    Raises:
        InputError: the name does not end in `.keras`, or the file cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise InputError(f"{path} must end in .keras; choose such a name")
    with atomic_path(path) as scratch:
        # A new wrapper is not compiled, and so holds no optimizer.
        keras.Model(model.input, model.output, name=model.name).save(scratch)
    return Path(path)


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights, in hex, for any kind of file."""
    digest = hashlib.sha256()
    # `variables` would also hold the state of dropout's random numbers.
    for variable in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{value.dtype} {value.shape} ".encode())
        digest.update(value)
    return digest.hexdigest()


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield the folder or prefix itself, or a temporary folder with a tar's content."""
    if not path.name.endswith((".tar.gz", ".tgz", ".tar")):
        yield path
        return
    require_plain_file(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter="data")
        except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path} cannot be unpacked ({reason}); download it again"
            ) from error
        yield Path(folder)


def _find_prefix(folder: Path, given: str | Path) -> Path:
    """Return the checkpoint prefix that `folder` names or holds."""
    if folder.with_name(folder.name + ".index").is_file():
        return folder
    if not folder.is_dir():
        raise InputError(
            f"no checkpoint at {given}; give the folder that holds `checkpoint` and"
            " `model.ckpt*`, their common prefix, or the .tar.gz; or of a whole model"
            " the .keras or .h5 file, or the folder of its SavedModel"
        )
    indexes = list(folder.rglob("*.index"))
    folders = {index.parent for index in indexes}
    if len(folders) != 1:
        raise InputError(
            f"{given} holds {'no' if not folders else 'more than one'} checkpoint;"
            " give a folder with `checkpoint` and `model.ckpt*`"
        )
    return _recorded_prefix(folders.pop()) or max(indexes, key=_step).with_suffix("")


def _recorded_prefix(folder: Path) -> Path | None:
    """Return the prefix that the file `checkpoint` names, if its weights exist."""
    import tensorflow as tf

    if not (folder / "checkpoint").is_file():
        return None
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except (tf.errors.OpError, ValueError):
        return None  # The file is damaged; the weights need not be.
    prefix = state and state.model_checkpoint_path
    return Path(prefix) if prefix and Path(f"{prefix}.index").is_file() else None


def _step(index: Path) -> tuple[int, str]:
    """Return the training step in the name of an index file, and the name."""
    match = re.search(r"-(\d+)$", index.stem)
    return (int(match[1]) if match else -1), index.name


def _open_checkpoint(
    prefix: Path, given: str | Path
) -> tuple[dict[str, tuple[int, ...]], Callable[[str], np.ndarray]]:
    """Return the shape of every tensor, by its name, and a function that reads one."""
    import tensorflow as tf

    for part in prefix.parent.glob(f"{glob.escape(prefix.name)}.*"):
        require_plain_file(part)

    def damaged(error: Exception) -> InputError:
        first_line = str(error).strip().splitlines()[0]
        return InputError(
            f"checkpoint {given} is damaged or incomplete ({first_line});"
            " copy or download it again"
        )

    def read(name: str) -> np.ndarray:
        try:
            return reader.get_tensor(name)
        except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
            raise damaged(error) from error

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise damaged(error) from error
    return {name: tuple(shape) for name, shape in shapes.items()}, read


def _require_values(
    model_name: str, names: Iterable[str], use_ema: bool, path: str | Path
) -> None:
    """Refuse a checkpoint of another model, or without the kind of values asked for."""
    scopes = {name.split("/")[0] for name in names if "/" in name}
    if scopes and model_name not in scopes:
        raise InputError(
            f"{path} holds {', '.join(sorted(scopes))}, not {model_name};"
            " give the model name that the checkpoint was trained with"
        )
    averaged = [name for name in names if name.endswith(AVERAGE)]
    if use_ema and not averaged:
        raise InputError(
            f"{path} holds no moving averages; load the raw values with"
            " use_ema=False (--enable_ema=False)"
        )
    raw = [n for n in names if not n.endswith(AVERAGE) and not _LEFTOVER.search(n)]
    if not use_ema and averaged and not raw:
        raise InputError(
            f"{path} holds moving averages only; load them with use_ema=True"
            " (--enable_ema=True)"
        )


def _require_fit(
    model_name: str,
    names: Iterable[str],
    wanted: Mapping[str, keras.Variable],
    shapes: Mapping[str, tuple[int, ...]],
    suffix: str,
    path: str | Path,
) -> None:
    """Compare the variables that are `wanted` with the tensors of the checkpoint."""
    problems = compare_tensors(
        {name + suffix: tuple(variable.shape) for name, variable in wanted.items()},
        shapes,
        lambda n: n.removesuffix(AVERAGE) in names or bool(_LEFTOVER.search(n)),
    )
    if not problems:
        return
    remedy = "check the model name and the overrides (width, depth, classes)"
    if all(CLASSIFIER in line for lines in problems.values() for line in lines):
        remedy = "set num_classes to match, or leave the classifier out"
    raise InputError(
        f"{path} does not fit {model_name}: tensors {list_problems(problems)}; {remedy}"
    )
