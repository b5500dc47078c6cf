"""`report`: checkpoints and labelled images in, the reference's table out."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import (
    InputError,
    atomic_files,
    read_metadata,
    require_writable,
    write_file,
)
from edgetpu_lib.base.metadata import is_own
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.specs import SPECS
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    from edgetpu_lib.images.normalization import Resize
    from edgetpu_lib.tflite.contract import PixelScale

# Folder below the output for the predictions of an interrupted report.
UNFINISHED = "unfinished"


@dataclasses.dataclass(frozen=True)
class Flags:
    """What to measure, beside checkpoints and images.

    Attributes:
        calibration_dir: images that set the int8 ranges. [default: the training split
            of --data_dir]
        num_steps: largest number of calibration images.
        output: folder for the int8 models, report.md and report.json.
    """

    calibration_dir: str | None = None
    num_steps: options.Count = 2000
    output: str = "artifacts/report"


@options.command
@options.JSON
def report(
    checkpoint: tuple[str, ...],
    *,
    flags: Flags,
    source: options.ImageSource,
    network: Network,
    pixels: model_flags.Pixels,
    as_json: bool,
) -> None:
    """Measure float and int8 models beside the published values.

    A checkpoint whose name holds that of a published model is built as that model, any
    other as --model_name says. Each is quantized with calibration images; both models
    are measured on the same images.

    Args:
        checkpoint: TF-1 checkpoint (folder or .tar.gz), .keras file, or a folder that
            holds several checkpoints.
    """
    if source.imagenet_eval_glob and not flags.calibration_dir:
        raise InputError(
            "quantization needs images other than the measured ones: add"
            " --calibration_dir=FOLDER"
        )
    output = Path(flags.output)
    require_writable(output / "report.json")
    quiet.start_tensorflow()
    from edgetpu_lib.evaluation import journal
    from edgetpu_lib.evaluation import report as layout

    rows, content, digests = [], [], []
    for path in _checkpoints(checkpoint):
        metadata = model_flags.metadata_of(path, needed=bool(source.data_dir))
        model = _load(path, network)
        pixel_scale = _pixel_scale(path, model, pixels)
        resize = pixels.resize_for(path)
        images = source.open(metadata)
        label_offset = source.label_offset(images, model.output_shape[-1])
        int8 = _quantized(
            model,
            path,
            flags.calibration_dir or source.data_dir,
            flags.num_steps,
            metadata,
            output,
            pixel_scale,
            resize,
        )
        opened = _open(model, int8, pixel_scale, resize)
        digests += [each.digest for each in opened.values()]
        rows.append(_row(path, opened, images, label_offset, output))
        facts = {"checkpoint": str(path), "split": images.split, "int8_file": str(int8)}
        content.append({**layout.row_as_dict(rows[-1]), **facts})
    _write(output, rows, content, as_json)
    journal.delete_journals(output / UNFINISHED, digests)


def _write(output: Path, rows: list[Any], content: list[dict], as_json: bool) -> None:
    """Write both files or none, and print one of them."""
    from edgetpu_lib.evaluation import report as layout

    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with atomic_files(output) as scratch:
        write_file(scratch / "report.json", text.encode())
        write_file(scratch / "report.md", _markdown(rows).encode())
    if as_json:
        print(text, end="")
    else:
        from rich.console import Console

        Console(highlight=False).print(layout.family_table(rows))
    # A full disk shows here at the latest, while the predictions are still saved.
    sys.stdout.flush()


def _markdown(rows: list[Any]) -> str:
    from edgetpu_lib.evaluation import report as layout

    return layout.to_markdown(layout.family_table(rows))


def _checkpoints(sources: tuple[str, ...]) -> list[Path]:
    """Return the checkpoints; those inside folders in the order S, M, L."""
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


def _load(path: Path, network: Network) -> Any:
    """Return the Keras model of a checkpoint or file, under the model's own name."""
    from edgetpu_lib import checkpoint

    for name in SPECS:
        if name in path.name:
            network = dataclasses.replace(network, model_name=name)
    return checkpoint.open_model(path, network)


def _quantized(
    model: Any,
    path: Path,
    calibration_dir: str,
    count: int,
    metadata: dict,
    output: Path,
    pixel_scale: PixelScale,
    resize: Resize,
) -> Path:
    """Return the int8 model, made unless the same one is there already."""
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
    mean, stddev = pixel_scale
    facts |= {"mean": mean, "stddev": stddev, "resize": resize}
    if target.is_file() and is_own(target):
        if facts.items() <= read_metadata(target).items():
            return target
    return convert.write_tflite(
        convert.with_softmax(model),
        target,
        calibration,
        model_name=model.name,
        image_size=model.input_shape[1],
        weights=str(path),
        **facts,
    )


def _pixel_scale(path: Path, model: Any, pixels: model_flags.Pixels) -> PixelScale:
    """Return mean and standard deviation of a model's pixels: given, or its own."""
    from edgetpu_lib.evaluation import keras_inputs
    from edgetpu_lib.tflite import contract

    told = pixels.read() or keras_inputs.pixel_scale_of(model)
    return contract.require_known(told, str(path))


def _open(
    model: Any, int8: Path, pixel_scale: PixelScale, resize: Resize
) -> dict[str, Any]:
    """Return the classifiers of a float model and of its int8 model."""
    from edgetpu_lib.evaluation import classifiers

    mean, stddev = pixel_scale
    return {
        "float": classifiers.open_classifier(
            model, mean=mean, stddev=stddev, resize=resize
        ),
        "int8": classifiers.open_classifier(int8),
    }


def _row(
    path: Path,
    opened: dict[str, Any],
    images: Any,
    label_offset: int,
    output: Path,
) -> Any:
    """Measure the classifiers of a float model and of its int8 model."""
    from edgetpu_lib import evaluate as stage
    from edgetpu_lib.evaluation import metrics
    from edgetpu_lib.evaluation import report as layout

    labels = images.labels + label_offset
    predictions = [
        stage.predict(
            each,
            images,
            journal_dir=output / UNFINISHED,
            keep_journal=True,
            progress=f"{_name(path)}, {kind}",
        )
        for kind, each in opened.items()
    ]
    return layout.ModelRow(
        name=_name(path),
        model_name=opened["float"].name,
        floats=metrics.measure(predictions[0], labels),
        integers=metrics.measure(predictions[1], labels),
        comparison=metrics.compare(*predictions, labels),
    )
