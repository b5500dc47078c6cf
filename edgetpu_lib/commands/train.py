"""`train`: train all layers with the reference's recipe, on one machine or many."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError, require_writable, save_metadata
from edgetpu_lib.base.single_run import only_run
from edgetpu_lib.commands import class_tables, options
from edgetpu_lib.training.settings import Recipe
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import keras

    from edgetpu_lib.data import Images
    from edgetpu_lib.train import Trained


@dataclasses.dataclass(frozen=True)
class Flags:
    """What else a training takes, where it runs and where it writes.

    Attributes:
        holdout_shards: number of training shards that become the validation split.
        include_background_label: output 0 of the model is the background class, which
            the labels leave out.
        seed: seed of the split, of new weights, order, augmentation and dropout.
        on_error: at an image that cannot be read, stop or leave it out and report it.
        dropout_rate: dropout before the classifier, 0..1. [default: 0.2]
        survival_prob: stochastic depth: probability that the last block is kept, 0..1;
            1 keeps all. [default: 0.8]
        zero_classifier: start the classifier at zero; with few classes the reference's
            start gives wild first predictions.
        keep_minutes: minutes between two savings of the state.
        keep_steps: save the state after so many steps, too.
        precision: mixed_bfloat16 is for hardware that has it: TPUs, recent GPUs.
        processes: number of processes that train together; they are started on this
            machine unless there is a --coordinator.
        coordinator: address and port of the first process; auto on a TPU pod slice.
        process_id: number of this process, from 0.
        parts: number of parts the images are read in. [default: the number of
            processes]
        mode: train measures nothing on validation images; to measure alone, use the
            command evaluate.
        archive_ckpt: keep the checkpoint of the best validation accuracy in the folder
            archive of --output.
        output: folder for the state and, at the end, the checkpoint.
        output_tarball: .tar.gz file for the averages alone, rounded to bfloat16.
    """

    holdout_shards: options.Natural = 0
    include_background_label: bool = False
    seed: int = 0
    on_error: options.OnError = "raise"
    dropout_rate: float | None = None
    survival_prob: float | None = None
    zero_classifier: bool = False
    keep_minutes: float = 10
    keep_steps: options.Count | None = None
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    processes: options.Count | None = None
    coordinator: str | None = None
    process_id: options.Natural | None = None
    parts: options.Count | None = None
    mode: Literal["train_and_eval", "train", "eval"] = "train_and_eval"
    archive_ckpt: bool = True
    output: str = "artifacts/train"
    output_tarball: str | None = None


@options.command
@options.JSON
def train(
    *,
    data_set: options.DataSet,
    recipe: Recipe,
    flags: Flags,
    network: Network,
    as_json: bool,
) -> int:
    """Train all layers with the reference's recipe.

    The defaults are those for ImageNet on many TPU cores. After an interruption or a
    crash the same command continues from the last state in --output.
    """
    if flags.mode == "eval":
        raise InputError(
            "--mode=eval measures a checkpoint: use the command evaluate, with"
            " --ckpt_dir and --data_dir"
        )
    for output in filter(None, (f"{flags.output}/checkpoint", flags.output_tarball)):
        require_writable(output)
    if (flags.processes or 1) > 1 and not flags.coordinator:
        return _start_processes(flags.processes)
    process, processes = _start_keras(flags)
    with contextlib.nullcontext() if process else only_run(flags.output):
        return _train(data_set, recipe, flags, network, as_json, process, processes)


def _train(
    data_set: options.DataSet,
    recipe: Recipe,
    flags: Flags,
    network: Network,
    as_json: bool,
    process: int,
    processes: int,
) -> int:
    """Train in one process of all; the first one writes the results."""
    from edgetpu_lib import train as stage

    images, validation = _open_images(data_set, flags)
    label_offset = int(flags.include_background_label)
    model = _build(network, flags, len(images.class_names) + label_offset)
    class_tables.print_classes({"train": images, "validation": validation})
    trained = stage.train(
        model,
        images,
        recipe,
        flags.output,
        validation=validation,
        label_offset=label_offset,
        seed=flags.seed,
        keep_minutes=flags.keep_minutes,
        keep_steps=flags.keep_steps,
        on_error=flags.on_error,
        parts=flags.parts or processes,
        archive=_archive(flags.output) if flags.archive_ckpt else None,
    )
    if process:
        return 0
    held_out = validation.skipped if validation else ()
    facts = {
        "epochs": [dataclasses.asdict(row) for row in trained.history],
        "skipped": list(dict.fromkeys((*images.skipped, *held_out, *trained.skipped))),
    }
    target = _save_weights(model, trained, flags)
    metadata = {
        "model_name": model.name,
        "image_size": model.input_shape[1],
        "resize": recipe.resize,
        "class_names": images.class_names,
        "include_background_label": flags.include_background_label,
        "data_dir": data_set.data_dir,
        "seed": flags.seed,
        "recipe": dataclasses.asdict(recipe),
        "history": facts["epochs"],
        "skipped": facts["skipped"],
    }
    for path in _written(target, flags):
        save_metadata(path, **metadata)
    content = {"checkpoint": target, "step": trained.step, **facts}
    line = f"wrote {target}, step {trained.step}, loss {trained.history[-1].loss:.3f}"
    options.print_training(content, as_json, [line])
    return 0


def _start_processes(count: int) -> int:
    """Run this command in several processes; return the exit code."""
    from edgetpu_lib.training import devices

    return devices.start_processes(sys.argv[1:], count)


def _start_keras(flags: Flags) -> tuple[int, int]:
    """Start Keras on the devices; return this process's index and their number."""
    quiet.prefer_onednn()
    quiet.start_tensorflow()
    import keras

    from edgetpu_lib.training import devices

    devices.end_with_launcher()
    if flags.coordinator or keras.backend.backend() == "jax":
        devices.distribute(
            coordinator=flags.coordinator,
            processes=flags.processes,
            process_id=flags.process_id,
        )
    keras.config.set_dtype_policy(flags.precision)
    return devices.process()


def _open_images(
    data_set: options.DataSet, flags: Flags
) -> tuple[Images, Images | None]:
    """Return the images to train on and those for validation, if there are any."""
    from edgetpu_lib import data
    from edgetpu_lib.training import devices

    splits = data.open_splits(
        data_set.data_dir,
        images_per_class=data_set.images_per_class,
        holdout_shards=flags.holdout_shards,
        on_error=flags.on_error,
        seed=flags.seed,
        map_shards=devices.map_divided,
    )
    validation = splits.get("validation")
    if validation and flags.mode == "train_and_eval" and devices.process()[1] == 1:
        # A damaged image must show before the first epoch, not after it.
        validation = data.verify_images(
            validation, on_error=flags.on_error, progress="validation images"
        )
    return splits["train"], validation if flags.mode == "train_and_eval" else None


def _build(network: Network, flags: Flags, num_classes: int) -> keras.Model:
    """Return the model to train, with the weights it starts from."""
    import keras

    from edgetpu_lib import build, checkpoint

    keras.utils.set_random_seed(flags.seed)
    model = build.build_model(
        network.model_name,
        num_classes=network.num_classes or num_classes,
        dropout_rate=flags.dropout_rate,
        survival_prob=flags.survival_prob,
        **network.overrides,
    )
    if network.ckpt_dir:
        checkpoint.load_weights(
            model,
            network.ckpt_dir,
            use_ema=network.enable_ema,
            include_classifier=not flags.zero_classifier,
        )
    if flags.zero_classifier:
        build.zero_classifier(model)
    return model


def _archive(output: str) -> Callable[[keras.Model, Mapping[str, Any], int], None]:
    """Return a function that keeps a checkpoint in the output's archive."""
    from edgetpu_lib.weights import tf1_writer

    def keep(model: keras.Model, averages: Mapping[str, Any], step: int) -> None:
        folder = f"{output}/archive"
        tf1_writer.save_weights(model, folder, averages=averages, global_step=step)

    return keep


def _written(target: str, flags: Flags) -> list[Path]:
    """Return all checkpoints of a training: the last, its averages and the best."""
    found = [target, flags.output_tarball]
    found += [f"{flags.output}/archive"] if flags.archive_ckpt else []
    return [Path(path) for path in found if path and Path(path).exists()]


def _save_weights(model: keras.Model, trained: Trained, flags: Flags) -> str:
    """Write the checkpoint, and the averages alone if a tarball is asked for."""
    from edgetpu_lib.weights import tf1_writer

    facts = {"averages": trained.averages, "global_step": trained.step}
    target = tf1_writer.save_weights(model, f"{flags.output}/checkpoint", **facts)
    if flags.output_tarball:
        tf1_writer.save_weights(
            model,
            flags.output_tarball,
            **facts,
            only_averages=True,
            round_to_bfloat16=True,
        )
    return str(target)
