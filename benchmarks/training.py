"""Measure training: throughput, streaming, memory, and the head against `fit`.

    python benchmarks/training.py throughput [--torch_python=other/.venv/bin/python]
    python benchmarks/training.py profile
    python benchmarks/training.py stream
    python benchmarks/training.py memory
    python benchmarks/training.py head --data_dir=photos/

Both sides of a comparison run in turns in one call; medians and ratios are printed.
PyTorch and timm are no dependency: give the Python of an environment that has them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

# A step as timm's own training script takes it: forward, loss, backward, RMSProp.
TORCH = """
import json, sys, time, torch, timm
size, batch, steps = map(int, sys.argv[1:])
torch.manual_seed(0)
model = timm.create_model("efficientnet_es", num_classes=1000)
model = model.to(memory_format=torch.channels_last).train()
images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
labels = torch.randint(0, 1000, (batch,))
optimizer = torch.optim.RMSprop(model.parameters(), 1e-4, momentum=0.9)
loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
seconds = []
for step in range(steps):
    start = time.perf_counter()
    optimizer.zero_grad()
    loss(model(images), labels).backward()
    optimizer.step()
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds[2:]))
"""
OURS = """
import json, sys, time
size, batch, steps, fast = map(int, sys.argv[1:])
from edgetpu_lib.base import quiet
if fast:
    quiet.prefer_onednn()
import keras, numpy as np
from edgetpu_lib import build, train
from edgetpu_lib.training import fast_layers, settings
keras.utils.set_random_seed(0)
model = build.build_model("efficientnet-edgetpu-S", num_classes=1000, image_size=size)
if not fast:
    fast_layers.training_twin = lambda model: model
model = train._compiled_twin(model, settings.Recipe(batch_size=batch), 1000)
rng = np.random.default_rng(0)
images = rng.normal(size=(batch, size, size, 3)).astype("float32")
targets = np.eye(1000, dtype="float32")[rng.integers(0, 1000, batch)]
seconds = []
for step in range(steps):
    start = time.perf_counter()
    model.train_on_batch(images, targets)
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds[2:]))
"""


@click.group()
def main() -> None:
    pass


@main.command()
@click.option("--torch_python", help="Python of an environment with torch and timm.")
@click.option("--steps", default=8)
@click.option("--turns", default=3)
def throughput(torch_python: str | None, steps: int, turns: int) -> None:
    table = Table("pixels", "batch", "side", "images/s", "ratio to the first")
    for size, batch in ((96, 32), (224, 16)):
        numbers = [str(size), str(batch), str(steps)]
        sides = {
            "plain Keras on TensorFlow": [sys.executable, "-c", OURS, *numbers, "0"],
            "edgetpu_lib": [sys.executable, "-c", OURS, *numbers, "1"],
        }
        if torch_python:
            sides = {"timm": [torch_python, "-c", TORCH, *numbers], **sides}
        found = {side: [] for side in sides}
        for _ in range(turns):
            for side, command in sides.items():
                found[side] += _run(command)
        first = next(iter(sides))
        for side, seconds in found.items():
            rate = batch / statistics.median(seconds)
            ratio = statistics.median(found[first]) / statistics.median(seconds)
            table.add_row(str(size), str(batch), side, f"{rate:.1f}", f"{ratio:.2f}")
    Console().print(table)


def _run(command: list[str]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(done.stderr[-500:])
    return json.loads(done.stdout.splitlines()[-1])


@main.command()
@click.option("--image_size", default=96)
@click.option("--batch_size", default=32)
@click.option("--steps", default=5)
@click.option("--fast/--plain", default=True, help="With edgetpu_lib's layers.")
def profile(image_size: int, batch_size: int, steps: int, fast: bool) -> None:
    """Print where a step's time goes, by kind of operation."""
    from edgetpu_lib.base import quiet

    if fast:
        quiet.prefer_onednn()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import collections
    import tempfile

    import keras
    import numpy as np
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from edgetpu_lib import build, train
    from edgetpu_lib.training import fast_layers, settings

    if not fast:
        fast_layers.training_twin = lambda model: model
    keras.utils.set_random_seed(0)
    model = build.build_model("efficientnet-edgetpu-S", image_size=image_size)
    model = train._compiled_twin(model, settings.Recipe(batch_size=batch_size), 1000)
    images = np.zeros((batch_size, image_size, image_size, 3), np.float32)
    targets = np.eye(1001, dtype=np.float32)[:batch_size]
    for _ in range(2):
        model.train_on_batch(images, targets)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        start = time.perf_counter()
        for _ in range(steps):
            model.train_on_batch(images, targets)
        wall = time.perf_counter() - start
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space.ParseFromString(path.read_bytes())
    totals: collections.Counter = collections.Counter()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name = names[event.metadata_id]
                if ":" in name and "/" in name:
                    totals[name.rsplit(":", 1)[1]] += event.duration_ps
    table = Table("operation", "ms a step, summed over threads", "share")
    whole = sum(totals.values())
    for name, picoseconds in totals.most_common(14):
        table.add_row(
            name, f"{picoseconds / 1e9 / steps:.1f}", f"{picoseconds / whole:.0%}"
        )
    table.caption = f"{wall / steps * 1e3:.0f} ms a step"
    Console().print(table)


def in_memory(arrays_u8, labels, size, batch_size, classes):
    """Yield what `fine_tune` trains on, from images that are all held in memory."""
    import numpy as np

    from edgetpu_lib.images import pixels

    order_rng, crop_rng = np.random.default_rng(0), np.random.default_rng([0, 1])
    while True:
        order = order_rng.permutation(len(arrays_u8))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            margin = arrays_u8.shape[1] - size
            corners = crop_rng.integers(0, margin + 1, (batch_size, 2))
            crops = np.stack(
                [
                    arrays_u8[index, top : top + size, left : left + size]
                    for index, (top, left) in zip(chosen, corners, strict=True)
                ]
            )
            mirrored = crop_rng.random(batch_size) < 0.5
            crops[mirrored] = crops[mirrored, :, ::-1]
            yield pixels.normalize(crops), np.eye(classes, dtype="f4")[labels[chosen]]


@main.command()
@click.option("--data_dir", default="rendered_flowers", show_default=True)
@click.option("--image_size", default=64, show_default=True)
@click.option("--batch_size", default=16, show_default=True)
@click.option("--steps", default=44, show_default=True, help="A turn of one side.")
@click.option("--turns", default=7, show_default=True)
def stream(
    data_dir: str, image_size: int, batch_size: int, steps: int, turns: int
) -> None:
    """Step on images that are read as needed, and on images held in memory."""
    from edgetpu_lib.base import quiet

    quiet.prefer_onednn()
    quiet.start_tensorflow()
    import itertools

    import keras
    import numpy as np

    from edgetpu_lib import build, data
    from edgetpu_lib.images import pixels
    from edgetpu_lib.training import examples, fast_layers, loop

    images = data.split_images(data.open_data_set(data_dir))["train"]
    classes = len(images.class_names)
    model = fast_layers.training_twin(
        build.build_model(
            "efficientnet-edgetpu-S", num_classes=classes, image_size=image_size
        )
    )
    loop.compile_model(model, keras.optimizers.AdamW(1e-4), label_smoothing=0.1)
    margin_size = round(image_size / pixels.CROP_FRACTION)
    held = data.load_pixels(images, margin_size, resize="square")
    plain = in_memory(held, images.labels, image_size, batch_size, classes)
    streamed = examples.ShuffledBatches(
        examples.from_images(
            images, margin_size, resize="square", progress="training images"
        ),
        batch_size,
        0,
        crop_size=image_size,
    )
    found: dict[str, list[float]] = {"in memory": [], "streamed": []}
    with streamed.from_step(0, (turns + 1) * steps) as reading:
        for turn in range(turns + 1):
            for side, batches in (("in memory", plain), ("streamed", reading)):
                start = time.perf_counter()
                losses = [
                    model.train_on_batch(*batch)
                    for batch in itertools.islice(batches, steps)
                ]
                assert np.isfinite(losses).all()
                if turn:  # The first compiles.
                    found[side].append(steps / (time.perf_counter() - start))
    table = Table("side", "steps/s, median", "lowest", "highest", "ratio")
    first = statistics.median(found["in memory"])
    for side, rates in found.items():
        rate = statistics.median(rates)
        row = (rate, min(rates), max(rates), rate / first)
        table.add_row(side, *(f"{number:.2f}" for number in row))
    Console().print(table)


MEMORY = """
import resource, sys
count, size, steps = map(int, sys.argv[1:])
from edgetpu_lib.base import quiet
quiet.prefer_onednn()
quiet.start_tensorflow()
import numpy as np
from edgetpu_lib import build, data, fine_tune
from edgetpu_lib.training import loop
drawn = data.open_data_set("rendered_flowers", images_per_class=20)
many = drawn.take(np.arange(count) % len(drawn))
model = build.build_model("efficientnet-edgetpu-S", num_classes=5, image_size=size)
take, taken = loop._step, []
def step(*given):
    take(*given)
    taken.append(1)
    if len(taken) == steps:
        raise KeyboardInterrupt
loop._step = step
splits = {"train": many, "validation": drawn}
try:
    fine_tune.fine_tune(model, splits, pretrained=False)
except KeyboardInterrupt:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@main.command()
@click.option("--images", default=50_000, show_default=True)
@click.option("--image_size", default=224, show_default=True)
@click.option("--steps", default=5, show_default=True)
def memory(images: int, image_size: int, steps: int) -> None:
    """Print the peak memory of some steps of fine-tuning, with few and many images."""
    table = Table("training images", "peak resident, GiB", "above the first, GiB")
    first = None
    for count in (100, images):
        numbers = [str(number) for number in (count, image_size, steps)]
        peak_gib = _run([sys.executable, "-c", MEMORY, *numbers]) / 2**20
        first = first or peak_gib
        table.add_row(f"{count:,}", f"{peak_gib:.2f}", f"{peak_gib - first:.2f}")
    Console().print(table)


@main.command()
@click.option("--data_dir", required=True, help="Folder of class folders.")
@click.option("--image_size", default=64)
@click.option("--epochs", default=10)
@click.option("--batch_size", default=32)
def head(data_dir: str, image_size: int, epochs: int, batch_size: int) -> None:
    """Train the classifier for some epochs on features, and by `fit`."""
    from edgetpu_lib.base import quiet

    quiet.prefer_onednn()
    import keras

    from edgetpu_lib import build, data
    from edgetpu_lib.images import pixels
    from edgetpu_lib.training import examples, features, loop, phases
    from edgetpu_lib.training.batches import one_hot

    images = data.list_images(data_dir)
    classes = len(images.class_names)

    def new_model():
        keras.utils.set_random_seed(0)
        return build.build_model(
            "efficientnet-edgetpu-S", num_classes=classes, image_size=image_size
        )

    start = time.perf_counter()
    model = new_model()
    rows = features.pooled_features(model, images)
    feature_pass_s = time.perf_counter() - start
    classifier = keras.Sequential(
        [keras.Input(rows.shape[1:]), *model.layers[-2:]]  # dropout, logits
    )
    steps = len(images) // batch_size
    optimizer = phases._optimizer(1e-2, steps * epochs)
    loop.compile_model(classifier, optimizer, label_smoothing=0.1)
    batches = examples.ShuffledBatches(
        examples.from_array(rows, images.labels, classes), batch_size, 0
    )
    with batches.from_step(0, epochs * steps) as reading:
        for batch in reading:
            classifier.train_on_batch(*batch)
    ours_s = time.perf_counter() - start

    start = time.perf_counter()
    model = new_model()
    for layer in model.layers[:-1]:
        layer.trainable = False
    optimizer = phases._optimizer(1e-2, steps * epochs)
    loop.compile_model(model, optimizer, label_smoothing=0.1)
    arrays = pixels.normalize(data.load_pixels(images, image_size))
    targets = one_hot(images.labels, classes)
    model.fit(arrays, targets, batch_size, epochs, verbose=0)
    fit_s = time.perf_counter() - start
    table = Table("side", "seconds", "ratio")
    table.add_row("fit on a frozen backbone", f"{fit_s:.1f}", "1.0")
    table.add_row(
        f"features once ({feature_pass_s:.1f} s), then the head",
        f"{ours_s:.1f}",
        f"{fit_s / ours_s:.1f}",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
