"""Say what 8 bits and fewer cost, and what training in them brings back.

For each width and seed a network is fine-tuned on the drawn flowers in float and its
ranges are measured. For each way of rounding the same held-out images are predicted by
the float network, by the rounded one ("post-training"), and by the one that was trained
as it rounds ("quantization-aware"). Intervals are of the paired differences, over the
images of all seeds together; p is of the exact McNemar test of the last two. Fewer than
8 bits are simulated: no int8 file holds them. With a hundred images a class the float
network hardly learns, and the table says nothing.

    python benchmarks/quantization_aware.py --widths 0.1 0.25 1 --seeds 3   # hours
    python benchmarks/quantization_aware.py                    # half an hour or more
"""

from __future__ import annotations

import argparse
import sys

MODEL_NAME = "efficientnet-edgetpu-S"
# Of ranges that a few outliers spoil.
TOO_WIDE = 16


def cases() -> dict[str, tuple[dict, float]]:
    """Return each way of rounding: fields of `Precision`, and a factor on ranges."""
    return {
        "8 bits": ({}, 1),
        "8 bits per tensor": ({"per_channel": False}, 1),
        f"8 bits, ranges {TOO_WIDE} times too wide": ({}, TOO_WIDE),
        "weights 6 bits": ({"weight_bits": 6}, 1),
        "weights 4 bits": ({"weight_bits": 4}, 1),
        "weights 4 bits per tensor": ({"weight_bits": 4, "per_channel": False}, 1),
        "weights 3 bits": ({"weight_bits": 3}, 1),
        "activations 6 bits": ({"activation_bits": 6}, 1),
        "activations 4 bits": ({"activation_bits": 4}, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=float, nargs="+", default=[0.1])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--images_per_class", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=12, help="in float")
    parser.add_argument("--quantize_epochs", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=list(cases()))
    options = parser.parse_args()
    if unknown := set(options.cases) - cases().keys():
        parser.error(f"unknown cases {sorted(unknown)}; use {list(cases())}")
    from edgetpu_lib.base.quiet import prefer_onednn, start_tensorflow

    prefer_onednn()
    start_tensorflow()
    for width in options.widths:
        rows = [
            row
            for seed in range(options.seeds)
            for row in measure(options, width, seed)
        ]
        report(width, rows)


def measure(options: argparse.Namespace, width: float, seed: int):
    """Yield for each case its name and whether each test image is predicted rightly.

    They are bool [images] of the float, post-training and quantization-aware network.
    """
    import keras

    from edgetpu_lib import calibrate, convert, data, fine_tune
    from edgetpu_lib.training import quantized

    images = data.open_data_set(
        data.RENDERED, images_per_class=options.images_per_class
    )
    splits = data.with_validation(data.split_images(images, seed=seed), seed=seed)
    config = fine_tune.FineTuneConfig(
        epochs=options.epochs, quantize_epochs=options.quantize_epochs, seed=seed
    )
    model = new_network(width, options.image_size, len(images.class_names), seed)
    fine_tune.fine_tune(model, splits, pretrained=width == 1, config=config)
    weights = model.get_weights()
    arrays = calibrate.device_images(splits["train"], options.image_size)
    content = convert.to_float_tflite(convert.with_softmax(model))
    ranges = calibrate.measure_ranges(content, arrays, total=len(splits["train"]))
    measured = ranges.limits(quantized.measured_layers(model))
    of_float = hits(model, splits["test"])
    for name in options.cases:
        fields, factor = cases()[name]
        precision = quantized.Precision(**fields)
        limits = {
            layer: (low * factor, high * factor)
            for layer, (low, high) in measured.items()
        }
        model.set_weights(weights)
        before = hits(quantized.Twin(model, limits, precision), splits["test"])
        fine_tune.quantize_aware(
            model, splits, limits, config=config, precision=precision
        )
        after = hits(quantized.Twin(model, limits, precision), splits["test"])
        print(
            f"width {width:g}, seed {seed}, {name}: {of_float.mean():.3f}"
            f" {before.mean():.3f} {after.mean():.3f}",
            file=sys.stderr,
        )
        yield name, of_float, before, after
        keras.backend.clear_session(free_memory=True)


def new_network(width: float, image_size: int, classes: int, seed: int):
    """Return a network: of width 1 with the checkpoint that ships, else fresh."""
    import keras

    from edgetpu_lib import build, checkpoint

    keras.utils.set_random_seed(seed)
    model = build.build_model(
        MODEL_NAME,
        width_coefficient=width,
        num_classes=classes,
        image_size=image_size,
    )
    if width == 1:
        shipped = checkpoint.shipped_checkpoint(MODEL_NAME)
        checkpoint.load_weights(model, shipped, include_classifier=False)
    return model


def hits(model, images):
    """Return bool [images]: whether each is predicted rightly."""
    import numpy as np

    from edgetpu_lib import calibrate
    from edgetpu_lib.images import pixels

    size = getattr(model, "network", model).input_shape[1]
    arrays = np.stack(list(calibrate.device_images(images, size)))
    logits = model.predict(pixels.normalize(arrays), batch_size=64, verbose=0)
    return logits.argmax(axis=1) == images.labels


def report(width: float, rows: list) -> None:
    import numpy as np

    from edgetpu_lib.evaluation import metrics

    print(f"\nwidth {width:g}")
    print("| rounding | float | points lost, post-training | quantization-aware | p |")
    print("|---|---:|---:|---:|---:|")
    for name in dict.fromkeys(name for name, *_ in rows):
        of_float, before, after = (
            np.concatenate([row[side] for row in rows if row[0] == name])
            for side in (1, 2, 3)
        )
        p_value = metrics.paired_p_value(before, after)
        print(
            f"| {name} | {100 * of_float.mean():.1f} % | {lost(of_float, before)} |"
            f" {lost(of_float, after)} | {p_value:.2g} |"
        )
    print(f"{len(of_float)} test images")


def lost(of_float, other) -> str:
    """Return the loss in points with its paired 95 % interval."""
    import numpy as np

    loss = of_float.astype(float) - other
    margin = 1.96 * loss.std(ddof=1) / np.sqrt(len(loss))
    return f"{100 * loss.mean():.1f} ± {100 * margin:.1f}"


if __name__ == "__main__":
    main()
