"""`bundle`: a classifier as one file that runs on a board, or as Frigate reads it."""

from __future__ import annotations

import click

from edgetpu_lib.bundle.labels import Labels
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.commands.home import HomeText


@options.command
@click.argument("model", type=HomeText())
def bundle(
    *,
    model: str,
    output: str,
    compiled: str | None = None,
    labels: Labels,
    pixels: model_flags.Pixels,
) -> None:
    """Write a classifier as one file that runs on a board.

    MODEL is a .tflite file, float or int8. On the board, `python3 app.zip photo.jpg`
    needs Python 3.9 or newer, numpy, pillow and ai-edge-litert; the README.txt inside
    says how to install them.

    Args:
        output: file to write, such as app.zip.
        compiled: MODEL compiled for the Edge TPU, which is used where one opens.
    """
    from edgetpu_lib.bundle import write

    path = write.write_bundle(
        model, output, compiled=compiled, labels=labels, pixel_scale=pixels.read()
    )
    size_mb = path.stat().st_size / 1e6
    print(
        f"{path}: {size_mb:.1f} MB; copy it to the board, `python3 {path.name} --help`"
    )
