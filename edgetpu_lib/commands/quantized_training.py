"""Train in 8 bits for `fine-tune --quantize`, and measure what it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base.artifacts import InputError, read_metadata
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.training.settings import FineTuneConfig

if TYPE_CHECKING:
    import keras

    from edgetpu_lib.data import Images
    from edgetpu_lib.training.phases import Epoch

# As `export` draws by default, so that both measure the same ranges.
CALIBRATION_IMAGES = 2000


def train_in_8_bits(
    model: keras.Model,
    splits: dict[str, Images],
    history: list[Epoch],
    config: FineTuneConfig,
    *,
    state_dir: str,
    keep_minutes: float,
) -> dict[str, Any]:
    """Train in 8 bits and append its epochs to `history`.

    Returns the ranges ("limits") and the test accuracies of the int8 files before
    ("post_training") and after ("quantization_aware").
    """
    from edgetpu_lib import calibrate, convert, data
    from edgetpu_lib import fine_tune as tuning
    from edgetpu_lib.training import quantized

    names = quantized.measured_layers(model)
    images = data.calibration_images(
        splits["train"], CALIBRATION_IMAGES, seed=config.seed
    )
    exported = convert.with_softmax(model)
    ranges = calibrate.measure_ranges(
        convert.to_float_tflite(exported),
        calibrate.device_images(images, convert.size_of(model), resize=config.resize),
        total=len(images),
    )
    limits = ranges.limits(names)
    before = _int8_top1(exported, limits, splits["test"], config.resize)
    history += tuning.quantize_aware(
        model,
        splits,
        limits,
        config=config,
        state_dir=state_dir,
        keep_minutes=keep_minutes,
    )
    after = _int8_top1(exported, limits, splits["test"], config.resize)
    found = {"post_training": before, "quantization_aware": after}
    return {"limits": limits, "int8_top1": found}


def _int8_top1(
    exported: keras.Model,
    limits: dict[str, tuple[float, float]],
    images: Images,
    resize: Resize,
) -> float:
    """Return the top-1 accuracy, 0..1, of the int8 file of a model."""
    from edgetpu_lib import convert, evaluate
    from edgetpu_lib.evaluation import classifiers, metrics

    content = convert.to_int8_with_limits(exported, limits)
    opened = classifiers.open_classifier(content, resize=resize)
    predictions = evaluate.predict(opened, images)
    return metrics.measure(predictions, images.labels).top1


def open_trained(
    path: str, class_names: Sequence[str], config: FineTuneConfig
) -> tuple[keras.Model, FineTuneConfig]:
    """Return a trained network of this library, and the settings that suit it.

    Images are resized as in its first training, which its metadata tell.

    Raises:
        InputError: the file cannot be read or was trained on other classes.
    """
    from edgetpu_lib import checkpoint

    metadata = read_metadata(path)
    trained_on = metadata.get("class_names")
    if trained_on and list(trained_on) != list(class_names):
        raise InputError(
            f"--model={path} was trained on other classes, such as {trained_on[0]};"
            " give the images that it was trained on"
        )
    resize = metadata.get("resize", config.resize)
    return checkpoint.load_model(path), dataclasses.replace(config, resize=resize)
