"""Guess an option or command that was mistyped, but only from what looks like it."""

from __future__ import annotations

import difflib
from typing import Any

import click

# Below it, a guess is of another thing: --use_tpu is no --output.
_LEAST_LIKENESS = 0.8


def nearest(name: str, known: list[str]) -> list[str]:
    """Return the name that another looks like, as a list; an empty one without."""
    return difflib.get_close_matches(name, known, n=1, cutoff=_LEAST_LIKENESS)


class Command(click.Command):
    """A command that names the option that was meant, or none."""

    def parse_args(self, context: click.Context, args: list[str]) -> Any:
        """Read the options; the error for an unknown one names the nearest."""
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            known = [name for each in self.params for name in each.opts]
            error.possibilities = nearest(error.option_name, known)
            raise
