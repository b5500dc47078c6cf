"""Plain tables for a terminal; quick to import and never cut to its width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click


def print_heading(line: str, *, err: bool = False) -> None:
    """Print a line in bold, where that is shown; `err`: to the error stream."""
    click.secho(line, bold=True, err=err)


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[int] = (),
    err: bool = False,
) -> None:
    """Print rows in columns as wide as their longest cell.

    Args:
        header: titles of the columns.
        rows: as many cells each.
        right: positions of the columns whose cells end at the right, such as numbers.
        err: print to the error stream.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        placed = [
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(placed).rstrip()

    print_heading(line(header), err=err)
    for row in rows:
        click.echo(line(row), err=err)
