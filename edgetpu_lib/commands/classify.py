"""`classify`: an image in, named answers out."""

from __future__ import annotations

import dataclasses

import click

from edgetpu_lib.base.artifacts import read_metadata
from edgetpu_lib.commands import options


@click.command()
@options.network_options
@click.option("--model", help=".tflite or .keras file, instead of a checkpoint.")
@click.option("--example_img", required=True, help="The image.")
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
    """Say what is on an image."""
    from edgetpu_lib import deploy

    labels = deploy.read_labels(labels_map_file) if labels_map_file else None
    if model and model.endswith(".tflite"):
        scores = deploy.score_image(model, example_img)
    else:
        scores = _scores_of_keras(options.load_network(model, network), example_img)
    if labels is None and model:
        labels = read_metadata(model).get("class_names")
    predictions = deploy.best_predictions(
        scores, labels, top=top, label_offset=int(include_background_label)
    )
    options.show(
        {"predictions": [dataclasses.asdict(prediction) for prediction in predictions]},
        as_json,
        [f"{a.probability:8.2%}  {a.label}  (class {a.index})" for a in predictions],
    )


def _scores_of_keras(model, image: str):
    from edgetpu_lib import data
    from edgetpu_lib.evaluation import classifiers, metrics

    classifier = classifiers.open_classifier(model)
    array = data.load_image(image, classifier.image_size)
    return metrics.probabilities(classifier.predict(array[None]))[0]
