"""`export`: weights in, a TFLite file or a SavedModel out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import (
    InputError,
    read_metadata,
    require_writable,
    save_metadata,
)
from edgetpu_lib.commands import options
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Flags:
    """What to export.

    Attributes:
        model: .keras file, instead of --ckpt_dir.
        data_dir: folder of images or of TFRecord shards, for calibration.
        num_steps: largest number of calibration images.
        seed: seed of the draw of calibration images.
        endpoint_name: layer to end at: pooled_features or reduction_1 … reduction_5.
            [default: the class probabilities]
        quantize: write an int8 model, not a float32 one.
        output_tflite: .tflite file to write.
        output_saved_model_dir: SavedModel folder to write.
    """

    model: str | None = None
    data_dir: str | None = None
    num_steps: options.Count = 2000
    seed: int = 0
    endpoint_name: str | None = None
    quantize: bool = True
    output_tflite: str | None = None
    output_saved_model_dir: str | None = None


@options.command
@options.JSON
def export(
    *,
    flags: Flags,
    network: Network,
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
    from edgetpu_lib import build, checkpoint, convert, data

    keras_model = checkpoint.open_model(flags.model, network)
    metadata = read_metadata(flags.model) if flags.model else {}
    facts = _facts_of(
        keras_model, str(flags.model or network.ckpt_dir), network, metadata
    )
    if flags.endpoint_name:
        exported = build.feature_model(keras_model, flags.endpoint_name)
        facts.pop("class_names", None)
    else:
        exported = convert.with_softmax(keras_model)
    facts["output"] = flags.endpoint_name or "probabilities"
    calibration = None
    if is_quantized:
        # Test images must not set ranges.
        images = data.open_images(
            flags.data_dir, default_split="train", metadata=metadata, labelled=False
        )
        calibration = data.calibration_images(images, flags.num_steps, seed=flags.seed)
    written = {}
    if flags.output_saved_model_dir:
        convert.save_saved_model(exported, flags.output_saved_model_dir)
        save_metadata(flags.output_saved_model_dir, **facts)
        written["saved_model"] = flags.output_saved_model_dir
    if flags.output_tflite:
        convert.write_tflite(exported, flags.output_tflite, calibration, **facts)
        written["tflite"] = flags.output_tflite
    options.print_result(
        written, as_json, [f"wrote {path}" for path in written.values()]
    )


def _facts_of(
    model: keras.Model, weights: str, network: Network, metadata: dict
) -> dict[str, Any]:
    """Return what the metadata of all outputs say of the network and its weights."""
    from edgetpu_lib import checkpoint

    kept = ("class_names", "data_dir", "seed", "pretrained")
    changed = {
        "width_coefficient": network.width_coefficient,
        "depth_coefficient": network.depth_coefficient,
    }
    return {
        "model_name": model.name,
        "image_size": model.input_shape[1],
        "num_classes": model.output_shape[-1],
        **{name: factor for name, factor in changed.items() if factor},
        **{name: metadata[name] for name in kept if name in metadata},
        "weights": weights,
        "weights_sha256": checkpoint.weights_digest(model),
    }
