"""What several commands share: flags, loading a network, answering."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.specs import SPECS

DEFAULT_MODEL = next(iter(SPECS))


def flag(name: str, *, default: bool | None, help: str) -> Callable:
    """Make a switch that can be written --name, --name=True and --name=False."""
    return click.option(
        name,
        type=click.BOOL,
        is_flag=False,
        flag_value="true",
        default=default,
        show_default=True,
        metavar="[=BOOL]",
        help=help,
    )


_NETWORK_OPTIONS = (
    click.option(
        "--model_name", default=DEFAULT_MODEL, show_default=True, help=", ".join(SPECS)
    ),
    click.option(
        "--ckpt_dir",
        help="TF-1 checkpoint (folder, prefix, .tar.gz), or timm's .safetensors.",
    ),
    flag("--enable_ema", default=True, help="Load the averaged weights."),
    click.option("--image_size", type=int, help="Pixels.  [default: the model's own]"),
    click.option("--num_classes", type=int, help="Logits.  [default: 1001]"),
    click.option("--width_coefficient", type=float, help="Factor on channels."),
    click.option("--depth_coefficient", type=float, help="Factor on repeats."),
)
NETWORK_FLAGS = (
    "model_name",
    "ckpt_dir",
    "enable_ema",
    "image_size",
    "num_classes",
    "width_coefficient",
    "depth_coefficient",
)
# What both trainings ask for.
DATA_SET = click.option(
    "--data_dir",
    default="rendered_flowers",
    show_default=True,
    help="Folder of class folders or of TFRecord shards, or a data set's name.",
)
IMAGES_PER_CLASS = click.option(
    "--images_per_class",
    type=click.IntRange(5),
    default=200,
    show_default=True,
    help="Of the embedded data set.",
)
SEED = click.option("--seed", type=int, default=0, show_default=True)
ON_ERROR = click.option(
    "--on_error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    show_default=True,
    help="At an image that cannot be read: stop, or count it and go on.",
)
BACKGROUND = flag(
    "--include_background_label",
    default=False,
    help="The model's class 0 is the background; labels leave it out.",
)
# Where images and their labels come from.
_IMAGE_OPTIONS = (
    click.option("--data_dir", help="Folder of class folders or of TFRecord shards."),
    click.option("--imagenet_eval_glob", help="Or images, such as 'val/*.JPEG', with"),
    click.option(
        "--imagenet_eval_label",
        help="their labels: from 0, one a line, for the images sorted by name.",
    ),
    click.option("--num_images", type=int, help="Only so many images.  [default: all]"),
    click.option("--labels_map_file", help="Names of classes, for the tables."),
    flag(
        "--include_background_label",
        default=None,
        help="As above; of ImageNet labels and 1001 outputs it is taken for granted.",
    ),
)
# How a model from elsewhere wants its pixels.
_PIXEL_OPTIONS = (
    click.option(
        "--mean",
        default="127",
        show_default=True,
        help="Taken from the pixels, 0..255; one number, or three with commas.",
    ),
    click.option(
        "--std", default="128", show_default=True, help="They are divided by it."
    ),
)
JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def network_options(command: Callable) -> Callable:
    """Add the flags that describe a network."""
    for option in reversed(_NETWORK_OPTIONS):
        command = option(command)
    return command


def image_options(command: Callable) -> Callable:
    """Add the flags that say which labelled images to use."""
    for option in reversed(_IMAGE_OPTIONS):
        command = option(command)
    return command


def pixel_options(command: Callable) -> Callable:
    """Add the flags that say how a model wants its pixels."""
    for option in reversed(_PIXEL_OPTIONS):
        command = option(command)
    return command


def channels(text: str, name: str) -> float | list[float]:
    """Read one number, or three with commas.

    Raises:
        InputError: it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or (name == "std" and 0 in numbers):
        raise InputError(f"--{name}={text} must be one number or three, such as 127.5")
    return numbers[0] if len(numbers) == 1 else numbers


def open_images(source: dict[str, Any], split: str | None, metadata: dict) -> Any:
    """Return the labelled images that the values of `image_options` name."""
    from edgetpu_lib import data, deploy

    names = source["labels_map_file"] if source["imagenet_eval_glob"] else None
    return data.open_images(
        source["data_dir"],
        imagenet_eval_glob=source["imagenet_eval_glob"],
        imagenet_eval_label=source["imagenet_eval_label"],
        class_names=deploy.read_labels(names) if names else None,
        num_images=source["num_images"],
        split=split,
        metadata=metadata,
    )


def label_offset_of(source: dict[str, Any], images: Any, outputs: int) -> int:
    """Return the label offset that the values of `image_options` ask for."""
    from edgetpu_lib import data

    return data.label_offset_of(
        images,
        outputs,
        background=source["include_background_label"],
        imagenet=bool(source["imagenet_eval_label"]),
    )


def typed(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return names and values, with numbers and booleans read out of their text."""
    values = {}
    for name, text in pairs:
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def load_network(model: str | None, network: dict[str, Any]) -> Any:
    """Return the Keras model that the flags describe, with its weights.

    Args:
        model: a `.keras` file, which wins over a checkpoint.
        network: the values of `_NETWORK_OPTIONS`.

    Raises:
        InputError: neither a model nor a checkpoint is given, or it cannot be loaded.
    """
    start()
    from edgetpu_lib import checkpoint

    if model:
        return checkpoint.load_model(model)
    if not network["ckpt_dir"]:
        raise InputError(
            "no weights given; add --ckpt_dir=FOLDER or --model=FILE.keras"
        )
    built = build_network(network)
    load_weights(built, network["ckpt_dir"], network)
    return built


def load_weights(
    model: Any,
    path: str | Path,
    network: dict[str, Any],
    *,
    include_classifier: bool = True,
) -> None:
    """Fill a model from a TensorFlow-1 checkpoint or a file of timm's."""
    from edgetpu_lib import checkpoint
    from edgetpu_lib.weights import timm

    if str(path).endswith(".safetensors"):
        timm.load_timm_weights(model, path, include_classifier=include_classifier)
    else:
        checkpoint.load_weights(
            model,
            path,
            use_ema=network["enable_ema"],
            include_classifier=include_classifier,
        )


def build_network(
    network: dict[str, Any], num_classes: int = 1001, **overrides: float | None
) -> Any:
    """Build the model that the flags describe, with fresh weights."""
    from edgetpu_lib import build

    return build.build_model(
        network["model_name"],
        num_classes=network["num_classes"] or num_classes,
        image_size=network["image_size"],
        width_coefficient=network["width_coefficient"],
        depth_coefficient=network["depth_coefficient"],
        **overrides,
    )


def start() -> None:
    """Import TensorFlow, quietly."""
    from edgetpu_lib.base.quiet import start_tensorflow

    start_tensorflow()


def show(content: dict, as_json: bool, lines: list[str]) -> None:
    """Print the answer for a program or for a person."""
    print(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))
