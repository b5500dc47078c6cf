"""Fine-tune a model on images, or train it from nothing where no weights are at hand.

Takes a model and splits; gives the fitted model and a history of its epochs.
Next: `convert` exports what was trained here.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from edgetpu_lib import build, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.datasets import opening
from edgetpu_lib.images import pixels
from edgetpu_lib.training import fast_layers, features


@dataclasses.dataclass(frozen=True)
class FineTuneConfig:
    """How to train; the defaults suit a few thousand images on a CPU.

    Attributes:
        head_epochs: at most, of the classifier alone on cached features (pretrained
            weights only).
        epochs: at most, of the unfrozen layers.
        batch_size: images a step.
        head_learning_rate: peak, of the classifier alone.
        fine_learning_rate: peak, of the last stages of a pretrained network.
        scratch_learning_rate: peak, of a network without pretrained weights.
        unfrozen_blocks: how many of the last blocks the second phase trains. 16 are all
            of S: the checkpoint that ships knows ten kinds of small image, so that
            much is left to learn. With ImageNet weights the last 6 may do.
        patience: epochs without a better validation loss before training stops.
        seed: of shuffling, augmentation, dropout.
    """

    head_epochs: int = 30
    epochs: int = 12
    batch_size: int = 32
    head_learning_rate: float = 1e-2
    fine_learning_rate: float = 1e-3
    scratch_learning_rate: float = 1e-3
    unfrozen_blocks: int = 16
    patience: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that no training could use."""
        for field in (
            "head_epochs",
            "epochs",
            "batch_size",
            "patience",
            "unfrozen_blocks",
        ):
            if getattr(self, field) < 1:
                raise InputError(f"{field}={getattr(self, field)} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch; losses include label smoothing, accuracies are fractions 0..1."""

    phase: str
    epoch: int
    loss: float
    top1: float
    validation_loss: float
    validation_top1: float
    seconds: float


def fine_tune(
    model: keras.Model,
    splits: dict[str, data.Images],
    *,
    pretrained: bool,
    config: FineTuneConfig | None = None,
    cache_dir: str | Path | None = None,
) -> list[Epoch]:
    """Train `model` in place on images; the weights of the best epoch are kept.

    With pretrained weights: first the classifier, on features computed once, then the
    last stages too, at a low rate and with batch-norm statistics frozen. Without: all
    layers at once.

    Args:
        model: from `build.build_model`, with as many logits as there are classes.
        splits: "train" and "validation", from `data_sets.open_splits`.
        pretrained: whether the model holds weights worth keeping.
        config: numbers; `None` takes the defaults.
        cache_dir: keeps features, so that the first phase is quick the next time;
            `None` keeps nothing.

    Returns:
        One row an epoch, in order. Best is the lowest validation loss of a phase.

    Raises:
        InputError: classes and logits differ in number, or an image cannot be used.

    See: notebooks/03_fine_tune.ipynb.
    """
    config = config or FineTuneConfig()
    classes, logits = len(splits["train"].class_names), model.output_shape[-1]
    if classes != logits:
        raise InputError(
            f"the images have {classes} classes but the model has {logits} logits;"
            f" build it with num_classes={classes}"
        )
    keras.utils.set_random_seed(config.seed)
    image_size = model.input_shape[1]
    # Training images keep a margin that random crops use; the scale is the same as
    # in evaluation, where the centre of the same square is cut.
    margin_size = round(image_size / pixels.CROP_FRACTION)
    train_u8 = data.load_pixels(
        splits["train"], margin_size, whole_square=True, progress="training images"
    )
    validation = (
        data.load_pixels(
            splits["validation"], image_size, progress="validation images"
        ),
        splits["validation"].labels,
    )
    # A damaged test image must show before the training, not after.
    for name in splits.keys() - {"train", "validation"}:
        opening.verify_images(splits[name], progress=f"{name} images")
    train = (train_u8, splits["train"].labels)
    if not pretrained:
        return train_all_layers(model, train, validation, config)
    build.zero_classifier(model)
    epochs = _train_head(model, splits, config, cache_dir)
    blocks = count_blocks(model)
    freeze_until(model, f"block_{max(0, blocks - config.unfrozen_blocks)}")
    return epochs + _fit(
        model,
        augmented_batches(*train, image_size, config.batch_size, config.seed),
        validation,
        phase="unfrozen stages",
        epochs=config.epochs,
        learning_rate=config.fine_learning_rate,
        steps=_steps(train_u8, config),
        patience=config.patience,
        keep_start=True,
    )


def train_all_layers(
    model: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    config: FineTuneConfig,
    *,
    show_progress: bool = True,
) -> list[Epoch]:
    """Train `model` in place from nothing; the weights of the best epoch are kept.

    Args:
        model: from `build.build_model`, with fresh weights.
        train: uint8 [number, larger, larger, 3], of which random crops are taken, and
            int64 labels [number].
        validation: uint8 [number, size, size, 3] of the model's size, and labels.
        config: numbers.
        show_progress: with a bar.

    Returns:
        One row an epoch.
    """
    build.zero_classifier(model)
    _prepare_for_scratch(model)
    size = model.input_shape[1]
    return _fit(
        model,
        augmented_batches(*train, size, config.batch_size, config.seed),
        validation,
        phase="all layers",
        epochs=config.epochs,
        learning_rate=config.scratch_learning_rate,
        steps=_steps(train[0], config),
        patience=config.patience,
        show_progress=show_progress,
    )


def freeze_until(model: keras.Model, first_trained: str) -> None:
    """Freeze all layers before a block, and every batch normalisation.

    A frozen batch normalisation uses its moving statistics and does not update them.

    Args:
        model: from `build.build_model`.
        first_trained: name of the first block to train, for example "block_12".

    Raises:
        InputError: the model has no such block.
    """
    names = [layer.name for layer in model.layers]
    first_layer = f"{first_trained}_expand_conv"
    if first_layer not in names:
        raise InputError(
            f"the model has no block {first_trained!r}; use one of block_0 …"
            f" block_{count_blocks(model) - 1}"
        )
    for index, layer in enumerate(model.layers):
        layer.trainable = index >= names.index(first_layer) and not isinstance(
            layer, keras.layers.BatchNormalization
        )


def count_blocks(model: keras.Model) -> int:
    """Return the number of blocks of a model from `build.build_model`."""
    return sum(layer.name.endswith("_project_conv") for layer in model.layers)


def augmented_batches(
    images_u8: np.ndarray, labels: np.ndarray, size: int, batch_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield shuffled, randomly cropped and mirrored batches for ever.

    Args:
        images_u8: uint8 [number, larger, larger, 3].
        labels: int64 [number].
        size: height and width of the crops.
        batch_size: as `shuffled_batches`.
        seed: of shuffle and augmentation.

    Yields:
        float32 [batch, size, size, 3] normalised, and int64 [batch].
    """
    rng = np.random.default_rng([seed, 1])
    for images, chosen in shuffled_batches(images_u8, labels, batch_size, seed):
        crops = _windows(images, size, rng)
        mirrored = rng.random(len(crops)) < 0.5
        crops[mirrored] = crops[mirrored, :, ::-1]
        yield pixels.normalize(crops), chosen


def shuffled_batches(
    inputs: np.ndarray, labels: np.ndarray, batch_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches in a new order each pass, for ever.

    Args:
        inputs: any type [number, …].
        labels: int64 [number].
        batch_size: rows a batch; the last, smaller batch of a pass is left out.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    batch_size = min(batch_size, len(inputs))
    while True:
        order = rng.permutation(len(inputs))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield inputs[chosen], labels[chosen]


def _windows(images_u8: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random window out of each image."""
    corners = rng.integers(0, images_u8.shape[1] - size + 1, (len(images_u8), 2))
    return np.stack(
        [
            image[top : top + size, left : left + size]
            for image, (top, left) in zip(images_u8, corners, strict=True)
        ]
    )


def _prepare_for_scratch(model: keras.Model) -> None:
    """Make a short training from nothing possible.

    The published batch-norm momentum of 0.99 averages over hundreds of steps, more
    than a short training has.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9


def _train_head(
    model: keras.Model,
    splits: dict[str, data.Images],
    config: FineTuneConfig,
    cache_dir: str | Path | None,
) -> list[Epoch]:
    """Train the classifier on pooled features that are computed once."""
    train, validation = (
        features.pooled_features(model, splits[side], cache_dir=cache_dir)
        for side in ("train", "validation")
    )
    head = keras.Sequential(
        [
            keras.Input(train.shape[1:]),
            model.get_layer("head_dropout"),
            model.get_layer("logits"),
        ]
    )
    labels = splits["train"].labels
    return _fit(
        head,
        shuffled_batches(train, labels, config.batch_size, config.seed),
        (validation, splits["validation"].labels),
        phase="classifier",
        epochs=config.head_epochs,
        learning_rate=config.head_learning_rate,
        steps=_steps(train, config),
        patience=config.patience,
    )


def _steps(images: np.ndarray, config: FineTuneConfig) -> int:
    return max(1, len(images) // config.batch_size)


def _compile(model: keras.Model, learning_rate: float, steps: int) -> None:
    """Compile with AdamW, a short warm-up and a cosine decay over `steps`."""
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        max(1, steps - warmup),
        alpha=0.0,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        loss=_smoothed_cross_entropy,
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="top1")],
        # XLA on a CPU compiles for minutes and then runs slower.
        jit_compile=False,
    )
    # Built now, the training step is traced once; left to the first step, twice.
    model.optimizer.build(model.trainable_variables)


def _smoothed_cross_entropy(labels, logits):
    """Cross-entropy of integer labels with label smoothing 0.1."""
    classes = logits.shape[-1]
    one_hot = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), classes)
    return keras.losses.categorical_crossentropy(
        one_hot, logits, from_logits=True, label_smoothing=0.1
    )


def _fit(
    model: keras.Model,
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    phase: str,
    epochs: int,
    learning_rate: float,
    steps: int,
    patience: int,
    keep_start: bool = False,
    show_progress: bool = True,
) -> list[Epoch]:
    """Train until the epochs or the patience run out; keep the best epoch's weights.

    With `keep_start` the weights it starts from are kept if no epoch is better.

    A loop of single steps, not `model.fit`: Keras feeds batches that Python makes
    through a TensorFlow operation that sets a memory option under which every step is
    up to three times slower on a CPU.
    """
    given, model = model, fast_layers.training_twin(model)
    _compile(model, learning_rate, steps * epochs)
    rows: list[Epoch] = []
    best_weights, best = model.get_weights(), 0
    best_loss = _evaluate(model, *validation)["loss"] if keep_start else math.inf
    with tqdm(
        total=epochs * steps,
        desc=phase,
        unit="step",
        leave=False,
        disable=not show_progress,
    ) as bar:
        for epoch in range(epochs):
            start = time.perf_counter()
            losses, hits = [], []
            for _ in range(steps):
                logs = model.train_on_batch(*next(batches), return_dict=True)
                losses.append(float(logs["loss"]))
                hits.append(float(logs["top1"]))
                bar.update()
            held_out = _evaluate(model, *validation)
            rows.append(
                Epoch(
                    phase=phase,
                    epoch=epoch + 1,
                    loss=float(np.mean(losses)),
                    top1=float(np.mean(hits)),
                    validation_loss=held_out["loss"],
                    validation_top1=held_out["top1"],
                    seconds=time.perf_counter() - start,
                )
            )
            bar.set_postfix(epoch=epoch + 1, validation=f"{held_out['top1']:.1%}")
            if held_out["loss"] < best_loss:
                best, best_loss = epoch, held_out["loss"]
                best_weights = model.get_weights()
            elif epoch - best >= patience:
                break
    given.set_weights(best_weights)
    return rows


def _evaluate(
    model: keras.Model, inputs: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Return loss and top-1 on held-out images (uint8) or features (float32)."""
    totals = {"loss": 0.0, "top1": 0.0}
    for start in range(0, len(inputs), 64):
        chunk = inputs[start : start + 64]
        batch = pixels.normalize(chunk) if chunk.dtype == np.uint8 else chunk
        logs = model.test_on_batch(batch, labels[start : start + 64], return_dict=True)
        for name in totals:
            totals[name] += float(logs[name]) * len(chunk) / len(inputs)
    return totals
