"""`export`: weights in, a TFLite file or a SavedModel out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import click

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import (
    InputError,
    one_writer,
    read_metadata,
    require_writable,
    save_metadata,
)
from edgetpu_lib.commands import model_flags, options
from edgetpu_lib.conversion.settings import MIN_AGREEMENT
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import keras

    from edgetpu_lib.conversion.prepared import Prepared


@dataclasses.dataclass(frozen=True)
class Flags:
    """What to export.

    Attributes:
        model: .keras or .h5 file, or the folder of a SavedModel, of this library or
            of any other; instead of --ckpt_dir.
        data_dir: folder of images or of TFRecord shards, for calibration.
        num_steps: largest number of calibration images.
        seed: seed of the draw of calibration images.
        endpoint_name: layer to end at: pooled_features, reduction_1 … reduction_5,
            stem, block_0 …, features or head. [default: the class probabilities]
        quantize: write an int8 model, not a float32 one.
        min_agreement: smallest share of calibration images on which the int8 model
            must predict what the Keras model does.
        output_tflite: .tflite file to write.
        output_saved_model_dir: SavedModel folder to write.
    """

    model: str | None = None
    data_dir: str | None = None
    num_steps: options.Count = 2000
    seed: int = 0
    endpoint_name: str | None = None
    quantize: bool = True
    min_agreement: Annotated[float, click.FloatRange(0, 1)] = MIN_AGREEMENT
    output_tflite: str | None = None
    output_saved_model_dir: str | None = None


@options.command
@options.JSON
def export(
    *,
    flags: Flags,
    network: Network,
    pixels: model_flags.Pixels,
    as_json: bool,
) -> None:
    """Write a TFLite file, a SavedModel, or both."""
    if not (flags.output_tflite or flags.output_saved_model_dir):
        raise InputError("nothing to write; add --output_tflite=FILE")
    is_quantized = bool(flags.output_tflite and flags.quantize)
    if is_quantized and not flags.data_dir:
        raise InputError(
            "quantization needs images: add --data_dir=FOLDER, or --quantize=False"
        )
    for output in filter(None, (flags.output_tflite, flags.output_saved_model_dir)):
        require_writable(output)
    quiet.start_tensorflow()
    from edgetpu_lib import checkpoint, convert, data
    from edgetpu_lib.images.pixels import square_side

    opened = checkpoint.open_model(flags.model, network)
    metadata = model_flags.metadata_of(flags.model)
    exported = _prepare(flags, network, pixels, opened)
    weights = str(flags.model or network.ckpt_dir)
    resize = pixels.resize_for(weights)
    scale = {"mean": exported.mean, "stddev": exported.stddev, "resize": resize}
    square_side(convert.size_of(exported.model), resize)
    facts = _facts_of(exported.model, opened, weights, network, metadata)
    facts["output"] = exported.output
    if flags.endpoint_name:
        facts.pop("class_names", None)
    calibration = None
    if is_quantized:
        # Test images must not set ranges.
        images = data.open_images(
            flags.data_dir, default_split="train", metadata=metadata, labelled=False
        )
        calibration = data.calibration_images(images, flags.num_steps, seed=flags.seed)
    written = {}
    if flags.output_saved_model_dir:
        folder = flags.output_saved_model_dir
        with one_writer(folder):
            convert.save_saved_model(exported.model, folder, **scale)
            save_metadata(folder, **facts, **scale)
        written["saved_model"] = folder
    if flags.output_tflite:
        convert.write_tflite(
            exported.model,
            flags.output_tflite,
            calibration,
            **scale,
            min_agreement=flags.min_agreement,
            limits=metadata.get("limits"),
            **facts,
        )
        written["tflite"] = flags.output_tflite
        for remark in read_metadata(flags.output_tflite).get("remarks", ()):
            print(f"warning: {remark}", file=sys.stderr)
    options.print_result(written, as_json, list(_lines(written)))


def _prepare(
    flags: Flags, network: Network, pixels: model_flags.Pixels, model: keras.Model
) -> Prepared:
    """Return what to export of an opened model."""
    from edgetpu_lib.conversion.prepared import prepare

    mean, stddev = pixels.read() or (None, None)
    return prepare(
        model,
        str(flags.model or network.ckpt_dir),
        endpoint_name=flags.endpoint_name,
        image_size=network.image_size,
        mean=mean,
        stddev=stddev,
    )


def _lines(written: dict[str, str]) -> Iterator[str]:
    """Yield what was written and, of an int8 model, how far it agrees."""
    for path in written.values():
        yield f"wrote {path}"
    metadata = read_metadata(written["tflite"]) if "tflite" in written else {}
    if found := metadata.get("agreement"):
        yield (
            f"int8 and Keras model agree: {found['share']:.1%}"
            f" ({found['images']} calibration images)"
        )


def _facts_of(
    exported: keras.Model,
    model: keras.Model,
    weights: str,
    network: Network,
    metadata: dict,
) -> dict[str, Any]:
    """Return what the metadata of all outputs say of the network and its weights."""
    from edgetpu_lib import checkpoint

    kept = ("class_names", "data_dir", "seed", "pretrained")
    # For the card of a page.
    kept += ("test", "training_images", "date")
    changed = {
        "width_coefficient": network.width_coefficient,
        "depth_coefficient": network.depth_coefficient,
    }
    return {
        "model_name": model.name,
        "image_size": exported.inputs[0].shape[1],
        "num_classes": model.outputs[0].shape[-1],
        **{name: factor for name, factor in changed.items() if factor},
        **{name: metadata[name] for name in kept if name in metadata},
        "weights": weights,
        "weights_sha256": checkpoint.weights_digest(model),
    }
