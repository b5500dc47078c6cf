"""`train`: the reference's recipe, on one machine or many."""

from __future__ import annotations

import dataclasses
import sys

import click

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import require_writable, save_metadata
from edgetpu_lib.commands import options

PRECISIONS = ("float32", "mixed_bfloat16")


@click.command("train")
@options.network_options
@options.DATA_SET
@click.option("--holdout_shards", type=click.IntRange(0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=350, show_default=True)
@click.option(
    "--batch_size",
    type=click.IntRange(1),
    default=2048,
    show_default=True,
    help="Images a step, over all devices.",
)
@click.option(
    "--base_learning_rate",
    type=float,
    default=0.016,
    show_default=True,
    help="Peak, for every 256 images of a batch.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["rmsprop", "adamw"]),
    default="rmsprop",
    show_default=True,
    help="The reference's, or the one for short trainings.",
)
@click.option(
    "--schedule",
    type=click.Choice(["exponential", "cosine", "constant"]),
    default="exponential",
    show_default=True,
)
@click.option("--warmup_epochs", type=float, default=5.0, show_default=True)
@click.option("--label_smoothing", type=float, default=0.1, show_default=True)
@click.option("--weight_decay", type=float, default=1e-5, show_default=True)
@click.option("--average_decay", type=float, default=0.9999, show_default=True)
@click.option("--dropout_rate", type=float, help="Of the classifier.  [default: 0.2]")
@click.option(
    "--survival_prob",
    type=float,
    help="Of the last block; 1 is no stochastic depth.  [default: 0.8]",
)
@options.flag(
    "--zero_classifier",
    default=False,
    help="Start it at zero: the reference's start is wild with few classes.",
)
@click.option(
    "--min_crop_area",
    type=float,
    default=0.08,
    show_default=True,
    help="Smallest share of an image that a random crop keeps.",
)
@options.flag("--randaugment", default=False, help="Vary colours and shapes.")
@options.flag("--mixup", default=False, help="Blend pairs of images.")
@options.BACKGROUND
@options.SEED
@options.ON_ERROR
@click.option("--keep_minutes", type=float, default=10, show_default=True)
@click.option("--keep_steps", type=click.IntRange(1), help="Keep the state more often.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=PRECISIONS[0],
    show_default=True,
    help="mixed_bfloat16 where the hardware has it: TPUs, recent GPUs.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="So many processes train together; on this machine unless --coordinator.",
)
@click.option(
    "--coordinator",
    help="Address and port of the first process; auto on a TPU pod slice.",
)
@click.option("--process_id", type=click.IntRange(0), help="Which process this is.")
@click.option(
    "--parts",
    type=click.IntRange(1),
    help="Parts the images are read in.  [default: the number of processes]",
)
@click.option(
    "--output",
    default="artifacts/train",
    show_default=True,
    help="Folder for the state and, at the end, the checkpoint.",
)
@click.option(
    "--output_tarball",
    help="Also pack the averages, rounded to bfloat16, into this .tar.gz.",
)
@options.JSON
def train(
    data_dir,
    holdout_shards,
    dropout_rate,
    survival_prob,
    zero_classifier,
    include_background_label,
    seed,
    on_error,
    keep_minutes,
    keep_steps,
    precision,
    processes,
    coordinator,
    process_id,
    parts,
    output,
    output_tarball,
    as_json,
    **flags,
) -> None:
    """Train all layers with the reference's recipe.

    The defaults are those for ImageNet on many TPU cores. Stopped, killed or crashed,
    the same command goes on from the last state in --output.
    """
    recipe_flags = set(flags) - set(options.NETWORK_FLAGS)
    recipe_values = {name: flags.pop(name) for name in recipe_flags}
    require_writable(f"{output}/checkpoint")
    if output_tarball:
        require_writable(output_tarball)
    if (processes or 1) > 1 and not coordinator:
        from edgetpu_lib.training import devices

        if code := devices.start_processes(sys.argv[1:], processes):
            sys.exit(code)
        return
    quiet.prefer_onednn()
    options.start()
    import keras

    from edgetpu_lib import build, data
    from edgetpu_lib import train as stage
    from edgetpu_lib.training import devices
    from edgetpu_lib.training.recipe import Recipe
    from edgetpu_lib.weights import tf1_writer

    recipe = Recipe(**recipe_values)
    if coordinator or keras.backend.backend() == "jax":
        devices.distribute(
            coordinator=coordinator, processes=processes, process_id=process_id
        )
    keras.config.set_dtype_policy(precision)
    splits = data.open_splits(
        data_dir,
        holdout_shards=holdout_shards,
        on_error=on_error,
        seed=seed,
        map_shards=devices.map_divided,
    )
    images, validation = splits["train"], splits.get("validation")
    if validation and devices.process()[1] == 1:
        # A damaged one must show before the first epoch, not after.
        validation = data.verify_images(
            validation, on_error=on_error, progress="validation images"
        )
    label_offset = int(include_background_label)
    keras.utils.set_random_seed(seed)
    model = options.build_network(
        flags,
        len(images.class_names) + label_offset,
        dropout_rate=dropout_rate,
        survival_prob=survival_prob,
    )
    if flags["ckpt_dir"]:
        options.load_weights(
            model, flags["ckpt_dir"], flags, include_classifier=not zero_classifier
        )
    if zero_classifier:
        build.zero_classifier(model)
    trained = stage.train(
        model,
        images,
        recipe,
        output,
        validation=validation,
        label_offset=label_offset,
        seed=seed,
        keep_minutes=keep_minutes,
        keep_steps=keep_steps,
        on_error=on_error,
        parts=parts or devices.process()[1],
    )
    if devices.process()[0]:
        return
    target = tf1_writer.save_weights(
        model,
        f"{output}/checkpoint",
        averages=trained.averages,
        global_step=trained.step,
    )
    if output_tarball:
        tf1_writer.save_weights(
            model,
            output_tarball,
            averages=trained.averages,
            global_step=trained.step,
            only_averages=True,
            round_to_bfloat16=True,
        )
    history = [dataclasses.asdict(row) for row in trained.history]
    held_out = validation.skipped if validation else ()
    skipped = list(dict.fromkeys((*images.skipped, *held_out, *trained.skipped)))
    save_metadata(
        target,
        model_name=model.name,
        image_size=model.input_shape[1],
        class_names=images.class_names,
        include_background_label=include_background_label,
        data_dir=data_dir,
        seed=seed,
        recipe=dataclasses.asdict(recipe),
        history=history,
        skipped=skipped,
    )
    last = trained.history[-1]
    options.show(
        {
            "checkpoint": str(target),
            "step": trained.step,
            "epochs": history,
            "skipped": skipped,
        },
        as_json,
        [
            *(f"skipped: {line}" for line in skipped),
            f"wrote {target}, step {trained.step}, loss {last.loss:.3f}",
        ],
    )
