"""The command line: gathers the commands and turns errors into one line.

Takes flags named as the reference's; gives files, tables, or JSON.
Nothing here imports TensorFlow before a command needs it, so that help is instant.
"""

from __future__ import annotations

import sys

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import (
    check,
    classify,
    compile,
    diagnose,
    estimate,
    evaluate,
    export,
    fetch,
    fine_tune,
    grade,
    report,
    search,
    train,
)

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: as typed after the program's name; `None` takes `sys.argv`.

    Returns:
        0 when all went well; 2 for bad input, with one line that says what and how
        to mend it; 130 when interrupted.
    """
    try:
        return commands.main(arguments, "edgetpu_lib", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        message = f"{error.format_message()} See --help."
    except (InputError, OSError) as error:
        message = str(error)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; files finished before are untouched", file=sys.stderr)
        return EXIT_INTERRUPTED
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return EXIT_BAD_INPUT


@click.group(
    # Dashes and underscores are the same: --model-name is --model_name.
    context_settings={"token_normalize_func": lambda name: name.replace("-", "_")},
    no_args_is_help=True,
)
@click.version_option(package_name="edgetpu_lib")
def commands() -> None:
    """EfficientNet-EdgeTPU: images in, a quantized, measured classifier out."""


for command in (
    classify.classify,
    export.export,
    evaluate.evaluate,
    report.report,
    fetch.fetch,
    fine_tune.fine_tune,
    train.train,
    check.check,
    estimate.estimate,
    compile.compile,
    diagnose.diagnose,
    grade.grade,
    search.search,
):
    commands.add_command(command)
