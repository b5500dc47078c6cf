"""The command line: finds a command, runs it and turns errors into one line.

Takes flags named as the reference's; gives files, tables or JSON.
A command is imported when it is run, so that help needs no library.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import click

from edgetpu_lib import __version__
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands.interrupts import EXIT_INTERRUPTED, MESSAGE, ended_soon

EXIT_BAD_INPUT = 2
# Files beside this one, each with a command of the same name; in the order of the work.
MODULES = (
    *("fetch", "audit", "train", "fine_tune", "search"),
    *("export", "evaluate", "report", "diagnose"),
    *("dummy", "check", "estimate", "targets", "split", "compile"),
    *("device", "classify", "benchmark", "page", "bundle", "to_tf1"),
    "grade",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: as typed after the program's name; `None` takes `sys.argv`.

    Returns:
        0 on success; 2 for bad input, with one line that names it and the remedy; 130
        when interrupted; further codes as the command's help says.
    """
    try:
        with ended_soon():
            return commands.main(arguments, "edgetpu_lib", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_BAD_INPUT
    except click.NoSuchOption as error:
        from edgetpu_lib.commands import reference_flags

        name = error.option_name
        known = reference_flags.explain(name) or _owners(name)
        message = known or f"{error.format_message()} See --help."
    except click.ClickException as error:
        message = f"{error.format_message()} See --help."
    except (InputError, OSError) as error:
        message = str(error)
    except (click.Abort, KeyboardInterrupt):
        print(MESSAGE, file=sys.stderr)
        return EXIT_INTERRUPTED
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return EXIT_BAD_INPUT


def _owners(option: str) -> str | None:
    """Return a message that names the commands that have an option, if any has."""
    context = click.Context(commands)
    owners = [
        name
        for name in commands.list_commands(context)
        for each in commands.get_command(context, name).params
        if option in each.opts
    ]
    return f"{option} is an option of {', '.join(owners)}." if owners else None


class LazyGroup(click.Group):
    """Commands that are imported when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [module.replace("_", "-") for module in MODULES]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        module = name.replace("-", "_")
        if module not in MODULES:
            return None
        return getattr(importlib.import_module(f"{__package__}.{module}"), module)

    def format_commands(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the names of all commands and the first lines of their help."""
        with formatter.section("Commands"):
            names = self.list_commands(context)
            formatter.write_dl(list(zip(names, map(summary_of, MODULES), strict=True)))


def summary_of(module: str) -> str:
    """Return the first line of a command's docstring, read without importing it."""
    source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
    (command,) = [node for node in functions if node.name == module]
    return ast.get_docstring(command).splitlines()[0]


@click.group(
    cls=LazyGroup,
    # Dashes and underscores are the same: --model-name is --model_name.
    context_settings={"token_normalize_func": lambda name: name.replace("-", "_")},
    no_args_is_help=True,
)
@click.version_option(__version__)
def commands() -> None:
    """Train, quantize, measure and deploy EfficientNet-EdgeTPU image classifiers."""
