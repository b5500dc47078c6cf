"""`fine-tune`: images in, a trained model out."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError, require_writable, save_metadata
from edgetpu_lib.base.single_run import only_run
from edgetpu_lib.commands import class_tables, options, quantized_training
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.training.settings import FineTuneConfig
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import keras

    from edgetpu_lib.data import Images


@dataclasses.dataclass(frozen=True)
class Flags:
    """How to start, and where to write.

    Attributes:
        model: trained .keras file of this library to train on with --quantize, instead
            of fine-tuning first.
        quantize: after that, train a few epochs in 8 bits, as the int8 file computes.
            `export` then takes the ranges of --output's metadata.
        pretrained: start from --ckpt_dir, or from the checkpoint that ships (S only).
        on_error: at an image that cannot be read, stop or leave it out and report it.
        cache_dir: folder of features that are kept between runs.
        keep_minutes: minutes between two savings of the state.
        output: .keras file to write; its metadata is written beside it.
    """

    model: str | None = None
    quantize: bool = False
    pretrained: bool = True
    on_error: options.OnError = "raise"
    cache_dir: str = "artifacts/features"
    keep_minutes: float = 1
    output: str = "artifacts/fine_tuned.keras"


@options.command
@options.JSON
def fine_tune(
    *,
    data_set: options.DataSet,
    flags: Flags,
    config: FineTuneConfig,
    network: Network,
    as_json: bool,
) -> None:
    """Train on images, from a checkpoint or from random weights.

    M and L, and S of another width, have no checkpoint that ships: without --ckpt_dir
    all their layers start from random weights. A small --image_size such as 96 keeps
    that within minutes. After an interruption or a crash the same command continues
    from the state beside --output, which is removed at the end.
    """
    if not flags.output.endswith(".keras"):
        raise InputError(f"--output={flags.output} must end in .keras")
    if flags.model and not flags.quantize:
        raise InputError(f"--model={flags.model} is for --quantize; add it")
    if flags.model and network != Network():
        raise InputError(
            f"--model={flags.model} has its own size and weights; leave out the options"
            " of the network"
        )
    if network.ckpt_dir and not flags.pretrained:
        raise InputError("--ckpt_dir and --pretrained=False do not go together")
    require_writable(flags.output)
    quiet.prefer_onednn()
    quiet.start_tensorflow()
    state_dir = f"{flags.output}.state"
    with only_run(state_dir):
        _fine_tune(data_set, flags, config, network, as_json)
        shutil.rmtree(state_dir, ignore_errors=True)


def _fine_tune(
    data_set: options.DataSet,
    flags: Flags,
    config: FineTuneConfig,
    network: Network,
    as_json: bool,
) -> None:
    """Train, measure on test images, and write the model."""
    from edgetpu_lib import checkpoint
    from edgetpu_lib import fine_tune as tuning

    splits, skipped = _open_splits(data_set, config.seed, flags.on_error)
    images = splits["train"]
    classes = len(images.class_names)
    if flags.model:
        start, history = flags.model, []
        model, config = quantized_training.open_trained(
            start, images.class_names, config
        )
        class_tables.print_classes(splits)
    else:
        model, start = _build(network, classes, config.seed, flags.pretrained)
        class_tables.print_classes(splits)
        history = tuning.fine_tune(
            model,
            splits,
            pretrained=bool(start),
            config=config,
            cache_dir=flags.cache_dir,
            state_dir=f"{flags.output}.state",
            keep_minutes=flags.keep_minutes,
        )
    quantized = {}
    if flags.quantize:
        quantized = quantized_training.train_in_8_bits(
            model,
            splits,
            history,
            config,
            state_dir=f"{flags.output}.state",
            keep_minutes=flags.keep_minutes,
        )
    found, per_class = _measure(model, splits["test"], config.resize)
    facts = {"test": found, "per_class": per_class, "skipped": skipped, **quantized}
    checkpoint.save_model(model, flags.output)
    save_metadata(
        flags.output,
        model_name=model.name,
        image_size=model.input_shape[1],
        resize=config.resize,
        class_names=images.class_names,
        data_dir=str(Path(images.data_dir).resolve()),
        seed=config.seed,
        pretrained=start,
        training_images=len(images),
        date=datetime.date.today().isoformat(),
        history=[dataclasses.asdict(epoch) for epoch in history],
        **facts,
    )
    _print({"model": flags.output, **facts}, as_json)


def _print(content: dict[str, Any], as_json: bool) -> None:
    """Print where the model is and how well it predicts, also for each class."""
    test = content["test"]
    lines = [
        f"wrote {content['model']}",
        f"test images {test['images']}, top-1 {test['top1']:.2%}",
    ]
    if found := content.get("int8_top1"):
        lines.append(
            f"as int8 file: top-1 {found['quantization_aware']:.2%}; before the"
            f" training in 8 bits {found['post_training']:.2%}"
        )
    options.print_training(content, as_json, lines)
    if not as_json:
        class_tables.print_worst_classes(content["per_class"])


def _build(
    network: Network, num_classes: int, seed: int, pretrained: bool
) -> tuple[keras.Model, str | None]:
    """Return the model to train, and the checkpoint it starts from, if any.

    It is --ckpt_dir, or the one that ships for a network of the published size.
    """
    import keras

    from edgetpu_lib import build, checkpoint

    if network.num_classes not in (None, num_classes):
        raise InputError(
            f"--num_classes={network.num_classes} but the images have {num_classes}"
            " classes; leave it out"
        )
    keras.utils.set_random_seed(seed)
    model = build.build_model(
        network.model_name,
        num_classes=num_classes,
        **network.overrides,
    )
    start = network.ckpt_dir
    if not start and network.has_published_layers:
        start = checkpoint.shipped_checkpoint(network.model_name)
    if not (start and pretrained):
        return model, None
    checkpoint.load_weights(
        model, start, use_ema=network.enable_ema, include_classifier=False
    )
    return model, str(start)


def _open_splits(
    data_set: options.DataSet, seed: int, on_error: str
) -> tuple[dict[str, Images], list[str]]:
    """Return splits for training, validation and test, and what was skipped."""
    from edgetpu_lib import data

    splits = data.open_splits(
        data_set.data_dir,
        images_per_class=data_set.images_per_class,
        seed=seed,
        on_error=on_error,
    )
    splits = data.with_validation(splits, seed=seed)
    # After the split: `evaluate` draws the same one from all images.
    for side, part in splits.items() if on_error == "skip" else ():
        splits[side] = data.verify_images(
            part, on_error=on_error, progress=f"{side} images"
        )
    # A split of a split has the lines of the whole.
    lines = (line for part in splits.values() for line in part.skipped)
    return splits, list(dict.fromkeys(lines))


def _measure(
    model: keras.Model, images: Images, resize: Resize
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the accuracies of a model on test images, of all and of each class."""
    from edgetpu_lib import evaluate
    from edgetpu_lib.evaluation import classifiers, metrics

    opened = classifiers.open_classifier(model, resize=resize)
    predictions = evaluate.predict(opened, images)
    rows = metrics.per_class(predictions, images.labels, images.class_names)
    measured = metrics.measure(predictions, images.labels)
    return dataclasses.asdict(measured), [dataclasses.asdict(row) for row in rows]
