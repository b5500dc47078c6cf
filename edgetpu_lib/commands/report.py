"""`report`: checkpoints and labelled images in, the reference's table out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgetpu_lib.base.artifacts import (
    InputError,
    read_metadata,
    require_writable,
    save_metadata,
    write_file,
)
from edgetpu_lib.commands import options
from edgetpu_lib.specs import SPECS


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="CHECKPOINT...")
@options.network_options
@options.image_options
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="[default: test if the model was trained on this folder, else all]",
)
@click.option(
    "--calibration_dir",
    help="Images that set integer ranges.  [default: the training split of --data_dir]",
)
@click.option("--num_steps", type=click.IntRange(1), default=2000, show_default=True)
@click.option(
    "--output",
    default="artifacts/report",
    show_default=True,
    help="Folder for the int8 files, report.md and report.json.",
)
@options.JSON
def report(
    sources, split, calibration_dir, num_steps, output, as_json, **flags
) -> None:
    """Measure float and int8 side by side, beside the published values.

    CHECKPOINT is a TF-1 checkpoint (folder or .tar.gz), a .keras file, or a folder that
    holds several checkpoints. One whose name holds that of a published model is built
    as that model, any other as --model_name says. Each is quantized with calibration
    images; both are measured on the same images.
    """
    network = {name: flags.pop(name) for name in options.NETWORK_FLAGS}
    if flags["imagenet_eval_glob"] and not calibration_dir:
        raise InputError(
            "quantization needs images other than the measured ones: add"
            " --calibration_dir=FOLDER"
        )
    require_writable(Path(output) / "report.json")
    options.start()
    from edgetpu_lib.evaluation import report as layout

    rows, content = [], []
    for path in _checkpoints(sources):
        metadata = read_metadata(path)
        model = _load(path, network)
        images = options.open_images(flags, split, metadata)
        classes = model.output_shape[-1]
        label_offset = options.label_offset_of(flags, images, classes)
        int8 = _quantized(
            model,
            path,
            calibration_dir or flags["data_dir"],
            num_steps,
            metadata,
            Path(output),
        )
        rows.append(_row(path, model, int8, images, label_offset, Path(output)))
        facts = {"checkpoint": str(path), "split": images.split}
        facts["int8_file"] = str(int8)
        content.append({**layout.row_as_dict(rows[-1]), **facts})
    table = layout.family_table(rows)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_file(Path(output) / "report.json", text.encode())
    if as_json:
        print(text, end="")
    else:
        from rich.console import Console

        Console(highlight=False).print(table)
    write_file(Path(output) / "report.md", layout.to_markdown(table).encode())


def _checkpoints(sources: tuple[str, ...]) -> list[Path]:
    """Return the checkpoints that are meant, those inside folders in family order."""
    found = []
    for source in map(Path, sources):
        inside = [
            folder
            for name in SPECS
            for folder in sorted(source.glob(f"*{name}*"))
            if any(folder.glob("*.index"))
        ]
        found += inside or [source]
    return found


def _name(path: Path) -> str:
    return path.name.removesuffix(".tar.gz").removesuffix(".keras")


def _load(path: Path, network: dict[str, Any]) -> Any:
    """Return the Keras model of a checkpoint or file, under the model's own name."""
    if path.suffix == ".keras":
        return options.load_network(str(path), network)
    named = [name for name in SPECS if name in str(path.name)]
    known = {"model_name": named[0]} if named else {}
    return options.load_network(None, {**network, **known, "ckpt_dir": str(path)})


def _quantized(
    model: Any,
    path: Path,
    calibration_dir: str,
    count: int,
    metadata: dict,
    output: Path,
) -> Path:
    """Return the int8 file of a model, made unless the same one is there already."""
    from edgetpu_lib import checkpoint, convert, data

    images = data.open_images(
        calibration_dir, default_split="train", metadata=metadata, labelled=False
    )
    calibration = data.calibration_images(images, count)
    target = output / f"{_name(path)}_quant.tflite"
    facts = {
        "weights_sha256": checkpoint.weights_digest(model),
        "calibration_sha256": data.digest_of(calibration),
    }
    if target.is_file() and facts.items() <= read_metadata(target).items():
        return target
    content = convert.to_int8_tflite(convert.with_softmax(model), calibration)
    write_file(target, content)
    save_metadata(
        target,
        model_name=model.name,
        image_size=model.input_shape[1],
        weights=str(path),
        **facts,
        **convert.facts_of(content, calibration),
    )
    return target


def _row(
    path: Path, model: Any, int8: Path, images: Any, label_offset: int, output: Path
) -> Any:
    """Measure a model and its int8 file."""
    from edgetpu_lib import evaluate as stage
    from edgetpu_lib.evaluation import classifiers, metrics
    from edgetpu_lib.evaluation import report as layout

    labels = images.labels + label_offset
    predictions = [
        stage.predict(
            classifiers.open_classifier(each),
            images,
            journal_dir=output / "unfinished",
            progress=f"{_name(path)}, {kind}",
        )
        for kind, each in (("float", model), ("int8", int8))
    ]
    return layout.ModelRow(
        name=_name(path),
        model_name=model.name,
        floats=metrics.measure(predictions[0], labels),
        integers=metrics.measure(predictions[1], labels),
        comparison=metrics.compare(*predictions, labels),
    )
