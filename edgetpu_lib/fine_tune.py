"""Fine-tune a model on images, or train it from nothing without pretrained weights.

Takes a model and splits; gives the fitted model and a history of its epochs.
Next: `convert` exports what was trained here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from edgetpu_lib import build, checkpoint, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.training import examples, features, loop, phases, quantized
from edgetpu_lib.training.examples import Examples, ShuffledBatches
from edgetpu_lib.training.phases import Epoch
from edgetpu_lib.training.settings import FineTuneConfig
from edgetpu_lib.training.state import TrainingState

# Of stretched images, random crops keep so much of each side: boxes around an object
# differ by that much, and its proportions are kept.
STRETCHED_FRACTION = 15 / 16
# The published 0.99 averages over hundreds of steps, more than a short training has.
SCRATCH_MOMENTUM = 0.9


def fine_tune(
    model: keras.Model,
    splits: dict[str, data.Images],
    *,
    pretrained: bool,
    config: FineTuneConfig | None = None,
    cache_dir: str | Path | None = None,
    state_dir: str | Path | None = None,
    keep_minutes: float = 1,
) -> list[Epoch]:
    """Train `model` in place, keep the best epoch's weights, return one row per epoch.

    With pretrained weights: first the classifier, on features computed once, then the
    last blocks too, at a low rate and with batch-norm statistics frozen. Without: all
    layers at once. The best epoch of a phase has its lowest validation loss.

    Args:
        model: from `build.build_model`, with one logit per class.
        splits: "train" and "validation", from `data.open_splits`.
        pretrained: whether the model holds pretrained weights.
        config: settings; `None` takes the defaults.
        cache_dir: folder of the cached features; `None` caches nothing.
        state_dir: folder of the state, from which the same call resumes; delete it once
            the result is saved. `None` saves nothing.
        keep_minutes: minutes between two writes of the state.

    Raises:
        InputError: classes and logits differ in number, an image cannot be decoded, the
            loss is not finite, or the state in `state_dir` is another training's.

    See: notebooks/03_fine_tune.ipynb.
    """
    config = config or FineTuneConfig()
    loop.check_classes(model, splits["train"], 0)
    keras.utils.set_random_seed(config.seed)
    settings = _settings(model, splits, config)
    new_state = functools.partial(
        TrainingState, state_dir, settings, keep_minutes=keep_minutes
    )
    train, validation = _open_examples(splits, model.input_shape[1], config.resize)
    if not pretrained:
        return train_all_layers(model, train, validation, config, new_state=new_state)
    build.zero_classifier(model)
    rows = _train_head(model, splits, config, cache_dir, new_state)
    freeze_until(model, f"block_{max(0, count_blocks(model) - config.unfrozen_blocks)}")
    return rows + phases.fit(
        model,
        _cropped(model, train, config),
        validation,
        config.patience,
        new_state,
        phase="unfrozen stages",
        epochs=config.epochs,
        learning_rate=config.fine_learning_rate,
        keep_start=True,
    )


def quantize_aware(
    model: keras.Model,
    splits: dict[str, data.Images],
    limits: quantized.Limits,
    *,
    config: FineTuneConfig | None = None,
    precision: quantized.Precision | None = None,
    state_dir: str | Path | None = None,
    keep_minutes: float = 1,
) -> list[Epoch]:
    """Train `model` in place while it is computed as its int8 file; return the epochs.

    All weights are trained. Ranges and batch-norm statistics stay as they are. If no
    epoch has a lower validation loss in 8 bits than the start, the weights stay too.

    Args:
        model: a trained network from `build.build_model`.
        splits: as for `fine_tune`.
        limits: smallest and largest value of each layer in
            `quantized.measured_layers(model)`, as `calibrate` finds them; export with
            the same, by `convert.to_int8_with_limits`.
        config: settings; `None` takes the defaults.
        precision: of the rounding; `None` takes that of an int8 file. No file holds
            fewer bits.
        state_dir: as for `fine_tune`.
        keep_minutes: likewise.

    Raises:
        InputError: as `fine_tune`; or a layer has no range or no integer form.
    """
    config = config or FineTuneConfig()
    precision = precision or quantized.Precision()
    loop.check_classes(model, splits["train"], 0)
    twin = quantized.Twin(model, limits, precision)
    keras.utils.set_random_seed(config.seed)
    for layer in model.layers:
        layer.trainable = True
    settings = {
        **_settings(model, splits, config),
        "limits": {name: list(ends) for name, ends in limits.items()},
        "precision": dataclasses.asdict(precision),
    }
    train, validation = _open_examples(splits, model.input_shape[1], config.resize)
    return phases.fit(
        model,
        _cropped(model, train, config),
        validation,
        config.patience,
        functools.partial(
            TrainingState, state_dir, settings, keep_minutes=keep_minutes
        ),
        phase="8 bits",
        epochs=config.quantize_epochs,
        learning_rate=config.quantize_learning_rate,
        keep_start=True,
        twin=twin,
    )


def _settings(
    model: keras.Model, splits: dict[str, data.Images], config: FineTuneConfig
) -> dict[str, Any]:
    """Return what must be equal for a training to resume."""
    return {
        "model": [model.name, model.input_shape[1], checkpoint.weights_digest(model)],
        **{side: data.list_digest(images) for side, images in splits.items()},
        **dataclasses.asdict(config),
    }


def _open_examples(
    splits: dict[str, data.Images], image_size: int, resize: Resize
) -> tuple[Examples, Examples]:
    """Return training and validation images, after every image was read once.

    Training images keep a margin for random crops: of the square whose centre is cut
    out in evaluation, and so of its scale, or of the stretched image.
    """
    window, fraction = "square", pixels.CROP_FRACTION
    if resize == "stretch":
        window, fraction = "stretch", STRETCHED_FRACTION
    train = examples.from_images(
        splits["train"],
        round(image_size / fraction),
        resize=window,
        progress="training images",
    )
    validation = examples.from_images(
        splits["validation"], image_size, resize=resize, progress="validation images"
    )
    # A damaged test image must fail before the training, not after it.
    for name in splits.keys() - {"train", "validation"}:
        data.verify_images(splits[name], progress=f"{name} images")
    return train, validation


def train_all_layers(
    model: keras.Model,
    train: Examples,
    validation: Examples,
    config: FineTuneConfig,
    *,
    new_state: Callable[..., TrainingState] | None = None,
    show_progress: bool = True,
) -> list[Epoch]:
    """Train a fresh `model` in place; the weights of the best epoch are kept.

    Random crops are taken of `train`, whose images are larger than the model's;
    `validation` has the model's size. `new_state` takes a name, a model and tensors and
    returns the state that saves them; `None` saves nothing. Returns one row per epoch.
    """
    build.zero_classifier(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = SCRATCH_MOMENTUM
    return phases.fit(
        model,
        _cropped(model, train, config),
        validation,
        config.patience,
        new_state or functools.partial(TrainingState, None, {}),
        phase="all layers",
        epochs=config.epochs,
        learning_rate=config.scratch_learning_rate,
        show_progress=show_progress,
    )


def _cropped(
    model: keras.Model, train: Examples, config: FineTuneConfig
) -> ShuffledBatches:
    size = model.input_shape[1]
    return ShuffledBatches(train, config.batch_size, config.seed, crop_size=size)


def freeze_until(model: keras.Model, first_trained: str) -> None:
    """Freeze all layers before a block such as "block_12", and every batch norm.

    A frozen batch normalisation uses its moving statistics and does not update them.

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


def _train_head(
    model: keras.Model,
    splits: dict[str, data.Images],
    config: FineTuneConfig,
    cache_dir: str | Path | None,
    new_state: Callable[..., TrainingState],
) -> list[Epoch]:
    """Train the classifier on pooled features that are computed once."""
    train, validation = (
        examples.from_array(
            features.pooled_features(
                model, images, resize=config.resize, cache_dir=cache_dir
            ),
            images.labels,
            len(images.class_names),
        )
        for images in (splits["train"], splits["validation"])
    )
    dropout, logits = model.get_layer("head_dropout"), model.get_layer("logits")
    head = keras.Sequential([keras.Input(logits.kernel.shape[:1]), dropout, logits])
    return phases.fit(
        head,
        ShuffledBatches(train, config.batch_size, config.seed),
        validation,
        config.patience,
        new_state,
        phase="classifier",
        epochs=config.head_epochs,
        learning_rate=config.head_learning_rate,
    )
