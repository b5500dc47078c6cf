"""`classify`: an image in, named predictions out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import read_metadata
from edgetpu_lib.commands import options
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import numpy as np


@options.command
@options.JSON
def classify(
    *,
    model: str | None = None,
    example_img: str,
    labels_map_file: str | None = None,
    include_background_label: bool = False,
    top: options.Count = 5,
    network: Network,
    as_json: bool,
) -> None:
    """Predict the classes of an image.

    Args:
        model: .tflite or .keras file or SavedModel folder, instead of --ckpt_dir.
        example_img: image file.
        labels_map_file: class names as JSON {index: name}, or one per line. [default:
            those in the model's metadata]
        include_background_label: output 0 of the model is the background class, which
            the class names leave out.
        top: number of predictions.
    """
    from edgetpu_lib import deploy

    labels = deploy.read_labels(labels_map_file) if labels_map_file else None
    if model and model.endswith(".tflite"):
        scores = deploy.score_image(model, example_img)
    else:
        scores = _probabilities(model, network, example_img)
    if labels is None and model:
        labels = read_metadata(model).get("class_names")
    predictions = deploy.best_predictions(
        scores, labels, top=top, label_offset=int(include_background_label)
    )
    options.print_result(
        {"predictions": [dataclasses.asdict(prediction) for prediction in predictions]},
        as_json,
        [f"{p.probability:8.2%}  {p.label}  (class {p.index})" for p in predictions],
    )


def _probabilities(model: str | None, network: Network, image: str) -> np.ndarray:
    """Return the probabilities that a model other than a TFLite file gives."""
    quiet.start_tensorflow()
    from edgetpu_lib import data
    from edgetpu_lib.evaluation import classifiers, metrics

    classifier = classifiers.open_classifier(model, network=network)
    pixels = data.load_image(image, classifier.image_size)
    return metrics.probabilities(classifier.predict(pixels[None]))[0]
