"""Compare Frigate's recipe for custom classifiers with ours, on the same images.

    python benchmarks/frigate.py --data_dir=photos/ --pretrain_dir=CIFAR10
    python benchmarks/frigate.py --data_dir=photos/ --imagenet  # needs a network

Frigate 0.17 trains a classifier on the pooled features of MobileNetV2 with alpha 0.35,
frozen, with pixels of 0 … 1, though its ImageNet weights expect −1 … 1. Four models are
trained on the same images, quantized by the same code, and measured on the same
held-out images, stretched to 224 pixels as Frigate feeds them:

- theirs: that recipe;
- theirs, −1 … 1: the same with the range that the weights expect;
- S, narrow: EfficientNet-EdgeTPU-S of a quarter of the width, by `fine-tune`;
- S: by `fine-tune`, from the checkpoint that ships.

Without --imagenet both small networks are pretrained here, on the same images of
--pretrain_dir and as many steps. S comes as it ships: with longer pretraining. Rows
are appended to --output as they come; a second call continues there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgetpu_lib.base import quiet

quiet.prefer_onednn()
quiet.start_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from edgetpu_lib import (  # noqa: E402
    build,
    checkpoint,
    convert,
    data,
    evaluate,
    fine_tune,
)
from edgetpu_lib.evaluation import classifiers, metrics  # noqa: E402
from edgetpu_lib.images import pixels  # noqa: E402
from edgetpu_lib.tflite import interpreter  # noqa: E402
from edgetpu_lib.training import fast_layers  # noqa: E402
from edgetpu_lib.training.settings import FineTuneConfig  # noqa: E402

SIZE, ALPHA, NARROW = 224, 0.35, 0.25
S = "efficientnet-edgetpu-S"
# As MobileNetV2's ImageNet weights expect pixels, and as Frigate feeds them.
SIGNED, UNIT = (127.5, 127.5), (0.0, 255.0)
# Source: blakeblackshear/frigate, frigate/util/classification.py.
EPOCHS, BATCH_SIZE, LEARNING_RATE, TRAINED_SHARE = 50, 16, 1e-3, 0.8
PRETRAIN_SIZE, PRETRAIN_BATCH = 64, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="rendered_flowers")
    parser.add_argument("--per_class", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--test_per_class", type=int, default=100)
    parser.add_argument("--imagenet", action="store_true")
    parser.add_argument("--pretrain_dir", help="TFRecord folder; without, no weights")
    parser.add_argument("--pretrain_images", type=int, default=10_000)
    parser.add_argument("--pretrain_epochs", type=int, default=5)
    parser.add_argument("--most_images", type=int, default=12_000, help="seen by S")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="artifacts/frigate")
    options = parser.parse_args()
    Path(options.output).mkdir(parents=True, exist_ok=True)
    journal = Path(options.output) / "rows.jsonl"
    rows = [json.loads(line) for line in journal.open()] if journal.exists() else []
    known = {(row["model"], row["per_class"]) for row in rows}
    pool, test = split(options)
    for name in options.models:
        for count in options.per_class:
            if (name, count) in known:
                continue
            train = first_of_each(pool, count)
            keras.utils.set_random_seed(options.seed)
            start = time.perf_counter()
            content, scale = MODELS[name](train, options)
            seconds = time.perf_counter() - start
            (Path(options.output) / f"{name}.tflite").write_bytes(content)
            row = measure(content, scale, test)
            row |= {"model": name, "per_class": count, "seconds": round(seconds)}
            rows.append(row)
            with journal.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(line_of(row), file=sys.stderr)
    print("\n".join(map(line_of, rows)))
    for name, latency_ms in latencies_ms(options).items():
        print(f"{name}: {latency_ms:.1f} ms on two threads")


def split(options: argparse.Namespace) -> tuple[data.Images, data.Images]:
    """Return images to train on, in a drawn order, and held-out ones."""
    most = max(options.per_class) + options.test_per_class
    images = data.open_data_set(options.data_dir, images_per_class=most)
    order = np.random.default_rng(options.seed).permutation(len(images))
    images = images.take(order)
    test = first_of_each(images, options.test_per_class)
    held_out = set(test.paths)
    rest = [i for i, path in enumerate(images.paths) if path not in held_out]
    return images.take(np.array(rest)), test


def first_of_each(images: data.Images, count: int) -> data.Images:
    """Return the first images of each class."""
    places = [
        np.flatnonzero(images.labels == label)[:count]
        for label in range(len(images.class_names))
    ]
    return images.take(np.sort(np.concatenate(places)))


def latencies_ms(options: argparse.Namespace) -> dict[str, float]:
    """Return the median time of each model, on two threads; they run in turns."""
    opened = {}
    for name in options.models:
        content = (Path(options.output) / f"{name}.tflite").read_bytes()
        opened[name] = interpreter.start(content, threads=2)
    rounds = [
        {
            name: interpreter.measure_latency(each, runs=50).p50_ms
            for name, each in opened.items()
        }
        for _ in range(5)
    ]
    return {name: float(np.median([r[name] for r in rounds])) for name in opened}


def measure(
    content: bytes, scale: tuple[float, float], test: data.Images
) -> dict[str, Any]:
    """Return accuracy on held-out images, and size."""
    mean, stddev = scale
    opened = classifiers.open_classifier(
        content, mean=mean, stddev=stddev, resize="stretch"
    )
    predictions = evaluate.predict(opened, test, progress=None)
    found = metrics.measure(predictions, test.labels)
    return {
        "top1": found.top1,
        "low": found.top1_low,
        "high": found.top1_high,
        "images": found.images,
        "bytes": len(content),
    }


def line_of(row: dict[str, Any]) -> str:
    return (
        f"| {row['model']} | {row['per_class']} | {row['top1']:.1%}"
        f" ({row['low']:.1%} … {row['high']:.1%})"
        f" | {row['bytes']:,} | {row['seconds']} |"
    )


def theirs(
    train: data.Images,
    options: argparse.Namespace,
    scale: tuple[float, float] = UNIT,
) -> tuple[bytes, tuple[float, float]]:
    """Train as Frigate does; return the int8 file and what its pixels are taken for."""
    base = mobilenet(SIZE, include_top=False, imagenet=options.imagenet)
    if not options.imagenet:
        load_pretrained(base, options, "mobilenet", mobilenet)
    classes = len(train.class_names)
    head = keras.Sequential(
        [
            keras.Input(base.output_shape[1:]),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    head.compile(
        keras.optimizers.Adam(LEARNING_RATE), loss="sparse_categorical_crossentropy"
    )
    used = first_of_each(train, round(TRAINED_SHARE * (len(train) / classes)))
    # Frozen and without augmentation: the features are the same in every epoch.
    batches = data.iterate_batches(used, SIZE, resize="stretch")
    fed = (pixels.normalize(pixels.to_uint8(batch), *scale) for batch in batches)
    rows = np.concatenate([base.predict_on_batch(batch) for batch in fed])
    head.fit(rows, used.labels, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    model = keras.Model(base.input, head(base.output))
    return quantized(model, train, scale), scale


def in_the_right_range(
    train: data.Images, options: argparse.Namespace
) -> tuple[bytes, tuple[float, float]]:
    return theirs(train, options, SIGNED)


def mobilenet(
    size: int, *, include_top: bool = True, imagenet: bool = False
) -> keras.Model:
    """Return MobileNetV2 with pooled features, or with ten logits."""
    base = keras.applications.MobileNetV2(
        input_shape=(size, size, 3),
        alpha=ALPHA,
        include_top=False,
        weights="imagenet" if imagenet else None,
        pooling="avg",
    )
    if not include_top:
        return base
    logits = keras.layers.Dense(10, name="logits")(base.output)
    return keras.Model(base.input, logits, name="mobilenet")


def ours(
    train: data.Images,
    options: argparse.Namespace,
    width: float | None = None,
) -> tuple[bytes, tuple[float, float]]:
    """Fine-tune S, or S of another width; return the int8 file and its pixels."""
    classes = len(train.class_names)
    model = network(SIZE, classes, width)
    if not width:
        path = checkpoint.shipped_checkpoint(S)
        checkpoint.load_weights(model, path, include_classifier=False)
    else:
        load_pretrained(model, options, f"narrow-{width}", narrow)
    # As Frigate, a fifth is not trained on; here it chooses the epoch.
    used = first_of_each(train, round(TRAINED_SHARE * (len(train) / classes)))
    kept = set(used.paths)
    rest = [i for i, path in enumerate(train.paths) if path not in kept]
    config = FineTuneConfig(resize="stretch", seed=options.seed)
    epochs = max(1, min(config.epochs, options.most_images // len(used)))
    fine_tune.fine_tune(
        model,
        {"train": used, "validation": train.take(np.array(rest))},
        pretrained=True,
        config=dataclasses.replace(config, epochs=epochs),
    )
    scale = pixels.MEAN, pixels.STDDEV
    return quantized(convert.with_softmax(model), train, scale), scale


def narrowed(
    train: data.Images, options: argparse.Namespace
) -> tuple[bytes, tuple[float, float]]:
    return ours(train, options, NARROW)


def narrow(size: int) -> keras.Model:
    return network(size, 10, NARROW)


def network(size: int, classes: int, width: float | None) -> keras.Model:
    overrides = {"width_coefficient": width} if width else {}
    return build.build_model(S, num_classes=classes, image_size=size, **overrides)


def quantized(
    model: keras.Model, train: data.Images, scale: tuple[float, float]
) -> bytes:
    """Return the int8 file, calibrated on at most 300 training images, as Frigate's."""
    mean, stddev = scale
    calibration = data.calibration_images(train, 300)
    return convert.to_int8_tflite(
        model, calibration, mean=mean, stddev=stddev, resize="stretch"
    )


def load_pretrained(
    model: keras.Model,
    options: argparse.Namespace,
    name: str,
    build_small: Callable[[int], keras.Model],
) -> None:
    """Give a network the weights of one that was trained on --pretrain_dir."""
    if not options.pretrain_dir:
        return
    path = Path(options.output) / f"{name}.weights.h5"
    small = build_small(PRETRAIN_SIZE)
    if path.exists():
        small.load_weights(path)
    else:
        pretrain(small, options)
        small.save_weights(path)
    known = {layer.name: layer for layer in small.layers if layer.name != "logits"}
    for layer in model.layers:
        if layer.name in known:
            layer.set_weights(known[layer.name].get_weights())


def pretrain(model: keras.Model, options: argparse.Namespace) -> None:
    """Train on images of ten classes: the same images, order and steps for all."""
    images = data.open_splits(options.pretrain_dir)["train"]
    images = images.sample(options.pretrain_images)
    scale = SIGNED if model.name == "mobilenet" else (pixels.MEAN, pixels.STDDEV)
    arrays = data.load_pixels(images, PRETRAIN_SIZE, resize="stretch")
    labels = images.labels - images.labels.min()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras' 0.999 of MobileNetV2 averages over more steps than there are.
            layer.momentum = fine_tune.SCRATCH_MOMENTUM
    twin = fast_layers.training_twin(model)
    steps = options.pretrain_epochs * (len(images) // PRETRAIN_BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=4e-3, warmup_steps=steps // 10
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    twin.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4), loss=loss)
    rng = np.random.default_rng(options.seed)
    start, losses = time.perf_counter(), []
    for epoch in range(options.pretrain_epochs):
        order = rng.permutation(len(arrays))
        for first in range(0, len(order) - PRETRAIN_BATCH + 1, PRETRAIN_BATCH):
            chosen = order[first : first + PRETRAIN_BATCH]
            batch = arrays[chosen]
            batch = np.where(
                rng.random((len(batch), 1, 1, 1)) < 0.5, batch, batch[:, :, ::-1]
            )
            fed = pixels.normalize(batch, *scale)
            losses.append(float(twin.train_on_batch(fed, labels[chosen])))
        seconds = time.perf_counter() - start
        print(
            f"pretrain {model.name}, epoch {epoch + 1}: loss"
            f" {np.mean(losses[-len(order) // PRETRAIN_BATCH :]):.3f},"
            f" {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    model.set_weights(twin.get_weights())


MODELS = {
    "theirs": theirs,
    "theirs, −1…1": in_the_right_range,
    "S, narrow": narrowed,
    "S": ours,
}

if __name__ == "__main__":
    main()
