"""What does here what each flag of the reference's programs does there.

Source of the names: tensorflow/tpu models/official/efficientnet main.py,
eval_ckpt_main.py, export_model.py and inspect_model_architecture.py; the flags of
AdvProp and LARS are those of these programs, too.
"""

from __future__ import annotations

import re

# Second names of options with the same values.
SAME = {
    "eval_batch_size": "batch_size",
    "image_res": "image_size",
    "input_image_size": "image_size",
    "lr_decay_epoch": "decay_epochs",
    "lr_decay_factor": "decay_factor",
    "lr_schedule": "schedule",
    "lr_warmup_epochs": "warmup_epochs",
    "moving_average_decay": "average_decay",
    "num_label_classes": "num_classes",
    "train_batch_size": "batch_size",
}
# Flags whose values differ here: what to give instead.
INSTEAD = {
    "augment_name": "use --randaugment of train; AutoAugment is not here",
    "eval_name": "use --output of report, one folder for each evaluation",
    "eval_timeout": "train measures after every epoch and waits for nothing",
    "export_ckpt": "use --output_tarball of train, which writes the averages alone",
    "export_dir": "use --output_saved_model_dir of export",
    "model_dir": "use --output of train, which holds state, checkpoint and archive",
    "runmode": "use the command classify for examples, evaluate for imagenet",
    "steps_per_eval": "train measures after every epoch; see --epochs",
    "train_steps": "use --epochs of train; a step takes --batch_size images",
    "use_async_checkpointing": "use --keep_minutes of train; saving takes a second",
    "use_bfloat16": "use --precision=mixed_bfloat16 of train",
    "use_tpu": "set KERAS_BACKEND=jax: train then uses every device, TPUs too",
}
_TPU = "set KERAS_BACKEND=jax and use --coordinator of train on several machines"
INSTEAD |= dict.fromkeys(
    ("tpu", "tpu_zone", "tpu_job_name", "gcp_project", "master"), _TPU
)
INSTEAD |= dict.fromkeys(
    ("num_replicas", "num_cores", "num_shards"),
    "train uses every device; see --processes and --parts of train",
)
_NOT_HERE = "these networks were not trained with it, and it is not here"
INSTEAD |= {
    "advprop_preprocessing": f"leave it out: {_NOT_HERE}",
    "lars_epsilon": "use --optimizer=rmsprop of train; LARS is not here",
    "lars_weight_decay": "use --weight_decay of train; LARS is not here",
}
INSTEAD |= dict.fromkeys(
    (
        *("bigtable_project", "bigtable_instance", "bigtable_table"),
        *("bigtable_train_prefix", "bigtable_eval_prefix"),
        *("bigtable_column_family", "bigtable_column_qualifier"),
    ),
    "use --data_dir with TFRecord shards; Bigtable is not here",
)
# Flags for which nothing need be done, and why.
NEEDLESS = {
    "batch_norm_batch_size": "batch normalization is over the global batch",
    "data_format": "networks are channels_last, as TFLite needs",
    "export_to_tpu": "a SavedModel runs on TPUs as it is",
    "iterations_per_loop": "steps are taken one by one",
    "log_step_count_steps": "the progress bar shows every step",
    "num_eval_images": "images are counted when they are opened",
    "num_parallel_calls": "images are read by one thread for every core",
    "num_train_images": "images are counted when they are opened",
    "skip_host_call": "losses and rates cost no time here",
    "transpose_input": "the compiler chooses the layout of arrays",
    "use_cache": "the system keeps files that were read in memory",
}


def also(option: str) -> list[str]:
    """Return the reference's names of an option."""
    return [theirs for theirs, ours in SAME.items() if ours == option]


def remedy(name: str) -> str | None:
    """Return what does here what a flag of the reference does, or `None`."""
    if name in SAME:
        return f"use --{SAME[name]}, where a command has it"
    if name in INSTEAD:
        return INSTEAD[name]
    return f"leave it out: {NEEDLESS[name]}" if name in NEEDLESS else None


def explain(option: str) -> str | None:
    """Return an error message for an option of the reference, `None` for others.

    Args:
        option: as typed, with dashes, without its value; `--nox` is `--x`.
    """
    name = option.lstrip("-_").replace("-", "_")
    for known in (name, re.sub("^no_?", "", name)):
        if text := remedy(known):
            return f"--{known} is a flag of the reference; here, {text}."
    return None
