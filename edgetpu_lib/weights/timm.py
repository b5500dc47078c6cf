"""Load timm's files of the published weights, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.weights.fit import LoadReport, compare_tensors, list_problems
from edgetpu_lib.weights.names import reference_names

# The reference's scopes and timm's modules. Source: names read from files that timm
# (huggingface/pytorch-image-models, efficientnet.py and _efficientnet_blocks.py) wrote.
_OUTSIDE_BLOCKS = {
    "stem/conv2d": "conv_stem",
    "stem/tpu_batch_normalization": "bn1",
    "head/conv2d": "conv_head",
    "head/tpu_batch_normalization": "bn2",
    "head/dense": "classifier",
}
_BLOCK = {
    "tpu_batch_normalization": "bn1",
    "depthwise_conv2d": "conv_dw",
    "tpu_batch_normalization_1": "bn2",
    "conv2d_1": "conv_pwl",
    "tpu_batch_normalization_2": "bn3",
}
_LEAVES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_CLASSIFIER = ("classifier.weight", "classifier.bias")
# PyTorch's count of training steps, one a batch normalisation.
_LEFTOVER = ".num_batches_tracked"
# All that float32 holds without rounding.
_DTYPES = ("float32", "float16", "bfloat16")


def load_timm_weights(
    model: keras.Model, path: str | Path, *, include_classifier: bool = True
) -> LoadReport:
    """Fill `model` from timm's `.safetensors`, completely or not at all.

    The file must be of timm's `tf_efficientnet_es`, `tf_efficientnet_em` or
    `tf_efficientnet_el`: Google's weights for the models S, M and L. Files of
    `efficientnet_es` and the like, without `tf_`, hold tensors of the same names and
    shapes, but were trained with another padding and epsilon and predict badly here;
    a file does not tell which of the two it is.

    Classes: a file has ImageNet's 1000 classes without the background, so build the
    model with `num_classes=1000`. Class i is class i + 1 of the published checkpoints.

    Input: Google trained these values on (pixel − 127) / 128, the input of
    `build.build_model`. timm feeds (pixel − 127.5) / 127.5, which differs by at most
    1/128; weights that were fine-tuned in timm expect that.

    Args:
        model: from `build.build_model`.
        path: the file; float32, or float16 or bfloat16, which become float32 exactly.
        include_classifier: load the last dense layer too; False keeps the model's
            own, for another number of classes.

    Raises:
        InputError: there is no readable file at `path`, or a tensor is missing,
            unexpected or of another shape or type; the model is then unchanged.

    Source: (pixel − 127) / 128 and the background class from tensorflow/tpu
    efficientnet_edgetpu_builder.py; mean = std = 0.5, TensorFlow's padding and
    epsilon 1e-3 from huggingface/pytorch-image-models efficientnet.py.
    """
    tensors = _read(path)
    names = timm_names(model)
    wanted = {
        name: variable
        for name, variable in names.items()
        if include_classifier or name not in _CLASSIFIER
    }
    _require_fit(model.name, names, wanted, tensors, path)
    for name, variable in wanted.items():
        value = tensors[name].transpose(_axes(name, variable))
        variable.assign(value.astype(np.float32))
    return LoadReport(
        checkpoint=str(path),
        use_ema=False,
        global_step=None,
        loaded=tuple(wanted),
        kept=tuple(name for name in names if name not in wanted),
        ignored=tuple(sorted(set(tensors) - set(wanted))),
    )


def timm_names(model: keras.Model) -> dict[str, keras.Variable]:
    """Map timm's name of every weight to the model's variable.

    For example "blocks.3.0.conv_dw.weight": timm counts blocks within stages, from 0.
    Its tensors have other orders of axes.

    Raises:
        InputError: the model is of another family.
    """
    parts = {
        tuple(name.split("/")[1:]): variable
        for name, variable in reference_names(model).items()
    }
    inverted = {scope for scope, module, _ in parts if module == "depthwise_conv2d"}
    blocks = {scope for scope, *_ in parts if scope.startswith("blocks_")}
    positions = _block_positions(len(blocks))
    names = {}
    for (scope, layer, leaf), variable in parts.items():
        if scope in blocks:
            stage, repeat = positions[int(scope.removeprefix("blocks_"))]
            first = "conv_pw" if scope in inverted else "conv_exp"
            module = f"blocks.{stage}.{repeat}.{_BLOCK.get(layer, first)}"
        else:
            module = _OUTSIDE_BLOCKS[f"{scope}/{layer}"]
        names[f"{module}.{_LEAVES[leaf]}"] = variable
    return names


def _block_positions(blocks: int) -> list[tuple[int, int]]:
    """Return stage and place in it, both from 0, of each of a network's blocks.

    The number of blocks tells the stages apart: more depth never takes a block away.
    """
    repeats = [stage.repeats for stage in specs.STAGES]
    for depth in sorted({n / r for r in repeats for n in range(1, blocks + 1)}):
        counts = [specs.round_repeats(r, depth) for r in repeats]
        if sum(counts) == blocks:
            return [(s, b) for s, count in enumerate(counts) for b in range(count)]
    raise InputError(
        f"no network of this family has {blocks} blocks; build the model with"
        " build.build_model"
    )


def _read(path: str | Path) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise InputError(f"no file {path}; give timm's model.safetensors")
    try:
        return load_file(path)
    # The last two: types of numbers that NumPy lacks.
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} is not a readable .safetensors file ({reason});"
            " give timm's model.safetensors, or download it again"
        ) from error


def _axes(name: str, variable: keras.Variable) -> tuple[int, ...]:
    """Return the axes of timm's tensor in the order that Keras has them."""
    if ".conv_dw." in name:
        return (2, 3, 0, 1)  # [channels, 1, height, width]
    # [output, input, height, width]; [output, input]; a vector.
    return {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(variable.shape)]


def _timm_shape(name: str, variable: keras.Variable) -> tuple[int, ...]:
    """Return the shape that timm's tensor of a variable has."""
    axes = _axes(name, variable)
    return tuple(variable.shape[axes.index(axis)] for axis in range(len(axes)))


def _require_fit(
    model_name: str,
    names: Iterable[str],
    wanted: Mapping[str, keras.Variable],
    tensors: Mapping[str, np.ndarray],
    path: str | Path,
) -> None:
    """Compare the variables that are `wanted` with the tensors of the file."""
    problems = compare_tensors(
        {name: _timm_shape(name, variable) for name, variable in wanted.items()},
        {name: value.shape for name, value in tensors.items()},
        lambda name: name in names or name.endswith(_LEFTOVER),
    )
    other_types = [
        f"{name} is {tensors[name].dtype}"
        for name in wanted
        if name in tensors and tensors[name].dtype.name not in _DTYPES
    ]
    if other_types:
        problems["of another type"] = other_types
    if not problems:
        return
    remedy = "check the model name and the overrides (width, depth)"
    if all(line.startswith(_CLASSIFIER) for ls in problems.values() for line in ls):
        remedy = "leave the classifier out with include_classifier=False"
        if "classifier.bias" in tensors:
            classes = tensors["classifier.bias"].size
            remedy += f", or set num_classes={classes} (timm has no background class)"
    raise InputError(
        f"{path} does not fit {model_name}: tensors {list_problems(problems)}; {remedy}"
    )
