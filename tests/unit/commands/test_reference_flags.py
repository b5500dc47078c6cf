"""Flags of the reference's programs work, or the error says what does it here."""

import re

import pytest

from edgetpu_lib.commands import main as cli
from edgetpu_lib.commands import reference_flags

# tensorflow/tpu models/official/efficientnet: main.py, eval_ckpt_main.py,
# export_model.py, inspect_model_architecture.py.
REFERENCE = """
use_tpu tpu_job_name tpu gcp_project tpu_zone data_dir holdout_shards eval_name
archive_ckpt model_dir model_name mode augment_name randaug_num_layers randaug_magnitude
train_steps input_image_size train_batch_size eval_batch_size batch_norm_batch_size
num_train_images num_eval_images steps_per_eval eval_timeout skip_host_call
iterations_per_loop num_parallel_calls bigtable_project bigtable_instance bigtable_table
bigtable_train_prefix bigtable_eval_prefix bigtable_column_family
bigtable_column_qualifier data_format num_label_classes batch_norm_momentum
batch_norm_epsilon transpose_input use_bfloat16 export_dir export_to_tpu
base_learning_rate lr_decay_epoch moving_average_decay weight_decay label_smoothing
dropout_rate survival_prob mixup_alpha log_step_count_steps use_cache depth_coefficient
width_coefficient use_async_checkpointing optimizer lr_schedule lr_decay_factor
lr_warmup_epochs lars_weight_decay lars_epsilon num_replicas
runmode imagenet_eval_glob imagenet_eval_label ckpt_dir enable_ema export_ckpt
example_img labels_map_file include_background_label advprop_preprocessing num_images
output_tflite quantize num_steps image_size batch_size endpoint_name
output_saved_model_dir image_res
""".split()


def options_of(command):
    made = cli.commands.get_command(None, command)
    return {opt.removeprefix("--") for each in made.params for opt in each.opts}


def all_options():
    commands = cli.commands.list_commands(None)
    return {command: options_of(command) for command in commands}


@pytest.mark.parametrize("name", REFERENCE)
def test_every_flag_is_known(name):
    here = set().union(*all_options().values())
    assert name in here or reference_flags.remedy(name)


def test_every_target_exists():
    options = all_options()
    everywhere = set().union(*options.values())
    for name in (*reference_flags.INSTEAD, *reference_flags.SAME):
        text = reference_flags.remedy(name)
        for option in re.findall(r"--(\w+)", text):
            assert option in everywhere, (name, option)
        for option, command in re.findall(r"--(\w+)\S* of (\w+)", text):
            assert option in options[command], (name, command, option)
        for command in re.findall(r"the command ([\w-]+)", text):
            assert command in options, (name, command)


def test_no_flag_that_is_explained_is_an_option():
    explained = {*reference_flags.INSTEAD, *reference_flags.NEEDLESS}
    assert not explained & options_of("train")


def test_docs_name_every_flag(repo_root):
    page = (repo_root / "docs/train.md").read_text(encoding="utf-8")
    for name in REFERENCE:
        if reference_flags.remedy(name) or name in options_of("train"):
            assert f"`{name}`" in page, name


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--use_tpu=False", "KERAS_BACKEND"),
        ("--nouse_tpu", "KERAS_BACKEND"),
        ("--tpu=x", "--coordinator"),
        ("--data-format=channels_first", "channels_last"),
        ("--model_dir=/tmp/x", "--output"),
        ("--iterations_per_loop=100", "leave it out"),
        ("--train_steps=100", "--epochs"),
        ("--notranspose_input", "leave it out"),
    ],
)
def test_error_says_what_does_it_here(flag, named, capsys):
    assert cli.main(["train", flag]) == cli.EXIT_BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert "Did you mean" not in line


def test_unknown_options_are_named_as_before(capsys):
    assert cli.main(["train", "--colour=red"]) == cli.EXIT_BAD_INPUT
    assert "--colour" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--lr_decay_epoch=0"],
        ["--train_batch_size=0"],
        ["--lr_decay_factor=-1"],
        ["--optimizer=lars"],
        ["--randaug_magnitude=99"],
        ["--mode=eval"],
    ],
)
def test_names_of_the_reference_set_our_options(flags, tmp_path, capsys):
    code = cli.main(["train", *flags, f"--output={tmp_path / 'out'}"])
    assert code == cli.EXIT_BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "No such option" not in line
    assert flags[0].split("=")[1] in line
    assert not (tmp_path / "out").exists()


def test_decay_of_the_reference_is_the_recipes():
    command = cli.commands.get_command(None, "train")
    context = command.make_context(
        "train", ["--lr_decay_epoch=3", "--lr_decay_factor", "0.5", "--mixup_alpha=0.2"]
    )
    assert context.params["decay_epochs"] == 3
    assert context.params["decay_factor"] == 0.5
    assert context.params["mixup_alpha"] == 0.2
