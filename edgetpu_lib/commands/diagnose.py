"""`diagnose`: float model, integer file and images in, why answers were lost out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetpu_lib.base.artifacts import read_metadata, require_writable
from edgetpu_lib.commands import options

if TYPE_CHECKING:
    from edgetpu_lib.doctor.diagnose import Diagnosis

EXIT_CAUSES_FOUND = 1
# Of the layers, in the answer for a person; `--json` has all.
_SHOWN = 8


@click.command()
@click.option("--float", "float_model", required=True, help=".keras or .tflite file.")
@click.option("--int8", required=True, help="The integer .tflite file made of it.")
@click.option(
    "--data_dir",
    required=True,
    help="Images: folder of class folders, of TFRecord shards, or of mere images.",
)
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="[default: test if the model was trained on this folder, else all]",
)
@click.option(
    "--num_images",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Images to compare answers on; up to four times as many are looked for among"
    " the calibration images.",
)
@options.BACKGROUND
@click.option("--figures", help="Folder for three figures (PNG).")
@options.JSON
def diagnose(
    float_model: str,
    int8: str,
    data_dir: str,
    split: str | None,
    num_images: int,
    include_background_label: bool,
    figures: str | None,
    as_json: bool,
) -> int:
    """Say why an integer file answers worse than its float model.

    Exit code 0: it is healthy. 1: causes were found, the likeliest is named first. 2:
    a model or image cannot be used.
    """
    if figures:
        require_writable(Path(figures) / "layers.png")
    metadata = read_metadata(int8) or read_metadata(float_model)
    options.start()
    from edgetpu_lib.doctor import diagnose as stage

    images, calibration = _open(data_dir, split, metadata, num_images)
    diagnosis = stage.diagnose(
        float_model,
        int8,
        images,
        calibration=calibration,
        label_offset=int(include_background_label),
    )
    if as_json:
        options.show({**as_dict(diagnosis), "split": images.split}, True, [])
    else:
        show(diagnosis, images.split)
    if figures:
        from edgetpu_lib.plots import doctor as plots_doctor

        plots_doctor.save_figures(figures, diagnosis)
    return 0 if diagnosis.healthy else EXIT_CAUSES_FOUND


def as_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis for JSON; numbers of images are named as in version 0.1."""
    content = dataclasses.asdict(diagnosis)
    for part in (content, *content["sweep"]):
        part["photos"] = part.pop("images")
    return content


def _open(
    data_dir: str, split: str | None, metadata: dict, count: int
) -> tuple[Any, Any]:
    """Return images to predict, and images like those of the calibration.

    Raises:
        InputError: the folder cannot be used.
    """
    from edgetpu_lib import data

    images = pool = data.open_images(
        data_dir, split=split, metadata=metadata, labelled=False
    )
    if not split and images.split != "all":
        pool = data.open_images(
            data_dir, split="train", metadata=metadata, labelled=False
        )
    # As `export` draws: the first of its images are the first here.
    calibration = data.calibration_images(pool, 4 * count)
    return images.sample(count), calibration


def show(diagnosis: Any, split: str) -> None:
    """Print a diagnosis for a person: the verdict first."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)

    def say(line: str = "", **style: str) -> None:
        console.print(line, soft_wrap=True, **style)

    verdict = "Healthy: no cause of a loss was found."
    if diagnosis.causes:
        verdict = f"Most likely: {diagnosis.causes[0].code}"
    say(verdict, style="bold")
    for number, cause in enumerate(diagnosis.causes):
        if number:
            say(f"Also: {cause.code}", style="bold")
        say(f"  {cause.evidence}")
        say(f"  remedy: {cause.remedy}")
    say()
    for line in (*_predictions(diagnosis, split), *diagnosis.notes):
        say(line)
    table = Table(
        "Layer", "Operator", "SNR", "Cosine", "Clipped", box=None, pad_edge=False
    )
    worst = sorted(diagnosis.layers, key=lambda layer: layer.snr_db)[:_SHOWN]
    for layer in worst:
        table.add_row(
            layer.name,
            layer.kind,
            f"{layer.snr_db:.1f} dB",
            f"{layer.cosine:.4f}",
            f"{layer.clipped:.2%}",
        )
    say(f"\nThe {len(worst)} worst of {len(diagnosis.layers)} tensors", style="bold")
    console.print(table)
    if diagnosis.sweep:
        say("\nQuantized again, by number of calibration images", style="bold")
        sizes = Table("Photos", "Agreement", box=None, pad_edge=False)
        for point in diagnosis.sweep:
            sizes.add_row(str(point.images), f"{point.agreement:.1%}")
        console.print(sizes)


def _predictions(diagnosis: Any, split: str) -> list[str]:
    lines = [
        f"images     {diagnosis.images} ({split})",
        f"agreement  {diagnosis.agreement:.1%} of the answers are the float model's",
        f"           {diagnosis.agreement_of_weights:.1%} with the integer weights"
        " computed in floats",
    ]
    if diagnosis.float_top1 is not None:
        both = f"{diagnosis.float_top1:.1%} float, {diagnosis.int8_top1:.1%} int8"
        lines.append(f"top-1      {both}")
    return lines
