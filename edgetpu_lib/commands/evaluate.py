"""`evaluate`: a model and labelled photos in, top-1 and top-5 out."""

from __future__ import annotations

import dataclasses

import click

from edgetpu_lib.artifacts import InputError, read_record
from edgetpu_lib.commands import options


@click.command()
@options.network_options
@click.option("--model", help=".tflite or .keras file, instead of a checkpoint.")
@click.option("--data_dir", required=True, help="Folder of class folders or shards.")
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="[default: test if the model was trained on this folder, else all]",
)
@options.BACKGROUND
@options.JSON
def evaluate(
    model, data_dir, split, include_background_label, as_json, **network
) -> None:
    """Measure top-1 and top-5 on labelled photos."""
    record = read_record(model) if model else {}
    is_tflite = model and model.endswith(".tflite")
    keras_model = None if is_tflite else options.load_network(model, network)
    options.start()
    from edgetpu_lib import evaluate as stage
    from edgetpu_lib import interpreter

    if is_tflite:
        opened = interpreter.open_interpreter(model)
        classes = interpreter.output_contract(opened).shape[-1]
    else:
        classes = keras_model.output_shape[-1]
    photos, split = options.open_photos(data_dir, split, record, "test")
    _check_classes(photos, record, classes, include_background_label)
    if is_tflite:
        scores = stage.predict_tflite(model, photos)
    else:
        scores = stage.predict_keras(keras_model, photos)
    metrics = stage.measure(scores, photos.labels + int(include_background_label))
    options.answer(
        {**dataclasses.asdict(metrics), "split": split},
        as_json,
        [
            f"photos  {metrics.images} ({split})",
            f"top-1   {metrics.top1:.2%}",
            f"top-5   {metrics.top5:.2%}",
        ],
    )


def _check_classes(photos, record: dict, classes: int, background_first: bool) -> None:
    """Refuse to compare answers with labels that mean something else."""
    known = record.get("class_names")
    if known and tuple(known) != photos.class_names:
        raise InputError(
            f"the model's classes ({', '.join(known[:5])}) are not the folder's"
            f" ({', '.join(photos.class_names[:5])}); give a folder of the same classes"
        )
    expected = len(photos.class_names) + int(background_first)
    if expected != classes:
        raise InputError(
            f"the folder has {len(photos.class_names)} classes but the model has"
            f" {classes}; give the folder it was trained for"
            + (", or say --include_background_label" if expected + 1 == classes else "")
        )
