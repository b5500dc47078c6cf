"""`classify`: a photo in, named answers out."""

from __future__ import annotations

import dataclasses

import click

from edgetpu_lib.base.artifacts import read_record
from edgetpu_lib.commands import options


@click.command()
@options.network_options
@click.option("--model", help=".tflite or .keras file, instead of a checkpoint.")
@click.option("--example_img", required=True, help="The photo.")
@click.option("--labels_map_file", help="JSON {index: name}, or one name a line.")
@options.BACKGROUND
@click.option("--top", type=click.IntRange(1), default=5, show_default=True)
@options.JSON
def classify(
    model,
    example_img,
    labels_map_file,
    include_background_label,
    top,
    as_json,
    **network,
) -> None:
    """Say what is on a photo."""
    from edgetpu_lib import deploy

    labels = deploy.read_labels(labels_map_file) if labels_map_file else None
    if model and model.endswith(".tflite"):
        scores = deploy.score_photo(model, example_img)
    else:
        scores = _scores_of_keras(options.load_network(model, network), example_img)
    if labels is None and model:
        labels = read_record(model).get("class_names")
    answers = deploy.best_answers(
        scores, labels, top=top, background_first=include_background_label
    )
    options.answer(
        {"predictions": [dataclasses.asdict(answer) for answer in answers]},
        as_json,
        [f"{a.probability:8.2%}  {a.label}  (class {a.index})" for a in answers],
    )


def _scores_of_keras(model, photo: str):
    from edgetpu_lib import data
    from edgetpu_lib.evaluation import classifiers, metrics

    classifier = classifiers.open_classifier(model)
    picture = data.load_picture(photo, classifier.image_size)
    return metrics.probabilities(classifier.answer(picture[None]))[0]
