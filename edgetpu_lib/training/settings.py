"""Settings of the two trainings, each number with its default and its meaning.

Light to import: the command line makes its options from them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images.normalization import Resize

Optimizer = Literal["rmsprop", "momentum", "sgd", "adamw"]
Schedule = Literal["exponential", "cosine", "constant"]
ResizeMethod = Literal["bicubic", "bilinear"]


# Of the recipe: values that are among few, above zero, and between zero and a number.
_CHOICES = {
    "schedule": Schedule,
    "optimizer": Optimizer,
    "resize_method": ResizeMethod,
    "resize": Resize,
}
_ABOVE_ZERO = (
    *("epochs", "batch_size", "base_learning_rate", "decay_epochs", "decay_factor"),
    *("batch_norm_epsilon", "randaug_num_layers"),
)
_UP_TO = {
    "warmup_epochs": math.inf,
    "label_smoothing": 1,
    "weight_decay": math.inf,
    "average_decay": 1,
    "batch_norm_momentum": 1,
    "randaug_magnitude": 10,
    "mixup_alpha": math.inf,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the reference trains on ImageNet; the defaults are its own.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step, over all devices.
        base_learning_rate: peak learning rate for a batch of 256 images; it is
            scaled with the batch size.
        optimizer: "rmsprop", "momentum" and "sgd" are the reference's, the first its
            default; "adamw" learns more in the first thousands of steps.
        schedule: how the learning rate falls: in stairs, along a cosine, or not.
        warmup_epochs: epochs in which the learning rate rises from zero to its peak.
        decay_epochs: epochs per stair of the exponential schedule.
        decay_factor: factor from one stair of the exponential schedule to the next.
        label_smoothing: share of the target spread over all classes, 0..1.
        weight_decay: factor of half the squared sum of all variables but those of
            batch normalization.
        average_decay: decay of the moving averages of the weights, once warmed up.
        batch_norm_momentum: share of the moving mean and variance that a step keeps,
            0..1.
        batch_norm_epsilon: added to variances. Other programs build these networks
            with 0.001, whatever a checkpoint was trained with.
        resize: "crop" as the reference, or "stretch" whole images to a square, as
            programs do that feed the network boxes around objects; random crops then
            have the image's own proportions.
        min_crop_area: smallest share of an image that a random crop keeps, 0..1.
        resize_method: of the random crops: "bicubic" as the published weights were
            trained, or "bilinear".
        randaugment: vary colours and shapes with Keras' `RandAugment`.
        randaug_num_layers: number of its operations for each image.
        randaug_magnitude: their strength, 0..10. Keras rotates and shifts farther than
            the reference at the same number, whose default is 10.
        mixup: blend pairs of images and their labels, as --mixup_alpha=0.2 does.
        mixup_alpha: blend with Keras' `MixUp`, by shares from Beta(alpha, alpha); 0
            blends nothing.
    """

    epochs: int = 350
    batch_size: int = 2048
    base_learning_rate: float = 0.016
    optimizer: Optimizer = "rmsprop"
    schedule: Schedule = "exponential"
    warmup_epochs: float = 5.0
    decay_epochs: float = 2.4
    decay_factor: float = 0.97
    label_smoothing: float = 0.1
    weight_decay: float = 1e-5
    average_decay: float = 0.9999
    batch_norm_momentum: float = 0.99
    batch_norm_epsilon: float = 1e-3
    resize: Resize = "crop"
    min_crop_area: float = 0.08
    resize_method: ResizeMethod = "bicubic"
    randaugment: bool = False
    randaug_num_layers: int = 2
    randaug_magnitude: float = 5.0
    mixup: bool = False
    mixup_alpha: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        for name, known in _CHOICES.items():
            _require_choice(name, getattr(self, name), known)
        for name in _ABOVE_ZERO:
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}={getattr(self, name)} must be above 0")
        for name, highest in _UP_TO.items():
            if not 0 <= getattr(self, name) <= highest:
                raise InputError(
                    f"{name}={getattr(self, name)} must be between 0 and {highest}"
                )
        if not 0 < self.min_crop_area <= 1:
            raise InputError(
                f"min_crop_area={self.min_crop_area} must be above 0 and at most 1"
            )


def _require_choice(name: str, value: str, known: Any) -> None:
    """Raise `InputError` if a value is none of those of a `Literal`."""
    if value not in get_args(known):
        words = ", ".join(get_args(known))
        raise InputError(f"{name} {value!r} is unknown; use {words}")


@dataclasses.dataclass(frozen=True)
class FineTuneConfig:
    """How to fine-tune; the defaults suit a few thousand images on a CPU.

    Attributes:
        head_epochs: largest number of epochs of the classifier alone, on cached
            features (pretrained weights only).
        epochs: largest number of epochs of the unfrozen layers.
        batch_size: images per step.
        head_learning_rate: peak learning rate of the classifier alone.
        fine_learning_rate: peak learning rate of the unfrozen blocks of a pretrained
            network.
        scratch_learning_rate: peak learning rate of a network without pretrained
            weights.
        unfrozen_blocks: number of last blocks that the second phase trains; S has 16.
            All of them suit the checkpoint that ships, which was trained on small
            images of ten classes; with ImageNet weights the last 6 may do.
        resize: "crop" the centre of images as the reference does, or "stretch" whole
            images to a square, as Frigate does; the model's metadata say which, and
            all other commands obey.
        quantize_epochs: largest number of epochs of --quantize.
        quantize_learning_rate: peak learning rate of --quantize.
        patience: epochs without a lower validation loss before training stops.
        seed: seed of the split, of new weights, shuffling, augmentation and dropout.
    """

    head_epochs: int = 30
    epochs: int = 12
    batch_size: int = 16
    head_learning_rate: float = 1e-2
    fine_learning_rate: float = 1e-3
    scratch_learning_rate: float = 1e-3
    unfrozen_blocks: int = 16
    resize: Resize = "crop"
    quantize_epochs: int = 3
    quantize_learning_rate: float = 1e-3
    patience: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        _require_choice("resize", self.resize, Resize)
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, int) and name != "seed" and value < 1:
                raise InputError(f"{name}={value} must be at least 1")
