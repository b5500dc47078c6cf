"""`fine-tune`: images in, a trained model out."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import click

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError, require_writable, save_metadata
from edgetpu_lib.commands import options


@click.command("fine-tune")
@options.network_options
@options.DATA_SET
@options.IMAGES_PER_CLASS
@options.flag(
    "--pretrained",
    default=True,
    help="Start from --ckpt_dir, or from the checkpoint that ships (S only).",
)
@click.option(
    "--cache_dir",
    default="artifacts/features",
    show_default=True,
    help="Keeps features between runs.",
)
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--batch_size", type=click.IntRange(1), default=16, show_default=True)
@options.SEED
@options.ON_ERROR
@click.option(
    "--keep_minutes",
    type=float,
    default=1,
    show_default=True,
    help="The state is written after so many minutes; the same command resumes.",
)
@click.option(
    "--output",
    default="artifacts/fine_tuned.keras",
    show_default=True,
    help="The .keras file to write; its record lies beside it.",
)
@options.JSON
def fine_tune(
    data_dir,
    images_per_class,
    pretrained,
    cache_dir,
    epochs,
    batch_size,
    seed,
    on_error,
    keep_minutes,
    output,
    as_json,
    **network,
) -> None:
    """Train on images, from a checkpoint or from nothing.

    M and L, and S of another width, have no checkpoint that ships: without --ckpt_dir
    all their layers start from random numbers. A small --image_size such as 96 keeps
    that within minutes. Stopped or killed, the same command resumes from the state
    beside --output, which is removed at the end.
    """
    if not output.endswith(".keras"):
        raise InputError(f"--output={output} must end in .keras")
    if network["ckpt_dir"] and not pretrained:
        raise InputError("--ckpt_dir and --pretrained=False do not go together")
    require_writable(output)
    quiet.prefer_onednn()
    options.start()
    import keras

    from edgetpu_lib import checkpoint, data, evaluate
    from edgetpu_lib import fine_tune as tuning
    from edgetpu_lib.evaluation import classifiers, metrics

    splits = data.with_validation(
        data.open_splits(
            data_dir, images_per_class=images_per_class, seed=seed, on_error=on_error
        ),
        seed=seed,
    )
    if on_error == "skip":
        # After the split: `evaluate` draws the same one from all images.
        splits = {
            side: data.verify_images(part, on_error=on_error, progress=f"{side} images")
            for side, part in splits.items()
        }
    # A split of a split has the lines of the whole.
    lines = (line for part in splits.values() for line in part.skipped)
    skipped = list(dict.fromkeys(lines))
    images = splits["train"]
    keras.utils.set_random_seed(seed)
    model = options.build_network(network, num_classes=len(images.class_names))
    start = _start(network) if pretrained else None
    if start:
        options.load_weights(model, start, network, include_classifier=False)
    config = tuning.FineTuneConfig(epochs=epochs, batch_size=batch_size, seed=seed)
    state_dir = f"{output}.state"
    history = tuning.fine_tune(
        model,
        splits,
        pretrained=bool(start),
        config=config,
        cache_dir=cache_dir,
        state_dir=state_dir,
        keep_minutes=keep_minutes,
    )
    predictions = evaluate.predict(classifiers.open_classifier(model), splits["test"])
    found = metrics.measure(predictions, splits["test"].labels)
    checkpoint.save_model(model, output)
    save_metadata(
        output,
        model_name=model.name,
        image_size=model.input_shape[1],
        class_names=images.class_names,
        data_dir=str(Path(images.data_dir).resolve()),
        seed=seed,
        pretrained=start and str(start),
        history=[dataclasses.asdict(epoch) for epoch in history],
        test=dataclasses.asdict(found),
        skipped=skipped,
    )
    shutil.rmtree(state_dir, ignore_errors=True)
    options.show(
        {"model": output, "test": dataclasses.asdict(found), "skipped": skipped},
        as_json,
        [
            *(f"skipped: {line}" for line in skipped),
            f"wrote {output}",
            f"test images {found.images}, top-1 {found.top1:.2%}",
        ],
    )


def _start(network: dict) -> str | Path | None:
    """Return the checkpoint to start from: the one given, or the one that ships."""
    from edgetpu_lib import checkpoint

    given = network["ckpt_dir"]
    changed = network["width_coefficient"] or network["depth_coefficient"]
    if given or changed:
        return given
    return checkpoint.shipped_checkpoint(network["model_name"])
