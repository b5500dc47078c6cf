"""`diagnose`: float model, int8 model and images in, causes of lost accuracy out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import require_writable
from edgetpu_lib.commands import model_flags, options, tables
from edgetpu_lib.tflite import model_explorer as explorer

if TYPE_CHECKING:
    from edgetpu_lib.doctor.diagnose import Diagnosis

EXIT_CAUSES_FOUND = 1
# Layers that are printed; `--json` has all.
_SHOWN = 8


@options.command
@options.JSON
def diagnose(
    *,
    float_: str,
    int8: str,
    data_dir: str,
    pixels: model_flags.Pixels,
    split: options.Split | None = None,
    num_images: options.Count = 100,
    include_background_label: bool = False,
    figures: str | None = None,
    model_explorer: str | None = None,
    as_json: bool,
) -> int:
    """Find out why an int8 model is less accurate than its float model.

    Exit code 0: no cause was found. 1: causes were found; the likeliest is named
    first. 2: a model or an image cannot be used.

    Args:
        float_: .keras or .tflite file of the float model.
        int8: .tflite file that was made of it.
        data_dir: folder of class folders, of TFRecord shards or of images alone.
        split: part of the images to compare predictions on. [default: test if the
            model was trained on this folder, else all]
        num_images: number of images to compare predictions on. Up to four times as
            many stand in for the calibration images.
        include_background_label: output 0 of the model is the background class, which
            the labels leave out.
        figures: folder for three figures (PNG).
        model_explorer: .json file to write for Model Explorer: signal-to-noise ratio
            of each operator of the int8 model, dB.
    """
    for target in filter(None, (model_explorer, figures and f"{figures}/layers.png")):
        require_writable(target)
    metadata = model_flags.metadata_of(int8) or model_flags.metadata_of(float_)
    quiet.start_tensorflow()
    from edgetpu_lib.doctor import diagnose as stage

    images, calibration = _open(data_dir, split, metadata, num_images)
    given = {"pixel_scale": pixels.read(), "resize": pixels.resize}
    given["label_offset"] = int(include_background_label)
    diagnosis = stage.diagnose(float_, int8, images, calibration=calibration, **given)
    if as_json:
        options.print_result({**as_dict(diagnosis), "split": images.split}, True, [])
    else:
        show(diagnosis, images.split)
    if figures:
        from edgetpu_lib.plots import doctor as plots_doctor

        plots_doctor.save_figures(figures, diagnosis)
    if model_explorer:
        ratios = {layer.operator: layer.snr_db for layer in diagnosis.layers}
        ratios.pop(None, None)  # of the input, which no operator computes
        explorer.write(model_explorer, ratios, low=explorer.RED, high=explorer.WHITE)
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
            data_dir, default_split="train", metadata=metadata, labelled=False
        )
    # As `export` draws: the first of its images are the first here.
    calibration = data.calibration_images(pool, 4 * count)
    return images.sample(count), calibration


def show(diagnosis: Diagnosis, split: str) -> None:
    """Print a diagnosis for a person: the likeliest cause first."""
    if not diagnosis.causes:
        tables.print_heading("Healthy: no cause of a loss was found.")
    for number, cause in enumerate(diagnosis.causes):
        tables.print_heading(f"{'Also' if number else 'Most likely'}: {cause.code}")
        print(f"  {cause.evidence}\n  remedy: {cause.remedy}")
    print()
    for line in (*_predictions(diagnosis, split), *diagnosis.notes):
        print(line)
    worst = sorted(diagnosis.layers, key=lambda layer: layer.snr_db)[:_SHOWN]
    tables.print_heading(f"\nThe {len(worst)} worst of {len(diagnosis.layers)} tensors")
    rows = [
        (
            layer.name,
            layer.kind,
            f"{layer.snr_db:.1f} dB",
            f"{layer.cosine:.4f}",
            f"{layer.clipped:.2%}",
        )
        for layer in worst
    ]
    header = ("Layer", "Operator", "SNR", "Cosine", "Clipped")
    tables.print_table(header, rows, right=(2, 3, 4))
    if diagnosis.sweep:
        tables.print_heading("\nQuantized again, by number of calibration images")
        points = [(str(p.images), f"{p.agreement:.1%}") for p in diagnosis.sweep]
        tables.print_table(("Images", "Agreement"), points, right=(0, 1))


def _predictions(diagnosis: Diagnosis, split: str) -> list[str]:
    """Return lines on how far the predictions agree."""
    lines = [
        f"images     {diagnosis.images} ({split})",
        f"agreement  {diagnosis.agreement:.1%} of the float model's predictions",
        f"           {diagnosis.agreement_of_weights:.1%} with int8 weights and float"
        " arithmetic",
    ]
    if diagnosis.float_top1 is not None:
        both = f"{diagnosis.float_top1:.1%} float, {diagnosis.int8_top1:.1%} int8"
        lines.append(f"top-1      {both}")
    return lines
