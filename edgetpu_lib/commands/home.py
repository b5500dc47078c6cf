"""Types of options whose values may begin with `~`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class HomeText(click.ParamType):
    """Text; `~/x` is below the home folder, which no shell says of `--flag=~/x`."""

    name = "text"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text, with the home folder for a `~` in front."""
        return os.path.expanduser(str(value))


class HomePath(click.ParamType):
    """A path; `~/x` is below the home folder."""

    name = "path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, with the home folder for a `~` in front."""
        return Path(value).expanduser()
