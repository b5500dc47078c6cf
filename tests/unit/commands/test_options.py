"""Commands are made of functions: types, defaults and help come from the library."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner

from edgetpu_lib.commands import main as cli
from edgetpu_lib.commands import options
from edgetpu_lib.search.settings import SearchConfig
from edgetpu_lib.training.settings import FineTuneConfig, Recipe
from edgetpu_lib.weights.network import Network


@dataclasses.dataclass(frozen=True)
class Oven:
    """How to bake.

    Attributes:
        degrees: temperature in °C.
        mode: where the heat
            comes from.
        fan: .5 or full.
        minutes: time. [default: until done]
    """

    degrees: float = 180.0
    mode: Literal["top", "bottom"] = "top"
    fan: bool = False
    minutes: int | None = None


@options.command
@click.option("--quiet", is_flag=True, help="Say nothing.")
def bake_all(
    dough: str,
    *,
    oven: Oven,
    trays: Annotated[int, click.IntRange(1)] = 2,
    shelf: Annotated[int, click.IntRange(0)] | None = None,
    recipe_: Path,
    quiet: bool,
) -> tuple:
    """Bake.

    Twice.

    Args:
        dough: what to bake.
        trays: number of trays.
        shelf: its number.
        recipe_: file of the recipe.
    """
    return dough, oven, trays, shelf, recipe_, quiet


def bake(*arguments):
    return bake_all.main(list(arguments), "bake-all", standalone_mode=False)


def test_defaults_are_the_functions_and_the_dataclass():
    assert bake("rye", "--recipe=a.txt") == (
        *("rye", Oven(), 2, None, Path("a.txt"), False),
    )


def test_values_are_read_as_their_types():
    made = bake(
        *("--quiet", "rye", "--recipe", "a.txt", "--degrees=90", "--mode=bottom"),
        *("--minutes=7", "--trays=3", "--shelf=0", "--fan"),
    )
    assert made == ("rye", Oven(90.0, "bottom", True, 7), 3, 0, Path("a.txt"), True)


@pytest.mark.parametrize(
    ("spelling", "value"),
    [
        (["--fan"], True),
        (["--fan=True"], True),
        (["--fan", "true"], True),
        (["--fan=False"], False),
        (["--fan", "--nofan"], False),
        (["--nofan", "--fan"], True),
        (["--no_fan"], False),
        ([], False),
    ],
)
def test_booleans_take_every_spelling(spelling, value):
    assert bake("rye", "--recipe=a.txt", *spelling)[1].fan is value


def test_home_folder_is_known_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/baker")
    made = bake("~/rye", "--recipe=~/a.txt")
    assert (made[0], made[4]) == ("/home/baker/rye", Path("/home/baker/a.txt"))
    assert bake("a~b", "--recipe=~")[0] == "a~b"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe=a.txt"],
        ["rye"],
        ["rye", "--recipe=a.txt", "--mode=left"],
        ["rye", "--recipe=a.txt", "--trays=0"],
        ["rye", "--recipe=a.txt", "--shelf=-1"],
        ["rye", "--recipe=a.txt", "--degrees=hot"],
        ["rye", "--recipe=a.txt", "--fan=perhaps"],
    ],
)
def test_wrong_values_are_refused(arguments):
    with pytest.raises(click.UsageError):
        bake(*arguments)


def test_help_is_the_docstrings():
    text = " ".join(CliRunner().invoke(bake_all, ["--help"]).output.split())
    for words in (
        "bake-all [OPTIONS] DOUGH Bake. Twice. DOUGH: What to bake.",
        "--degrees FLOAT Temperature in °C. [default: 180.0]",
        "--mode [top|bottom] Where the heat comes from. [default: top]",
        "--fan [=BOOL] .5 or full. [default: False]",
        "--minutes INTEGER Time. [default: until done]",
        "--recipe PATH File of the recipe. [required]",
        "--quiet Say nothing.",
    ):
        assert words in text
    assert "Args" not in text


def test_option_without_a_description_is_an_error():
    def silent(*, salt: int = 1) -> None:
        """Add salt."""

    with pytest.raises(KeyError, match="salt"):
        options.command(silent)


# The library's own commands.


def test_every_switch_can_be_turned_off():
    switches = {
        (name, each.name): each
        for name in cli.commands.list_commands(None)
        for each in command(name).params
        if each.type is click.BOOL
    }
    assert ("train", "enable_ema") in switches
    for each in switches.values():
        assert isinstance(each, options.Switch) or each.secondary_opts


def test_what_is_no_switch_cannot_be_turned_off():
    with pytest.raises(click.NoSuchOption):
        bake("rye", "--recipe=a.txt", "--nodegrees")


def command(name):
    return cli.commands.get_command(None, name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("train", kind) for kind in (Recipe, Network)),
        *(("fine-tune", kind) for kind in (FineTuneConfig, Network)),
        ("search", SearchConfig),
        *((name, Network) for name in ("classify", "export", "evaluate", "report")),
    ],
)
def test_every_setting_has_an_option(name, settings):
    flags = {parameter.name: parameter for parameter in command(name).params}
    for field in dataclasses.fields(settings):
        assert flags[field.name].default == field.default
        assert flags[field.name].opts[0] == f"--{field.name}"
        assert flags[field.name].help


def test_stairs_of_the_learning_rate_have_flags(tmp_path, capsys):
    arguments = ["train", "--decay-factor=.5", f"--output={tmp_path}"]
    assert cli.main([*arguments, "--decay_epochs=0"]) == cli.EXIT_BAD_INPUT
    assert "decay_epochs=0.0 must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["check", "classify", "evaluate", "diagnose", "report"]
)
def test_a_model_tells_its_pixels_unless_flags_do(name):
    defaults = {each.name: each.default for each in command(name).params}
    assert (defaults["mean"], defaults["std"]) == (None, None)


def test_every_line_of_the_overview_begins_the_help_of_its_command():
    overview = CliRunner().invoke(cli.commands, ["--help"]).output
    for module in cli.MODULES:
        summary = cli.summary_of(module)
        assert command(module).help.splitlines()[0] == summary
        assert f"{module.replace('_', '-'):11}{summary}\n" in overview


LIGHT = """
import sys
from edgetpu_lib.commands.main import main
main(sys.argv[1:])
heavy = {"numpy", "keras", "tensorflow", "rich", "tqdm", "importlib.metadata"}
heavy |= {f"edgetpu_lib.commands.{name}" for name in ("options", "check", "train")}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""


@pytest.mark.parametrize("argument", ["--help", "--version", "nonsense"])
def test_help_loads_nothing_that_it_does_not_need(argument, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, argument],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


HELP = """
import sys
from edgetpu_lib.commands import main as cli
for name in ("classify", "evaluate", "export", "fetch", "fine-tune", "report", "search",
             "train"):
    cli.main([name, "--help"])
heavy = {"numpy", "keras", "tensorflow", "jax", "matplotlib", "rich", "tqdm"}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""


def test_help_of_commands_loads_no_numpy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("use_tpu", None),
        ("modl_name", "model_name"),
        ("outptu", "output"),
    ]
    + [("image_sise", "image_size"), ("data_format", None)],
)
def test_only_what_was_nearly_typed_is_guessed(typed, meant, capsys):
    assert cli.main(["train", f"--{typed}=1"]) == cli.EXIT_BAD_INPUT
    line = capsys.readouterr().err
    guessed = {part.strip("-'") for part in line.split() if part.startswith("'--")}
    assert {each.strip("'?.,-") for each in guessed} - {typed} == ({meant} - {None})


def test_option_of_another_command_is_named_with_it(capsys):
    assert cli.main(["evaluate", "--mode=train"]) == cli.EXIT_BAD_INPUT
    assert capsys.readouterr().err.endswith("--mode is an option of train.\n")
