"""Make commands of functions: signatures give the options, docstrings the help.

Positional parameters become arguments, keyword-only ones options. A parameter whose
type is a dataclass becomes one option per field, so that a default, a type and a help
text stand in one place, where the library has them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands import reference_flags, spelling
from edgetpu_lib.commands.home import HomePath, HomeText

if TYPE_CHECKING:
    from edgetpu_lib.data import Images

Count = Annotated[int, click.IntRange(1)]
Natural = Annotated[int, click.IntRange(0)]
Split = Literal["all", "train", "validation", "test"]
OnError = Literal["raise", "skip"]
# A switch that takes no value: it may stand before an argument.
JSON = click.option(
    "--json/--nojson", "as_json", is_flag=True, help="Print the result as JSON."
)
_ENTRY = re.compile(r"(?m)^    (\w+): (.*(?:\n {8,}.*)*)")


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Labelled images, and which of them to use.

    Attributes:
        data_dir: folder of class folders or of TFRecord shards.
        imagenet_eval_glob: or image files, such as 'val/*.JPEG', with
            --imagenet_eval_label.
        imagenet_eval_label: file of their labels: numbers from 0, one per line, for
            the images sorted by name.
        split: part of --data_dir to use. [default: test if the model was trained on
            this folder, else all]
        num_images: number of images to draw. [default: all]
        labels_map_file: file of class names, for the tables.
        include_background_label: output 0 of the model is the background class, which
            the labels leave out. [default: with --imagenet_eval_glob, whether the
            model has one output more than there are classes]
    """

    data_dir: str | None = None
    imagenet_eval_glob: str | None = None
    imagenet_eval_label: str | None = None
    split: Split | None = None
    num_images: int | None = None
    labels_map_file: str | None = None
    include_background_label: bool | None = None

    def open(self, metadata: dict) -> Images:
        """Open the images; the metadata of a model tell what it was trained on."""
        from edgetpu_lib import data, deploy

        names = self.labels_map_file if self.imagenet_eval_glob else None
        return data.open_images(
            self.data_dir,
            imagenet_eval_glob=self.imagenet_eval_glob,
            imagenet_eval_label=self.imagenet_eval_label,
            class_names=deploy.read_labels(names) if names else None,
            num_images=self.num_images,
            split=self.split,
            metadata=metadata,
        )

    def label_offset(self, images: Images, outputs: int) -> int:
        """Return what to add to labels for a model with so many outputs."""
        from edgetpu_lib import data

        return data.label_offset_of(
            images,
            outputs,
            background=self.include_background_label,
            imagenet=bool(self.imagenet_eval_label),
        )


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Images to train on.

    Attributes:
        data_dir: folder of class folders or of TFRecord shards, or a data set's name.
        images_per_class: number of images per class of rendered_flowers.
    """

    data_dir: str = "rendered_flowers"
    images_per_class: Annotated[int, click.IntRange(5)] = 200


def command(function: Callable) -> click.Command:
    """Make a command of a function.

    Args:
        function: each parameter with an annotation and an entry in the docstring's
            section `Args`; options that were added with click's decorators stay.
    """
    settings = {
        name: kind
        for name, kind in typing.get_type_hints(function).items()
        if dataclasses.is_dataclass(kind)
    }

    def call(**values: Any) -> Any:
        for name, kind in settings.items():
            fields = [field.name for field in dataclasses.fields(kind)]
            values[name] = kind(**{field: values.pop(field) for field in fields})
        return function(**values)

    added = list(reversed(getattr(function, "__click_params__", ())))
    made = list(parameters_of(function, skip={each.name for each in added}))
    text, texts = inspect.getdoc(function).split("\n\nArgs:")[0], described(function)
    for each in made:
        if isinstance(each, click.Argument):
            text += f"\n\n{each.name.upper()}: {texts[each.name]}"
    return spelling.Command(
        function.__name__.replace("_", "-"),
        callback=call,
        params=[*made, *added],
        help=text,
    )


def parameters_of(
    target: Callable, skip: Container[str] = ()
) -> Iterator[click.Parameter]:
    """Yield the arguments and options of a function or dataclass.

    Args:
        target: its parameters are annotated and described in its docstring.
        skip: names of parameters to leave out.
    """
    hints, texts = typing.get_type_hints(target, include_extras=True), described(target)
    for name, parameter in inspect.signature(target).parameters.items():
        hint, default = hints[name], parameter.default
        if name in skip:
            continue
        if dataclasses.is_dataclass(hint):
            yield from parameters_of(hint)
        elif default is parameter.empty and parameter.kind != parameter.KEYWORD_ONLY:
            many = typing.get_origin(hint) is tuple
            kind = typing.get_args(hint)[0] if many else hint
            yield click.Argument(
                [name], type=type_of(kind), nargs=-1 if many else 1, required=True
            )
        else:
            yield _option(name, hint, default, texts[name])


def described(target: Callable) -> dict[str, str]:
    """Return {parameter: text} of a docstring, each text one line.

    A first word in small letters is capitalized, unless it is a name as `.keras` is.
    Fields that a class inherits are described by the class that has them.
    """
    sources = reversed(getattr(target, "__mro__", (target,)))
    documents = "\n".join(inspect.getdoc(source) or "" for source in sources)
    texts = {}
    for name, lines in _ENTRY.findall(documents):
        text = " ".join(lines.split())
        is_word = text.split()[0].rstrip(".,:;").isalpha()
        texts[name] = text[0].upper() + text[1:] if is_word else text
    return texts


def _option(name: str, hint: Any, default: Any, text: str) -> click.Option:
    """Return an option; a boolean takes `--x`, `--nox`, `--x=True` and `--x=False`."""
    settings: dict[str, Any] = {"type": type_of(hint), "help": text}
    if default is inspect.Parameter.empty:
        settings["required"] = True
    else:
        settings |= {"default": default, "show_default": True}
    kind = click.Option
    if settings["type"] is bool:
        settings |= {"is_flag": False, "flag_value": "true", "metavar": "[=BOOL]"}
        kind = Switch
    names = [name.rstrip("_"), *reference_flags.also(name)]
    return kind([*(f"--{each}" for each in names), name], **settings)


class Switch(click.Option):
    """An option of a boolean that `--nox` and `--no_x` turn off, as in the reference.

    Click's own pairs of switches take no value, which `--x=False` needs.
    """

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know the option and its negations."""
        super().add_to_parser(parser, ctx)
        bare = [each.lstrip("-") for each in self.opts]
        parser.add_option(
            obj=self,
            opts=[f"--{no}{each}" for each in bare for no in ("no", "no_")],
            dest=self.name,
            action="store_const",
            const="false",
        )


def type_of(hint: Any) -> Any:
    """Return what click reads a value as; of `X | None` it is that of X."""
    if metadata := getattr(hint, "__metadata__", None):
        return metadata[0]
    if hint in (str, Path):
        return HomeText() if hint is str else HomePath()
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal:
        return click.Choice(inner)
    return type_of(inner[0]) if kind in (typing.Union, types.UnionType) else hint


def channels(text: str, name: str) -> float | list[float]:
    """Read one number, or three separated by commas.

    Raises:
        InputError: it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    usable = all(map(math.isfinite, numbers)) and not (name == "std" and 0 in numbers)
    if len(numbers) not in (1, 3) or not usable:
        raise InputError(f"--{name}={text} must be one number or three, such as 127.5")
    return numbers[0] if len(numbers) == 1 else numbers


def typed(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return names and values; numbers and booleans are read out of their text."""
    values = {}
    for name, text in pairs:
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def print_result(content: dict, as_json: bool, lines: Iterable[str]) -> None:
    """Print a result for a program or for a person.

    Args:
        content: anything JSON can hold.
        as_json: print the content on one line, not the lines.
        lines: the same for a person.
    """
    print(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


def print_training(content: dict, as_json: bool, lines: list[str]) -> None:
    """Print the result of a training, with the images that were skipped first."""
    skipped = [f"skipped: {line}" for line in content["skipped"]]
    print_result(content, as_json, [*skipped, *lines])
