"""`classify`: an image in, named predictions out."""

from __future__ import annotations

import dataclasses

from edgetpu_lib.base import quiet
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.weights.network import Network


@options.command
@options.JSON
def classify(
    *,
    model: str | None = None,
    example_img: str,
    labels_map_file: str | None = None,
    include_background_label: bool = False,
    top: options.Count = 5,
    pixels: model_flags.Pixels,
    network: Network,
    as_json: bool,
) -> None:
    """Predict the classes of an image.

    Args:
        model: .tflite or .keras file or SavedModel folder, instead of --ckpt_dir.
        example_img: image file.
        labels_map_file: class names as JSON {index: name}, or one per line. [default:
            those in the model's metadata, or inside its file]
        include_background_label: output 0 of the model is the background class, which
            the class names leave out.
        top: number of predictions.
    """
    from edgetpu_lib import deploy

    labels = deploy.read_labels(labels_map_file) if labels_map_file else None
    metadata = model_flags.metadata_of(model, needed=labels is None)
    pixel_scale = pixels.read()
    if model and model.endswith(".tflite"):
        scores = deploy.score_image(
            model, example_img, pixel_scale=pixel_scale, resize=pixels.resize
        )
    else:
        quiet.start_tensorflow()
        from edgetpu_lib.evaluation import classifiers

        mean, stddev = pixel_scale or (None, None)
        scores = classifiers.score_image(
            model,
            example_img,
            network=network,
            mean=mean,
            stddev=stddev,
            resize=pixels.resize,
        )
    labels = labels or deploy.class_names(model, metadata)
    predictions = deploy.best_predictions(
        scores, labels, top=top, label_offset=int(include_background_label)
    )
    options.print_result(
        {"predictions": [dataclasses.asdict(prediction) for prediction in predictions]},
        as_json,
        [f"{p.probability:8.2%}  {p.label}  (class {p.index})" for p in predictions],
    )
