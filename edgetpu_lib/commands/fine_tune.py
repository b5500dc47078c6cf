"""`fine-tune`: images in, a trained model out."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError, require_writable, save_metadata
from edgetpu_lib.commands import options
from edgetpu_lib.training.settings import FineTuneConfig
from edgetpu_lib.weights.network import (
    Network,
    build_network,
    first_checkpoint,
    load_weights,
)

if TYPE_CHECKING:
    from edgetpu_lib.data import Images


@dataclasses.dataclass(frozen=True)
class Flags:
    """How to start, and where to write.

    Attributes:
        pretrained: start from --ckpt_dir, or from the checkpoint that ships (S only).
        on_error: at an image that cannot be read, stop or leave it out and report it.
        cache_dir: folder of features that are kept between runs.
        keep_minutes: minutes between two savings of the state.
        output: .keras file to write; its metadata is written beside it.
    """

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
    if network.ckpt_dir and not flags.pretrained:
        raise InputError("--ckpt_dir and --pretrained=False do not go together")
    require_writable(flags.output)
    quiet.prefer_onednn()
    quiet.start_tensorflow()
    import keras

    from edgetpu_lib import checkpoint, evaluate
    from edgetpu_lib import fine_tune as tuning
    from edgetpu_lib.evaluation import classifiers, metrics

    splits = _open_splits(data_set, config.seed, flags.on_error)
    # A split of a split has the lines of the whole.
    lines = (line for part in splits.values() for line in part.skipped)
    skipped = list(dict.fromkeys(lines))
    images = splits["train"]
    keras.utils.set_random_seed(config.seed)
    model = build_network(network, num_classes=len(images.class_names))
    start = first_checkpoint(network) if flags.pretrained else None
    if start:
        load_weights(model, start, use_ema=network.enable_ema, include_classifier=False)
    state_dir = f"{flags.output}.state"
    history = tuning.fine_tune(
        model,
        splits,
        pretrained=bool(start),
        config=config,
        cache_dir=flags.cache_dir,
        state_dir=state_dir,
        keep_minutes=flags.keep_minutes,
    )
    predictions = evaluate.predict(classifiers.open_classifier(model), splits["test"])
    found = metrics.measure(predictions, splits["test"].labels)
    checkpoint.save_model(model, flags.output)
    save_metadata(
        flags.output,
        model_name=model.name,
        image_size=model.input_shape[1],
        class_names=images.class_names,
        data_dir=str(Path(images.data_dir).resolve()),
        seed=config.seed,
        pretrained=start and str(start),
        history=[dataclasses.asdict(epoch) for epoch in history],
        test=dataclasses.asdict(found),
        skipped=skipped,
    )
    shutil.rmtree(state_dir, ignore_errors=True)
    lines = [f"skipped: {line}" for line in skipped]
    lines += [f"wrote {flags.output}"]
    lines += [f"test images {found.images}, top-1 {found.top1:.2%}"]
    content = {"model": flags.output, "test": dataclasses.asdict(found)}
    options.print_result({**content, "skipped": skipped}, as_json, lines)


def _open_splits(
    data_set: options.DataSet, seed: int, on_error: str
) -> dict[str, Images]:
    """Return splits for training, validation and test, without damaged images."""
    from edgetpu_lib import data

    splits = data.open_splits(
        data_set.data_dir,
        images_per_class=data_set.images_per_class,
        seed=seed,
        on_error=on_error,
    )
    splits = data.with_validation(splits, seed=seed)
    if on_error == "raise":
        return splits
    # After the split: `evaluate` draws the same one from all images.
    return {
        side: data.verify_images(part, on_error=on_error, progress=f"{side} images")
        for side, part in splits.items()
    }
