"""The command line: classify, export, evaluate, fine-tune.

Takes flags named as the reference's; gives files, tables, or JSON.
Nothing here imports TensorFlow before a command needs it, so that help is instant.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from edgetpu_lib.artifacts import (
    InputError,
    read_record,
    require_writable,
    save_record,
    write_file,
)
from edgetpu_lib.specs import SPECS

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
DEFAULT_MODEL = next(iter(SPECS))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: as typed after the program's name; `None` takes `sys.argv`.

    Returns:
        0 when all went well; 2 for bad input, with one line that says what and how
        to mend it; 130 when interrupted.
    """
    try:
        return commands.main(arguments, "edgetpu_lib", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        message = f"{error.format_message()} See --help."
    except (InputError, OSError) as error:
        message = str(error)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; files finished before are untouched", file=sys.stderr)
        return EXIT_INTERRUPTED
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return EXIT_BAD_INPUT


@click.group(
    # Dashes and underscores are the same: --model-name is --model_name.
    context_settings={"token_normalize_func": lambda name: name.replace("-", "_")},
    no_args_is_help=True,
)
@click.version_option(package_name="edgetpu_lib")
def commands() -> None:
    """EfficientNet-EdgeTPU: photos in, a quantized, measured classifier out."""


def _flag(name: str, *, default: bool, help: str):
    """Make a switch that can be written --name, --name=True and --name=False."""
    return click.option(
        name,
        type=click.BOOL,
        is_flag=False,
        flag_value="true",
        default=default,
        show_default=True,
        metavar="[=BOOL]",
        help=help,
    )


_NETWORK_OPTIONS = (
    click.option(
        "--model_name", default=DEFAULT_MODEL, show_default=True, help=", ".join(SPECS)
    ),
    click.option("--ckpt_dir", help="TF-1 checkpoint: folder, prefix or .tar.gz."),
    _flag("--enable_ema", default=True, help="Load the averaged weights."),
    click.option("--image_size", type=int, help="Pixels.  [default: the model's own]"),
    click.option("--num_classes", type=int, help="Logits.  [default: 1001]"),
    click.option("--width_coefficient", type=float, help="Factor on channels."),
    click.option("--depth_coefficient", type=float, help="Factor on repeats."),
)
_BACKGROUND = _flag(
    "--include_background_label",
    default=False,
    help="The model's class 0 is the background; labels leave it out.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def _network_options(command):
    for option in reversed(_NETWORK_OPTIONS):
        command = option(command)
    return command


def _load_network(model: str | None, network: dict[str, object]):
    """Return the Keras model that the flags describe, with its weights.

    Args:
        model: a `.keras` file, which wins over a checkpoint.
        network: the values of `_NETWORK_OPTIONS`.

    Raises:
        InputError: neither a model nor a checkpoint is given, or it cannot be loaded.
    """
    _start()
    from edgetpu_lib import checkpoint

    if model:
        return checkpoint.load_model(model)
    if not network["ckpt_dir"]:
        raise InputError(
            "no weights given; add --ckpt_dir=FOLDER or --model=FILE.keras"
        )
    built = _build(network)
    checkpoint.load_weights(built, network["ckpt_dir"], use_ema=network["enable_ema"])
    return built


def _build(network: dict[str, object], num_classes: int = 1001):
    """Build the model that the flags describe, with fresh weights."""
    from edgetpu_lib import build

    return build.build_model(
        network["model_name"],
        num_classes=network["num_classes"] or num_classes,
        image_size=network["image_size"],
        width_coefficient=network["width_coefficient"],
        depth_coefficient=network["depth_coefficient"],
    )


def _start() -> None:
    from edgetpu_lib.quiet import start_tensorflow

    start_tensorflow()


def _answer(content: dict, as_json: bool, lines: list[str]) -> None:
    """Print the answer for a program or for a person."""
    print(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


@commands.command()
@_network_options
@click.option("--model", help=".tflite or .keras file, instead of a checkpoint.")
@click.option("--example_img", required=True, help="The photo.")
@click.option("--labels_map_file", help="JSON {index: name}, or one name a line.")
@_BACKGROUND
@click.option("--top", type=click.IntRange(1), default=5, show_default=True)
@_JSON
def classify(
    model,
    example_img,
    labels_map_file,
    include_background_label,
    top,
    as_json,
    **network,
) -> None:
    """Say what is on a photo."""
    from edgetpu_lib import deploy

    labels = deploy.read_labels(labels_map_file) if labels_map_file else None
    if model and model.endswith(".tflite"):
        scores = deploy.score_photo(model, example_img)
    else:
        scores = _scores_of_keras(_load_network(model, network), example_img)
    if labels is None and model:
        labels = read_record(model).get("class_names")
    answers = deploy.best_answers(
        scores, labels, top=top, background_first=include_background_label
    )
    _answer(
        {"predictions": [dataclasses.asdict(answer) for answer in answers]},
        as_json,
        [f"{a.probability:8.2%}  {a.label}  (class {a.index})" for a in answers],
    )


def _scores_of_keras(model, photo: str):
    import numpy as np

    from edgetpu_lib import data, evaluate

    one = data.Photos((Path(photo),), np.zeros(1, np.int64), ("unknown",))
    return evaluate.predict_keras(model, one, progress=None)[0]


@commands.command()
@_network_options
@click.option("--model", help=".keras file, instead of a checkpoint.")
@click.option("--data_dir", help="Photos for calibration; labels do not matter.")
@click.option(
    "--num_steps",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Calibration photos, at most.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of their draw.")
@click.option(
    "--endpoint_name", help="Export features: pooled_features, reduction_1…5."
)
@_flag("--quantize", default=True, help="Full integers, or float32.")
@click.option("--output_tflite", help="The .tflite file to write.")
@click.option("--output_saved_model_dir", help="The SavedModel folder to write.")
@_JSON
def export(
    model,
    data_dir,
    num_steps,
    seed,
    endpoint_name,
    quantize,
    output_tflite,
    output_saved_model_dir,
    as_json,
    **network,
) -> None:
    """Write a TFLite file, a SavedModel, or both."""
    if not (output_tflite or output_saved_model_dir):
        raise InputError("nothing to write; add --output_tflite=FILE")
    if output_tflite and quantize and not data_dir:
        raise InputError(
            "quantization needs photos: add --data_dir=FOLDER, or --quantize=False"
        )
    for output in filter(None, (output_tflite, output_saved_model_dir)):
        require_writable(output)
    keras_model = _load_network(model, network)
    from edgetpu_lib import build, convert, data

    if endpoint_name:
        exported = build.feature_model(keras_model, endpoint_name)
    else:
        exported = convert.with_softmax(keras_model)
    record = read_record(model) if model else {}
    kept = ("data_dir", "seed", "pretrained")
    if not endpoint_name:
        kept += ("class_names",)
    facts = {
        "model_name": keras_model.name,
        "image_size": keras_model.input_shape[1],
        **{name: record[name] for name in kept if name in record},
        "weights": str(model or network["ckpt_dir"]),
        "output": endpoint_name or "probabilities",
    }
    calibration = None
    if output_tflite and quantize:
        # Test photos must not set ranges.
        photos = data.list_pictures(data_dir)
        photos, _ = _choose_split(photos, None, record, "train")
        calibration = data.calibration_photos(photos, num_steps, seed=seed)
        facts["calibration"] = {"data_dir": data_dir, "photos": len(calibration)}
    written = {}
    if output_saved_model_dir:
        convert.save_saved_model(exported, output_saved_model_dir)
        written["saved_model"] = output_saved_model_dir
    if output_tflite:
        if calibration:
            content = convert.to_int8_tflite(exported, calibration)
        else:
            content = convert.to_float_tflite(exported)
        write_file(output_tflite, content)
        save_record(output_tflite, **facts)
        written["tflite"] = output_tflite
    _answer(written, as_json, [f"wrote {path}" for path in written.values()])


@commands.command()
@_network_options
@click.option("--model", help=".tflite or .keras file, instead of a checkpoint.")
@click.option("--data_dir", required=True, help="Folder of class folders.")
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="[default: test if the model was trained on this folder, else all]",
)
@_BACKGROUND
@_JSON
def evaluate(
    model, data_dir, split, include_background_label, as_json, **network
) -> None:
    """Measure top-1 and top-5 on labelled photos."""
    record = read_record(model) if model else {}
    is_tflite = model and model.endswith(".tflite")
    keras_model = None if is_tflite else _load_network(model, network)
    _start()
    from edgetpu_lib import data, interpreter
    from edgetpu_lib import evaluate as stage

    if is_tflite:
        opened = interpreter.open_interpreter(model)
        classes = interpreter.output_contract(opened).shape[-1]
    else:
        classes = keras_model.output_shape[-1]
    photos = data.list_photos(data_dir)
    _check_classes(photos, record, classes, include_background_label)
    photos, split = _choose_split(photos, split, record, "test")
    if is_tflite:
        scores = stage.predict_tflite(model, photos)
    else:
        scores = stage.predict_keras(keras_model, photos)
    metrics = stage.measure(scores, photos.labels + int(include_background_label))
    _answer(
        {**dataclasses.asdict(metrics), "split": split},
        as_json,
        [
            f"photos  {metrics.images} ({split})",
            f"top-1   {metrics.top1:.2%}",
            f"top-5   {metrics.top5:.2%}",
        ],
    )


def _choose_split(photos, split: str | None, record: dict, default: str):
    """Return some of the photos, and the name of the split they are.

    Args:
        photos: all of a folder.
        split: asked for; `None` takes `default` if the record says that the model
            was trained on part of this folder, else all photos.
        record: of the model.
        default: a split that does not mix training and test.
    """
    from edgetpu_lib import data

    trained_on = record.get("data_dir")
    trained_here = (
        trained_on and Path(trained_on).resolve() == Path(photos.data_dir).resolve()
    )
    split = split or (default if trained_here else "all")
    if split != "all":
        photos = data.split_photos(photos, seed=record.get("seed", 0))[split]
    return photos, split


def _check_classes(photos, record: dict, classes: int, background_first: bool) -> None:
    """Refuse to compare answers with labels that mean something else."""
    known = record.get("class_names")
    if known and tuple(known) != photos.class_names:
        raise InputError(
            f"the model's classes ({', '.join(known[:5])}) are not the folder's"
            f" ({', '.join(photos.class_names[:5])}); give a folder of the same classes"
        )
    expected = len(photos.class_names) + int(background_first)
    if expected != classes:
        raise InputError(
            f"the folder has {len(photos.class_names)} classes but the model has"
            f" {classes}; give the folder it was trained for"
            + (", or say --include_background_label" if expected + 1 == classes else "")
        )


@commands.command("fine-tune")
@_network_options
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
@_JSON
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
    _start()
    import keras

    from edgetpu_lib import checkpoint, data, train
    from edgetpu_lib import evaluate as stage

    photos = data.open_data_set(data_dir, images_per_class=images_per_class)
    splits = data.split_photos(photos, seed=seed)
    keras.utils.set_random_seed(seed)
    model = _build(network, num_classes=len(photos.class_names))
    if network["ckpt_dir"]:
        checkpoint.load_weights(
            model,
            network["ckpt_dir"],
            use_ema=network["enable_ema"],
            include_classifier=False,
        )
    config = train.TrainConfig(epochs=epochs, batch_size=batch_size, seed=seed)
    history = train.fine_tune(
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
    _answer(
        {"model": output, "test": metrics},
        as_json,
        [
            f"wrote {output}",
            f"test photos {metrics['images']}, top-1 {metrics['top1']:.2%}",
        ],
    )
