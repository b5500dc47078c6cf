"""`evaluate`: any model and labelled images in, accuracies one can trust out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from edgetpu_lib.base.artifacts import (
    InputError,
    read_metadata,
    require_writable,
    write_file,
)
from edgetpu_lib.commands import options


@click.command()
@options.network_options
@click.option(
    "--model",
    help=".tflite or .keras file or SavedModel folder, instead of a checkpoint.",
)
@click.option("--against", help="Another such model, compared on the same images.")
@options.image_options
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="[default: test if the model was trained on this folder, else all]",
)
@options.pixel_options
@click.option("--output", help="Folder for evaluation.json, evaluation.md, figures.")
@click.option(
    "--journal_dir",
    default="artifacts/evaluations",
    show_default=True,
    help="Keeps the answers of an interrupted evaluation.",
)
@options.JSON
def evaluate(
    model, against, split, mean, std, output, journal_dir, as_json, **flags
) -> None:
    """Measure a model on labelled images: accuracy, intervals, mistakes, time.

    Images come from --data_dir, or as the reference takes ImageNet: from
    --imagenet_eval_glob with --imagenet_eval_label. Interrupted, the same command goes
    on where it stopped.
    """
    network = {name: flags.pop(name) for name in options.NETWORK_FLAGS}
    metadata = read_metadata(model) if model else {}
    wanted = {
        "mean": options.channels(mean, "mean"),
        "stddev": options.channels(std, "std"),
        "image_size": network["image_size"],
    }
    if output:
        require_writable(Path(output) / "evaluation.json")
    options.start()
    from edgetpu_lib import evaluate as stage
    from edgetpu_lib.evaluation import classifiers, metrics, report

    first = classifiers.open_classifier(
        model or options.load_network(None, network), **wanted
    )
    opened = [first]
    if against:
        opened.append(classifiers.open_classifier(against, **wanted))
    images = options.open_images(flags, split, metadata)
    label_offset = options.label_offset_of(flags, images, first.classes)
    # Labels in a file are numbers, of which any model may have more.
    for each in opened if flags["data_dir"] else ():
        _check_classes(images, metadata, each.classes, label_offset)
    evaluations = [
        stage.evaluate(
            each,
            images,
            label_offset=label_offset,
            journal_dir=journal_dir,
            progress=each.name,
        )
        for each in opened
    ]
    content = {
        "model": first.name,
        "split": images.split,
        "include_background_label": bool(label_offset),
        **report.as_dict(evaluations[0], images),
    }
    if against:
        labels = evaluations[0].labels
        compared = metrics.compare(*(each.predictions for each in evaluations), labels)
        content["against"] = {
            "model": opened[1].name,
            **report.as_dict(evaluations[1], images),
            **dataclasses.asdict(compared),
        }
    if output:
        names = [Path(each.name).stem for each in opened]
        if len(set(names)) < len(names):
            names = ["first", "second"]
        named = dict(zip(names, evaluations, strict=True))
        _write(Path(output), content, named, images)
    if as_json:
        options.show(content, True, [])
    else:
        _show(content)


def _tables(content: dict) -> list:
    """Return the tables of an evaluation, the main one first."""
    from edgetpu_lib.evaluation import report

    where = f"on {content['images']:,} images ({content['split']})"
    tables = [report.overview(content, f"{content['model']} {where}")]
    other = content.get("against")
    if other:
        names = content["model"], other["model"]
        tables.append(report.overview(other, f"{other['model']} {where}"))
        tables.append(report.comparison_table(other, names))
    tables.append(report.worst_classes(content))
    if content["mistakes"]:
        tables.append(report.worst_mistakes(content))
    return tables


def _warning(content: dict) -> str | None:
    """Say what is wrong with the labels, if anything."""
    if not content["label_shift"]:
        return None
    words = "larger" if content["label_shift"] > 0 else "smaller"
    return (
        f"labels are shifted: most images would be right if every label were one"
        f" {words}; is output 0 the background? See --include_background_label"
    )


def _show(content: dict) -> None:
    """Print an evaluation for a person."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    for table in _tables(content):
        console.print(table)
    if warning := _warning(content):
        console.print(warning, style="bold", soft_wrap=True)


def _write(
    folder: Path, content: dict, evaluations: dict[str, Any], images: Any
) -> None:
    """Write an evaluation as JSON, Markdown and figures."""
    from edgetpu_lib.evaluation import report
    from edgetpu_lib.plots import accuracy as plots_accuracy

    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_file(folder / "evaluation.json", text.encode())
    parts = [report.to_markdown(table) for table in _tables(content)]
    parts += [f"**{warning}**\n"] if (warning := _warning(content)) else []
    write_file(folder / "evaluation.md", "\n".join(parts).encode())
    plots_accuracy.save_figures(folder, evaluations, images)


def _check_classes(images, metadata: dict, classes: int, label_offset: int) -> None:
    """Refuse to compare answers with labels that mean something else."""
    known = metadata.get("class_names")
    if known and tuple(known) != images.class_names:
        raise InputError(
            f"the model's classes ({', '.join(known[:5])}) are not the folder's"
            f" ({', '.join(images.class_names[:5])}); give a folder of the same classes"
        )
    expected = len(images.class_names) + label_offset
    if expected != classes:
        raise InputError(
            f"the images have {len(images.class_names)} classes but the model has"
            f" {classes}; give images of the classes it was trained for"
            + (", or say --include_background_label" if expected + 1 == classes else "")
        )
