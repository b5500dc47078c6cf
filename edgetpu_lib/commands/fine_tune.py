"""`fine-tune`: photos in, a trained model out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from edgetpu_lib.artifacts import InputError, require_writable, save_record
from edgetpu_lib.commands import options


@click.command("fine-tune")
@options.network_options
@click.option(
    "--data_dir",
    default="rendered_flowers",
    show_default=True,
    help="Folder of class folders, or the embedded data set.",
)
@click.option(
    "--images_per_class",
    type=click.IntRange(5),
    default=200,
    show_default=True,
    help="Of the embedded data set.",
)
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--batch_size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--output",
    default="artifacts/fine_tuned.keras",
    show_default=True,
    help="The .keras file to write; its record lies beside it.",
)
@options.JSON
def fine_tune(
    data_dir, images_per_class, epochs, batch_size, seed, output, as_json, **network
) -> None:
    """Train on a folder of photos, from a checkpoint or from nothing.

    Without --ckpt_dir all layers start from random numbers; a small --image_size such
    as 96 keeps that within minutes.
    """
    if not output.endswith(".keras"):
        raise InputError(f"--output={output} must end in .keras")
    require_writable(output)
    options.start()
    import keras

    from edgetpu_lib import checkpoint, data
    from edgetpu_lib import evaluate as stage
    from edgetpu_lib import fine_tune as tuning

    photos = data.open_data_set(data_dir, images_per_class=images_per_class)
    splits = data.split_photos(photos, seed=seed)
    keras.utils.set_random_seed(seed)
    model = options.build_network(network, num_classes=len(photos.class_names))
    if network["ckpt_dir"]:
        checkpoint.load_weights(
            model,
            network["ckpt_dir"],
            use_ema=network["enable_ema"],
            include_classifier=False,
        )
    config = tuning.FineTuneConfig(epochs=epochs, batch_size=batch_size, seed=seed)
    history = tuning.fine_tune(
        model, splits, pretrained=bool(network["ckpt_dir"]), config=config
    )
    scores = stage.predict_keras(model, splits["test"])
    metrics = dataclasses.asdict(stage.measure(scores, splits["test"].labels))
    checkpoint.save_model(model, output)
    save_record(
        output,
        model_name=model.name,
        image_size=model.input_shape[1],
        class_names=photos.class_names,
        data_dir=str(Path(photos.data_dir).resolve()),
        seed=seed,
        pretrained=network["ckpt_dir"],
        history=[dataclasses.asdict(epoch) for epoch in history],
        test=metrics,
    )
    options.answer(
        {"model": output, "test": metrics},
        as_json,
        [
            f"wrote {output}",
            f"test photos {metrics['images']}, top-1 {metrics['top1']:.2%}",
        ],
    )
