"""What several commands share: flags, loading a network, answering."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgetpu_lib.artifacts import InputError
from edgetpu_lib.specs import SPECS

DEFAULT_MODEL = next(iter(SPECS))


def flag(name: str, *, default: bool, help: str) -> Callable:
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
    click.option("--ckpt_dir", help="TF-1 checkpoint: folder, prefix or .tar.gz."),
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
BACKGROUND = flag(
    "--include_background_label",
    default=False,
    help="The model's class 0 is the background; labels leave it out.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def network_options(command: Callable) -> Callable:
    """Add the flags that describe a network."""
    for option in reversed(_NETWORK_OPTIONS):
        command = option(command)
    return command


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
    checkpoint.load_weights(built, network["ckpt_dir"], use_ema=network["enable_ema"])
    return built


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
    from edgetpu_lib.quiet import start_tensorflow

    start_tensorflow()


def answer(content: dict, as_json: bool, lines: list[str]) -> None:
    """Print the answer for a program or for a person."""
    print(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


def open_photos(
    data_dir: str,
    split: str | None,
    record: dict,
    default: str,
    *,
    labelled: bool = True,
) -> tuple[Any, str]:
    """Return some of the photos in a folder, and the name of the split they are.

    Args:
        data_dir: of class folders, of TFRecord shards, or of mere pictures.
        split: asked for; `None` takes `default` if the folder has splits of its own
            or the record says that the model was trained on part of it, else all.
        record: of the model.
        default: a split that does not mix training and test.
        labelled: refuse mere pictures.

    Raises:
        InputError: the folder cannot be used, or has no such split.
    """
    from edgetpu_lib import data, data_sets

    if data_sets.has_shards(data_dir):
        splits = data_sets.open_splits(data_dir)
        chosen = split or default
        if chosen not in splits:
            raise InputError(
                f"{data_dir} has no split {chosen!r}; use {' or '.join(splits)}"
            )
        return splits[chosen], chosen
    photos = (data.list_photos if labelled else data.list_pictures)(data_dir)
    trained_on = record.get("data_dir")
    trained_here = (
        trained_on and Path(trained_on).resolve() == Path(photos.data_dir).resolve()
    )
    split = split or (default if trained_here else "all")
    if split != "all":
        photos = data.split_photos(photos, seed=record.get("seed", 0))[split]
    return photos, split
