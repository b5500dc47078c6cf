"""Load the published TensorFlow-1 checkpoints into the Keras model.

Takes a checkpoint folder, prefix or tarball; gives a model with every tensor filled.
Next: `data` brings images, or `convert` exports the model as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from edgetpu_lib.base.artifacts import InputError, atomic_path, data_file

# Trained by this project; see the model card in data/README.md.
SHIPPED = {
    "efficientnet-edgetpu-S": "checkpoints/efficientnet-edgetpu-S-cifar10.tar.gz"
}
AVERAGE = "/ExponentialMovingAverage"

# Layers of a block and the variable scopes the reference gave them, in its order of
# creation. Source: names read from checkpoints that tensorflow/tpu
# models/official/efficientnet wrote.
_LAYERS = {
    "conv": "conv2d",
    "bn": "tpu_batch_normalization",
    "expand_conv": "conv2d",
    "expand_bn": "tpu_batch_normalization",
    "project_conv": "conv2d_1",
}
_FUSED = {"project_bn": "tpu_batch_normalization_1"}
_INVERTED = {
    "depthwise_conv": "depthwise_conv2d",
    "depthwise_bn": "tpu_batch_normalization_1",
    "project_bn": "tpu_batch_normalization_2",
}
# What training leaves behind besides the weights: step counters and optimizer slots.
_LEFTOVER = re.compile(r"(^|/)(global_step|RMSProp(_\d+)?|Momentum|Adam(_\d+)?)$")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        checkpoint: what was read, as it was given.
        use_ema: whether the averaged values were taken.
        global_step: training step of the checkpoint; None if it holds none.
        loaded: names of the checkpoint tensors now in the model.
        kept: model weights left as they were (the classifier, on request).
        ignored: checkpoint tensors not used: the other half of each raw/averaged
            pair, and training leftovers.
    """

    checkpoint: str
    use_ema: bool
    global_step: int | None
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    ignored: tuple[str, ...]


def load_weights(
    model: keras.Model,
    path: str | Path,
    *,
    use_ema: bool = True,
    include_classifier: bool = True,
) -> LoadReport:
    """Fill `model` from a TensorFlow-1 checkpoint, completely or not at all.

    Args:
        model: from `build.build_model`; its name is the checkpoint's variable scope.
        path: a folder with `checkpoint` and `model.ckpt*`, the prefix of such files,
            or a `.tar.gz` of the folder.
        use_ema: take the exponential moving averages (the published accuracy is
            theirs, batch-norm statistics included), not the raw values.
        include_classifier: load the last dense layer too; False keeps the model's
            own, for another number of classes.

    Returns:
        The list of what was loaded, kept and ignored.

    Raises:
        InputError: nothing readable is at `path`, or any tensor is missing,
            unexpected or of another shape; the model is then unchanged.

    See: notebooks/01_build.ipynb.
    """
    with _unpacked(Path(path)) as folder:
        shapes, read = _open_checkpoint(_find_prefix(folder, path), path)
        names = reference_names(model)
        wanted = {
            name: variable
            for name, variable in names.items()
            if include_classifier or "/head/dense/" not in name
        }
        kept = [name for name in names if name not in wanted]
        suffix = AVERAGE if use_ema else ""
        _check_complete(model, wanted, kept, shapes, suffix, path)
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
        kept=tuple(kept),
        ignored=tuple(sorted(set(shapes) - set(loaded))),
    )


def shipped_checkpoint(model_name: str) -> Path | None:
    """Return the checkpoint that ships for a model of the published width and depth.

    Args:
        model_name: any.

    Returns:
        The path; None where none ships.

    Raises:
        InputError: the file was not installed.
    """
    return data_file(SHIPPED[model_name]) if model_name in SHIPPED else None


def save_model(model: keras.Model, path: str | Path) -> Path:
    """Write a model to a `.keras` file, without the optimizer's state.

    Args:
        model: any functional model.
        path: ends in `.keras`.

    Raises:
        InputError: the name ends otherwise, or the file cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise InputError(f"{path} must end in .keras; choose such a name")
    with atomic_path(path) as scratch:
        # Wrapped anew, the model is not compiled and holds no optimizer.
        keras.Model(model.input, model.output, name=model.name).save(scratch)
    return Path(path)


def load_model(path: str | Path) -> keras.Model:
    """Read a model that `save_model` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not Path(path).is_file():
        raise InputError(f"no model at {path}; give a .keras file")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a damaged file.
        first_line = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"{path} is not a readable .keras model ({first_line}); make it again"
        ) from error


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights, in hex.

    The same weights have the same digest, whatever file they came from.
    """
    digest = hashlib.sha256()
    # Not `variables`, which hold the state of dropout's random numbers, too.
    for variable in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{value.dtype} {value.shape} ".encode())
        digest.update(value)
    return digest.hexdigest()


def reference_names(model: keras.Model) -> dict[str, keras.Variable]:
    """Map the reference's variable name of every weight to the model's variable.

    Args:
        model: from `build.build_model`.

    Returns:
        One entry a weight, for example
        "efficientnet-edgetpu-S/blocks_0/conv2d/kernel".

    Raises:
        InputError: the model has a layer with weights that the reference lacks.
    """
    layer_names = {layer.name for layer in model.layers}
    names = {}
    for layer in model.layers:
        for weight in layer.weights:
            scope = _reference_scope(layer.name, layer_names)
            leaf = weight.name
            if leaf == "kernel" and "depthwise" in layer.name:
                leaf = "depthwise_kernel"
            names[f"{model.name}/{scope}/{leaf}"] = weight
    return names


def _reference_scope(layer_name: str, layer_names: set[str]) -> str:
    """Return the scope of a layer, for example "blocks_3/conv2d_1".

    Raises:
        InputError: the reference has no such layer.
    """
    if layer_name == "logits":
        return "head/dense"
    match = re.fullmatch(r"(stem|head|block_(\d+))_(\w+)", layer_name)
    if not match:
        raise InputError(
            f"layer {layer_name!r} is none of this family; build the model with"
            " build.build_model"
        )
    part, number, layer = match.groups()
    if number is None:
        return f"{part}/{_LAYERS[layer]}"
    inverted = f"block_{number}_depthwise_conv" in layer_names
    scopes = {**_LAYERS, **(_INVERTED if inverted else _FUSED)}
    return f"blocks_{number}/{scopes[layer]}"


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield the folder or prefix itself, or a temporary folder with a tar's content."""
    if not path.name.endswith((".tar.gz", ".tgz", ".tar")):
        yield path
        return
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
    """Return the checkpoint prefix that `folder` names or holds.

    Raises:
        InputError: there is none; the message names what was `given`.
    """
    import tensorflow as tf

    if folder.with_name(folder.name + ".index").is_file():
        return folder
    if not folder.is_dir():
        raise InputError(
            f"no checkpoint at {given}; give the folder that holds `checkpoint` and"
            " `model.ckpt*`, their common prefix, or the .tar.gz"
        )
    indexes = sorted(folder.rglob("*.index"))
    folders = {index.parent for index in indexes}
    if len(folders) != 1:
        raise InputError(
            f"{given} holds {'no' if not folders else 'more than one'} checkpoint;"
            " give a folder with `checkpoint` and `model.ckpt*`"
        )
    try:
        latest = tf.train.latest_checkpoint(str(folders.pop()))
    except (tf.errors.OpError, ValueError):
        latest = None  # The file `checkpoint` is damaged; the weights need not be.
    return Path(latest) if latest else indexes[-1].with_suffix("")


def _open_checkpoint(prefix: Path, given: str | Path):
    """Return ({name: shape}, read) of a checkpoint.

    Raises:
        InputError: its files are damaged or incomplete.
    """
    import tensorflow as tf

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


def _check_complete(
    model: keras.Model,
    wanted: dict[str, keras.Variable],
    kept: list[str],
    shapes: dict[str, tuple[int, ...]],
    suffix: str,
    path: str | Path,
) -> None:
    """Compare what the model wants with what the checkpoint holds.

    Raises:
        InputError: anything is missing, unexpected or of another shape.
    """
    scopes = {name.split("/")[0] for name in shapes if "/" in name}
    if scopes and model.name not in scopes:
        raise InputError(
            f"{path} holds {', '.join(sorted(scopes))}, not {model.name};"
            " give the model name that the checkpoint was trained with"
        )
    averaged = {name for name in shapes if name.endswith(AVERAGE)}
    if suffix and not averaged:
        raise InputError(
            f"{path} holds no moving averages; load the raw values with"
            " use_ema=False (--enable_ema=False)"
        )
    others = set(shapes) - averaged
    if not suffix and averaged and all(_LEFTOVER.search(name) for name in others):
        raise InputError(
            f"{path} holds moving averages only; load them with use_ema=True"
            " (--enable_ema=True)"
        )
    problems = {
        "missing": [name + suffix for name in wanted if name + suffix not in shapes],
        "of another shape": [
            f"{name} is {shapes[name + suffix]} but the model has {tuple(weight.shape)}"
            for name, weight in wanted.items()
            if shapes.get(name + suffix, weight.shape) != tuple(weight.shape)
        ],
        "unexpected": [
            name
            for name in sorted(shapes)
            if name.removesuffix(AVERAGE) not in {*wanted, *kept}
            and not _LEFTOVER.search(name)
        ],
    }
    if not any(problems.values()):
        return
    remedy = "check the model name and the overrides (width, depth, classes)"
    if all("/head/dense/" in line for lines in problems.values() for line in lines):
        remedy = "set num_classes to match, or leave the classifier out"
    raise InputError(
        f"{path} does not fit {model.name}: tensors {list_problems(problems)}; {remedy}"
    )


def list_problems(problems: dict[str, list[str]]) -> str:
    """Return one line with the first tensors of each kind of problem, for an error."""
    return "; ".join(
        f"{len(lines)} {kind} ({', '.join(lines[:3])}{', …' if lines[3:] else ''})"
        for kind, lines in problems.items()
        if lines
    )
