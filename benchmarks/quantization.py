"""Quantize S at 224 pixels with 2,000 images, by this library and by the plain loop.

The plain loop is TensorFlow's documented way: `tf.lite.TFLiteConverter` with a
representative data set that loads one image after the other. Both sides read the same
images through the same decoder, each in a process of its own: model loaded, clock on,
file made, clock off. Ours runs before and after the plain loop, and with 50 images to
see whether memory grows. Then all files answer the same held-out images.

    python benchmarks/quantization.py                        # random weights: times
    python benchmarks/quantization.py --model=mine.keras     # and answers
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL_NAME = "efficientnet-edgetpu-S"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a fine-tuned .keras file with its record")
    parser.add_argument("--images", type=int, default=2000, help="for calibration")
    parser.add_argument("--evaluate", type=int, default=500, help="held-out images")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure_one(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    runs = {}
    for name, side, images in (
        ("few", "ours", 50),
        ("first", "ours", options.images),
        ("plain", "plain", options.images),
        ("second", "ours", options.images),
    ):
        print(f"{side}, {images} images …", file=sys.stderr)
        runs[name] = run(options, side, images, folder / f"{name}.tflite")
    seconds = statistics.median(runs[name]["seconds"] for name in ("first", "second"))
    predictions = predict(options, folder) if options.model else {}
    report(runs, seconds, predictions, options)
    same = (folder / "first.tflite").read_bytes() == (
        folder / "second.tflite"
    ).read_bytes()
    print(f"both of our runs gave the same bytes: {same}")


def run(options: argparse.Namespace, side: str, images: int, output: Path) -> dict:
    command = [sys.executable, __file__, f"--side={side}", f"--images={images}"]
    command += [f"--output={output}"]
    if options.model:
        command += [f"--model={options.model}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def load(options: argparse.Namespace):
    """Return the model with its softmax, and the images to calibrate on."""
    import keras

    from edgetpu_lib import build, checkpoint, convert, data
    from edgetpu_lib.base.artifacts import read_metadata

    if options.model:
        metadata = read_metadata(options.model)
        model = checkpoint.load_model(options.model)
        images = data.list_images(metadata["data_dir"])
        images = data.split_images(images, seed=metadata["seed"])["train"]
    else:
        images = data.open_data_set(data.RENDERED, images_per_class=600)
        keras.utils.set_random_seed(0)
        model = build.build_model(MODEL_NAME, num_classes=5)
    return convert.with_softmax(model), data.calibration_images(images, options.images)


def measure_one(options: argparse.Namespace) -> None:
    from edgetpu_lib.base.quiet import start_tensorflow

    start_tensorflow()
    model, images = load(options)
    start = time.monotonic()
    content = SIDES[options.side](model, images)
    seconds = time.monotonic() - start
    Path(options.output).write_bytes(content)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"seconds": seconds, "photos": len(images), "peak_mib": round(peak_mib)}
        )
    )


def ours(model, images) -> bytes:
    from edgetpu_lib import convert

    return convert.to_int8_tflite(model, images)


def plain(model, images) -> bytes:
    import keras
    import numpy as np
    import tensorflow as tf

    from edgetpu_lib import data
    from edgetpu_lib.images import pixels

    size = model.input_shape[1]

    def representative():
        for index, path in enumerate(images.paths):
            image = pixels.to_uint8(data.load_image(path, size))
            if index == 0:
                # So that both files take raw pixels.
                image[0, 0], image[0, 1] = 0, 255
            yield [pixels.normalize(image)[None].astype(np.float32)]

    arrays = keras.Input(model.input_shape[1:], batch_size=1)
    wrapped = keras.Model(arrays, model(arrays))
    converter = tf.lite.TFLiteConverter.from_keras_model(wrapped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter.convert()


SIDES = {"ours": ours, "plain": plain}


def predict(options: argparse.Namespace, folder: Path) -> dict:
    """Return agreement with float and top-1 of each file on held-out images."""
    from edgetpu_lib.base.quiet import start_tensorflow

    start_tensorflow()
    import numpy as np

    from edgetpu_lib import checkpoint, data, evaluate
    from edgetpu_lib.base.artifacts import read_metadata
    from edgetpu_lib.evaluation import classifiers, metrics

    metadata = read_metadata(options.model)
    images = data.list_images(metadata["data_dir"])
    test = data.split_images(images, seed=metadata["seed"])["test"]
    chosen = np.random.default_rng(0).permutation(len(test))[: options.evaluate]
    test = test.take(np.sort(chosen))
    model = checkpoint.load_model(options.model)
    models = {"float": model}
    models |= {name: folder / f"{name}.tflite" for name in ("first", "plain")}
    predictions = {
        name: evaluate.predict(classifiers.open_classifier(each), test)
        for name, each in models.items()
    }
    return {
        name: {
            "photos": len(test),
            "top1": metrics.measure(found, test.labels).top1,
            "agreement": metrics.agreement(found, predictions["float"]),
            "error": _error(found, predictions["float"]),
        }
        for name, found in predictions.items()
    }


def _error(predictions, floats) -> float:
    """Return the mean error of the probability of the float model's answer."""
    import numpy as np

    places = predictions.indices == floats.best[:, None]
    found = (predictions.probabilities * places).sum(axis=1)
    return float(np.abs(found - floats.probabilities[:, 0]).mean())


def report(runs: dict, seconds: float, predictions: dict, options) -> None:
    plain_seconds = runs["plain"]["seconds"]
    cores = len(os.sched_getaffinity(0))
    images = runs["plain"]["photos"]
    print(f"{images} images, {cores} cores")
    print("| | plain loop | edgetpu_lib | ratio |")
    print("|---|---:|---:|---:|")
    print(
        f"| wall time | {plain_seconds:.0f} s | {seconds:.0f} s |"
        f" {plain_seconds / seconds:.1f} |"
    )
    peaks = [runs[name]["peak_mib"] for name in ("plain", "first", "few")]
    print(f"| peak memory | {peaks[0]} MiB | {peaks[1]} MiB | |")
    print(f"| peak memory, {runs['few']['photos']} images | | {peaks[2]} MiB | |")
    if predictions:
        held_out = predictions["float"]["photos"]
        for key, title in (
            ("agreement", "agreement with float"),
            ("top1", "top-1"),
        ):
            row = [
                f"{100 * predictions[name][key]:.1f} %" for name in ("plain", "first")
            ]
            print(f"| {title}, {held_out} images | {row[0]} | {row[1]} | |")
        row = [f"{predictions[name]['error']:.4f}" for name in ("plain", "first")]
        print(
            f"| mean error of the float answer's probability | {row[0]} | {row[1]} | |"
        )
        print(f"float top-1: {100 * predictions['float']['top1']:.1f} %")


if __name__ == "__main__":
    main()
