"""`classify`: images in, named predictions out."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import numpy as np

    from edgetpu_lib.deploy import Prediction


@options.command
@options.JSON
def classify(
    *,
    model: str | None = None,
    example_img: str,
    labels_map_file: str | None = None,
    include_background_label: bool = False,
    top: options.Count = 5,
    on_error: options.OnError = "raise",
    pixels: model_flags.Pixels,
    network: Network,
    device: DeviceOptions,
    as_json: bool,
) -> None:
    """Predict the classes of an image, or of many.

    Of many images, each has a line of its own, of JSON with --json, as soon as it is
    predicted.

    Args:
        model: .tflite or .keras file or SavedModel folder, instead of --ckpt_dir.
        example_img: image file, a folder of them, or - for paths on standard input, one
            a line.
        labels_map_file: class names as JSON {index: name}, or one per line. [default:
            those in the model's metadata, or inside its file]
        include_background_label: output 0 of the model is the background class, which
            the class names leave out.
        top: number of predictions.
        on_error: at one of many images that cannot be read, stop or leave it out and
            report it.
    """
    from edgetpu_lib import deploy

    labels = deploy.read_labels(labels_map_file) if labels_map_file else None
    metadata = model_flags.metadata_of(model, needed=labels is None)
    score = _scorer(model, pixels, network, device)
    labels = labels or deploy.class_names(model, metadata)
    many = example_img == "-" or Path(example_img).is_dir()
    read = 0
    for path in deploy.image_paths(example_img, sys.stdin.buffer):
        name = {"image": printable(path)} if many else {}
        try:
            scores = score(path)
        except InputError as error:
            if not many or on_error == "raise":
                raise
            _report(error, name, as_json)
            continue
        read += 1
        found = deploy.best_predictions(
            scores, labels, top=top, label_offset=int(include_background_label)
        )
        _show(found, name, as_json)
    if not read:
        raise InputError(f"no image of {example_img!r} was read; check the paths")


def _scorer(
    model: str | None,
    pixels: model_flags.Pixels,
    network: Network,
    device: DeviceOptions,
) -> Callable[[str], np.ndarray]:
    """Open the model, with the libraries that its kind needs."""
    pixel_scale = pixels.read()
    if model and model.endswith(".tflite"):
        from edgetpu_lib import deploy

        return deploy.image_scorer(
            model, pixel_scale=pixel_scale, resize=pixels.resize, device=device
        )
    if device.given():
        raise InputError(
            f"--device={device.device} is for compiled .tflite files; leave it out"
        )
    quiet.start_tensorflow()
    from edgetpu_lib.evaluation import classifiers

    mean, stddev = pixel_scale or (None, None)
    return classifiers.image_scorer(
        model, network=network, mean=mean, stddev=stddev, resize=pixels.resize
    )


def printable(path: str) -> str:
    """Return a path whose name need not be text, as text."""
    return os.fsencode(path).decode("utf-8", "replace")


def _report(error: InputError, name: dict, as_json: bool) -> None:
    """Print why an image is left out: as JSON among the others, or as an error."""
    if as_json:
        print(json.dumps({**name, "error": str(error)}), flush=True)
    else:
        print(f"skipped: {error}", file=sys.stderr, flush=True)


def _show(found: list[Prediction], name: dict, as_json: bool) -> None:
    """Print predictions at once, as they may be read through a pipe."""
    content = {**name, "predictions": [dataclasses.asdict(each) for each in found]}
    lines = [f"{p.probability:8.2%}  {p.label}  (class {p.index})" for p in found]
    if name:
        best = ", ".join(f"{p.label} {p.probability:.2%}" for p in found)
        lines = [f"{name['image']}: {best}"]
    options.print_result(content, as_json, lines)
    sys.stdout.flush()
