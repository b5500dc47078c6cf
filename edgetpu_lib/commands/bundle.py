"""`bundle`: a classifier as one file that runs on a board, or as Frigate reads it."""

from __future__ import annotations

import sys
from typing import Literal

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.commands.home import HomeText
from edgetpu_lib.deploy import Labels


@options.command
@click.argument("model", type=HomeText())
def bundle(
    *,
    model: str,
    output: str,
    compiled: str | None = None,
    for_: Literal["board", "frigate"] = "board",
    name: str | None = None,
    labels: Labels,
    pixels: model_flags.Pixels,
) -> None:
    """Write a classifier as one file for a board, or for Frigate.

    MODEL is a .tflite file, float or int8. On the board, `python3 app.zip photo.jpg`
    needs Python 3.9 or newer, numpy, pillow and ai-edge-litert; the README.txt inside
    says how to install them.

    With --for=frigate: model.tflite and labelmap.txt of a custom classification, in
    model_cache/NAME below the output folder.

    Args:
        output: file to write, such as app.zip; the folder of Frigate's configuration
            with --for=frigate.
        compiled: MODEL compiled for the Edge TPU, which is used where one opens.
        for_: what is to run the model.
        name: of the custom classification in Frigate's configuration.
    """
    if for_ == "frigate":
        _for_frigate(model, output, compiled, name, labels, pixels)
        return
    if name is not None:
        raise InputError(f"--name={name} is for Frigate; add --for=frigate")
    from edgetpu_lib.bundle import write

    path = write.write_bundle(
        model,
        output,
        compiled=compiled,
        labels=labels,
        pixel_scale=pixels.read(),
        resize=pixels.resize,
    )
    size_mb = path.stat().st_size / 1e6
    print(
        f"{path}: {size_mb:.1f} MB; copy it to the board, `python3 {path.name} --help`"
    )


def _for_frigate(
    model: str,
    output: str,
    compiled: str | None,
    name: str | None,
    labels: Labels,
    pixels: model_flags.Pixels,
) -> None:
    """Write what Frigate reads, and say where it belongs."""
    if not name:
        raise InputError("--for=frigate needs a name; add --name=NAME")
    if compiled:
        raise InputError(
            f"--compiled={compiled}: Frigate classifies on the CPU; leave it out"
        )
    from edgetpu_lib.bundle import frigate

    written = frigate.write_frigate(
        model, output, name=name, labels=labels, pixel_scale=pixels.read()
    )
    print("\n".join(f"wrote {path}" for path in written))
    for remark in frigate.remarks(model, labels, pixels.resize_for(model)):
        print(f"warning: {remark}", file=sys.stderr)
