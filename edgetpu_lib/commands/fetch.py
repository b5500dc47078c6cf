"""`fetch`: a published checkpoint by its name, a folder on this machine."""

from __future__ import annotations

import click

from edgetpu_lib.commands import options
from edgetpu_lib.specs import SPECS


@click.command()
@click.option(
    "--model_name",
    default=options.DEFAULT_MODEL,
    show_default=True,
    help=", ".join(SPECS),
)
@click.option("--cache_dir", help="[default: ~/.cache/edgetpu_lib]")
@options.JSON
def fetch(model_name, cache_dir, as_json) -> None:
    """Download Google's ImageNet checkpoint, once, and print where it lies.

    EDGETPU_CHECKPOINT_MIRROR=file:///folder takes it from a folder instead.
    """
    from edgetpu_lib.weights import fetch as stage

    folder = stage.fetch_checkpoint(model_name, cache_dir=cache_dir)
    options.show({"checkpoint": str(folder)}, as_json, [str(folder)])
