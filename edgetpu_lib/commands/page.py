"""`page`: a page for a browser, from what the library knows."""

from __future__ import annotations

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.commands.home import HomeText
from edgetpu_lib.web.classifier import PageOptions


@options.command
@click.argument("model", type=HomeText(), required=False)
@click.option(
    "--checker", is_flag=True, help="Write the page that checks TFLite files instead."
)
def page(
    *,
    model: str | None,
    output: str,
    split_files: bool = False,
    shown: PageOptions,
    pixels: model_flags.Pixels,
    checker: bool,
) -> None:
    """Write a page for a browser that needs no server of its own.

    With MODEL, a .tflite file: one HTML file that classifies images, with model, labels
    and runtime inside; it opens from the disk, from a mail or from a web server.

    With --checker: a folder for any static web server. Its page does what `check` and
    `estimate` do, with a file that never leaves the reader's machine.

    The runtimes for browsers are fetched once through npm, into a cache.

    Args:
        output: HTML file to write; a folder with --checker or --split_files.
        split_files: write page, model and runtime apart, for a web server.
    """
    if bool(model) == checker:
        raise InputError("nothing to write; give a .tflite file or --checker, not both")
    if checker:
        from edgetpu_lib.web.checker import write_checker

        written = write_checker(output)
    else:
        from edgetpu_lib.web.classifier import write_page

        written = write_page(
            model,
            output,
            options=shown,
            pixel_scale=pixels.read(),
            resize=pixels.resize,
            split_files=split_files,
        )
    size_mb = sum(path.stat().st_size for path in written) / 1e6
    if len(written) == 1:
        print(f"{output}: {size_mb:.1f} MB; open it in a browser")
        return
    print(
        f"{output}: {len(written)} files, {size_mb:.1f} MB; to look at it, run"
        f" `python -m http.server --directory {output}`"
    )
