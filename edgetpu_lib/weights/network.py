"""Build a network and fill it with weights of any format.

Takes a name, changes to it and a file of weights; gives a `keras.Model`.
Keras and TensorFlow are imported by the functions: the command line makes its options
from `Network`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError

if TYPE_CHECKING:
    import keras

DEFAULT_MODEL = next(iter(specs.SPECS))


@dataclasses.dataclass(frozen=True)
class Network:
    """Which network to build, and the weights to fill it with.

    Attributes:
        model_name: efficientnet-edgetpu-S, -M or -L, or the .json file of a network
            that `search` found.
        ckpt_dir: TF-1 checkpoint (folder, prefix or .tar.gz) or .safetensors file of
            timm.
        enable_ema: load the moving averages of a checkpoint, not its raw values.
        image_size: height and width of the input in pixels. [default: the network's]
        num_classes: number of outputs. [default: 1001, in training the data's]
        width_coefficient: factor on channels. [default: the network's]
        depth_coefficient: factor on repeats of blocks. [default: the network's]
    """

    model_name: str = DEFAULT_MODEL
    ckpt_dir: str | None = None
    enable_ema: bool = True
    image_size: int | None = None
    num_classes: int | None = None
    width_coefficient: float | None = None
    depth_coefficient: float | None = None


def open_model(
    path: str | Path | None = None, network: Network | None = None
) -> keras.Model:
    """Return a Keras model with its weights, from a file of any format.

    Args:
        path: a `.keras` file, or weights as `Network.ckpt_dir`; `None` takes
            `network.ckpt_dir`.
        network: what the weights belong to; a `.keras` file needs none.

    Raises:
        InputError: no weights are given, or they cannot be loaded.
    """
    from edgetpu_lib import checkpoint

    network = network or Network()
    path = path or network.ckpt_dir
    if not path:
        raise InputError(
            "no weights given; add --ckpt_dir=FOLDER or --model=FILE.keras"
        )
    if str(path).endswith(".keras"):
        return checkpoint.load_model(path)
    model = build_network(network)
    load_weights(model, path, use_ema=network.enable_ema)
    return model


def build_network(
    network: Network, *, num_classes: int = 1001, **overrides: float | None
) -> keras.Model:
    """Build a network with fresh weights.

    Args:
        network: name and changes.
        num_classes: number of logits if `network` names none.
        **overrides: further arguments of `build.build_model`.

    Raises:
        InputError: the name is unknown or a value is out of range.
    """
    from edgetpu_lib import build

    return build.build_model(
        network.model_name,
        num_classes=network.num_classes or num_classes,
        image_size=network.image_size,
        width_coefficient=network.width_coefficient,
        depth_coefficient=network.depth_coefficient,
        **overrides,
    )


def load_weights(
    model: keras.Model,
    path: str | Path,
    *,
    use_ema: bool = True,
    include_classifier: bool = True,
) -> None:
    """Fill a model from a TF-1 checkpoint or a `.safetensors` file of timm.

    Args:
        model: from `build_network`.
        path: as `Network.ckpt_dir`.
        use_ema: as `checkpoint.load_weights`; timm's files hold one value per weight.
        include_classifier: load the last dense layer too; False keeps the model's own.

    Raises:
        InputError: the weights cannot be read or do not fit; the model is unchanged.
    """
    from edgetpu_lib import checkpoint
    from edgetpu_lib.weights import timm

    if str(path).endswith(".safetensors"):
        timm.load_timm_weights(model, path, include_classifier=include_classifier)
    else:
        checkpoint.load_weights(
            model, path, use_ema=use_ema, include_classifier=include_classifier
        )


def first_checkpoint(network: Network) -> str | Path | None:
    """Return the checkpoint that a fine-tuning starts from, `None` if there is none.

    It is `network.ckpt_dir`, or the one that ships with the library for a network of
    the published width and depth.

    Args:
        network: that will be fine-tuned.
    """
    from edgetpu_lib import checkpoint

    if network.ckpt_dir or network.width_coefficient or network.depth_coefficient:
        return network.ckpt_dir
    return checkpoint.shipped_checkpoint(network.model_name)
