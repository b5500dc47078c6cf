"""`page`: a page for a browser, from what the library knows."""

from __future__ import annotations

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import options


@options.command
@click.option(
    "--checker", is_flag=True, help="Write the page that checks TFLite files."
)
def page(*, output: str, checker: bool) -> None:
    """Write a page for a browser that needs no server of its own.

    With --checker: a folder for any static web server. Its page does what `check` and
    `estimate` do, with a file that never leaves the reader's machine. Python for
    browsers is fetched once through npm (5 MB), into a cache.

    Args:
        output: folder to write.
    """
    from edgetpu_lib.web.checker import write_checker

    if not checker:
        raise InputError("nothing to write; give --checker")
    written = write_checker(output)
    size_bytes = sum(path.stat().st_size for path in written)
    print(
        f"{output}: {len(written)} files, {size_bytes / 1e6:.1f} MB; to look at it, run"
        f" `python -m http.server --directory {output}`"
    )
