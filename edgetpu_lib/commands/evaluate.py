"""`evaluate`: any model and labelled images in, accuracies with intervals out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import (
    atomic_files,
    require_writable,
    write_file,
)
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    from edgetpu_lib.data import Images
    from edgetpu_lib.evaluate import Evaluation
    from edgetpu_lib.evaluation.classifiers import Classifier


@dataclasses.dataclass(frozen=True)
class Flags:
    """What to evaluate, and where to write.

    Attributes:
        model: .tflite or .keras file or SavedModel folder, instead of --ckpt_dir.
        against: another such model, compared on the same images.
        output: folder for evaluation.json, evaluation.md and figures.
        journal_dir: folder for the predictions of an interrupted evaluation.
    """

    model: str | None = None
    against: str | None = None
    output: str | None = None
    journal_dir: str = "artifacts/evaluations"


@options.command
@options.JSON
def evaluate(
    *,
    flags: Flags,
    source: options.ImageSource,
    pixels: model_flags.Pixels,
    network: Network,
    as_json: bool,
) -> None:
    """Measure a model's accuracy and latency on labelled images.

    Images come from --data_dir, or as the reference takes ImageNet: from
    --imagenet_eval_glob with --imagenet_eval_label. After an interruption the same
    command continues where it stopped.
    """
    # A folder's classes and split are compared with those of the training.
    metadata = model_flags.metadata_of(flags.model, needed=bool(source.data_dir))
    mean, stddev = pixels.read() or (None, None)
    wanted = {"mean": mean, "stddev": stddev, "image_size": network.image_size}
    wanted["resize"] = pixels.resize
    if flags.output:
        require_writable(Path(flags.output) / "evaluation.json")
    quiet.start_tensorflow()
    from edgetpu_lib import evaluate as stage
    from edgetpu_lib.evaluation import classifiers, journal

    models = [classifiers.open_classifier(flags.model, network=network, **wanted)]
    if flags.against:
        models.append(classifiers.open_classifier(flags.against, **wanted))
    images, label_offset = _images(flags.model, models, source, metadata)
    evaluations = [
        stage.evaluate(
            each,
            images,
            label_offset=label_offset,
            journal_dir=flags.journal_dir,
            keep_journal=True,
            progress=each.name,
        )
        for each in models
    ]
    content = _as_dict(models, evaluations, images) | {"split": images.split}
    content["include_background_label"] = bool(label_offset)
    if flags.output:
        _write(Path(flags.output), content, models, evaluations, images)
    if as_json:
        options.print_result(content, True, [])
    else:
        _show(content)
    # A full disk shows here at the latest, while the predictions are still saved.
    sys.stdout.flush()
    journal.delete_journals(flags.journal_dir, [each.digest for each in models])


def _images(
    model: str | None,
    models: Sequence[Classifier],
    source: options.ImageSource,
    metadata: dict,
) -> tuple[Images, int]:
    """Open images in the order of the model's classes; return the label offset too."""
    from edgetpu_lib import deploy
    from edgetpu_lib import evaluate as stage

    images = source.open(metadata)
    if not source.data_dir:
        # Labels in a file are numbers, of which any model may have more.
        return images, source.label_offset(images, models[0].classes)
    class_names = deploy.class_names(model, metadata)
    images = images.in_order_of(class_names or ())
    label_offset = source.label_offset(images, models[0].classes)
    for each in models:
        stage.verify_classes(
            images, each.classes, label_offset=label_offset, class_names=class_names
        )
    return images, label_offset


def _as_dict(
    models: Sequence[Classifier], evaluations: Sequence[Evaluation], images: Any
) -> dict[str, Any]:
    """Return an evaluation for JSON, with a second one and their comparison."""
    from edgetpu_lib.evaluation import metrics, report

    content, *others = [
        {
            "model": model.name,
            "resize": model.resize,
            **report.as_dict(evaluation, images),
        }
        for model, evaluation in zip(models, evaluations, strict=True)
    ]
    for other in others:
        compared = metrics.compare(
            *(each.predictions for each in evaluations), evaluations[0].labels
        )
        content["against"] = {**other, **dataclasses.asdict(compared)}
    return content


def _show(content: dict) -> None:
    """Print an evaluation for a person."""
    from rich.console import Console

    from edgetpu_lib.evaluation import report

    console = Console(highlight=False, markup=False)
    for table in report.tables_of(content):
        console.print(table)
    if warning := report.shift_warning(content):
        console.print(warning, style="bold", soft_wrap=True)


def _write(
    folder: Path,
    content: dict,
    models: Sequence[Classifier],
    evaluations: Sequence[Evaluation],
    images: Any,
) -> None:
    """Write an evaluation as JSON, Markdown and figures: all of them or none."""
    from edgetpu_lib.evaluation import report
    from edgetpu_lib.plots import accuracy as plots_accuracy

    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    parts = [report.to_markdown(table) for table in report.tables_of(content)]
    parts += [f"**{warning}**\n"] if (warning := report.shift_warning(content)) else []
    names = [Path(each.name).stem for each in models]
    if len(set(names)) < len(names):
        names = ["first", "second"]
    named = dict(zip(names, evaluations, strict=True))
    with atomic_files(folder) as scratch:
        write_file(scratch / "evaluation.json", text.encode())
        write_file(scratch / "evaluation.md", "\n".join(parts).encode())
        plots_accuracy.save_figures(scratch, named, images)
