"""`export`: weights in, a TFLite file or a SavedModel out."""

from __future__ import annotations

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


@click.command()
@options.network_options
@click.option("--model", help=".keras file, instead of a checkpoint.")
@click.option(
    "--data_dir", help="Folder of images or TFRecord shards, for calibration."
)
@click.option(
    "--num_steps",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Calibration images, at most.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of their draw.")
@click.option(
    "--endpoint_name", help="Export features: pooled_features, reduction_1…5."
)
@options.flag("--quantize", default=True, help="Full integers, or float32.")
@click.option("--output_tflite", help="The .tflite file to write.")
@click.option("--output_saved_model_dir", help="The SavedModel folder to write.")
@options.JSON
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
            "quantization needs images: add --data_dir=FOLDER, or --quantize=False"
        )
    for output in filter(None, (output_tflite, output_saved_model_dir)):
        require_writable(output)
    keras_model = options.load_network(model, network)
    from edgetpu_lib import build, convert, data

    metadata = read_metadata(model) if model else {}
    facts = _facts_of_network(keras_model, model, network, metadata)
    if endpoint_name:
        exported = build.feature_model(keras_model, endpoint_name)
        facts.pop("class_names", None)
    else:
        exported = convert.with_softmax(keras_model)
    facts["output"] = endpoint_name or "probabilities"
    calibration = None
    if output_tflite and quantize:
        # Test images must not set ranges.
        images = data.open_images(
            data_dir, default_split="train", metadata=metadata, labelled=False
        )
        calibration = data.calibration_images(images, num_steps, seed=seed)
    written = {}
    if output_saved_model_dir:
        convert.save_saved_model(exported, output_saved_model_dir)
        save_metadata(output_saved_model_dir, **facts)
        written["saved_model"] = output_saved_model_dir
    if output_tflite:
        if calibration:
            content = convert.to_int8_tflite(exported, calibration)
        else:
            content = convert.to_float_tflite(exported)
        write_file(output_tflite, content)
        facts.update(convert.facts_of(content, calibration))
        save_metadata(output_tflite, **facts)
        written["tflite"] = output_tflite
    options.show(written, as_json, [f"wrote {path}" for path in written.values()])


def _facts_of_network(
    keras_model: Any, model: str | None, network: dict[str, Any], metadata: dict
) -> dict[str, Any]:
    """Return what the records of all outputs say of the network and its weights."""
    from edgetpu_lib import checkpoint

    kept = ("class_names", "data_dir", "seed", "pretrained")
    changed = ("width_coefficient", "depth_coefficient")
    return {
        "model_name": keras_model.name,
        "image_size": keras_model.input_shape[1],
        "num_classes": keras_model.output_shape[-1],
        **{name: network[name] for name in changed if network[name]},
        **{name: metadata[name] for name in kept if name in metadata},
        "weights": str(model or network["ckpt_dir"]),
        "weights_sha256": checkpoint.weights_digest(keras_model),
    }
