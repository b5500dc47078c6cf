"""Scores of a classifier's file: of any input, never NaN, and as probabilities."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import resize_of
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.images.pixels import square_side
from edgetpu_lib.tflite import contract, interpreter, preprocessing
from edgetpu_lib.tflite.contract import PixelScale
from edgetpu_lib.tflite.file import TfliteFile, read_bytes, read_tflite

# Behind the operator that computes the scores, these only change their form.
_SAME_SCORES = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE"}


@dataclasses.dataclass(frozen=True, eq=False)
class Scorer:
    """An opened classifier of a TFLite file; calling it gives the scores of an image.

    Attributes:
        name: of the file, for messages.
        content: its bytes.
        opened: its interpreter.
        pixel_scale: what is subtracted from pixels and what they are divided by.
        resize: how an image becomes square, "crop" or "stretch".
        ends_in_logistic: whether the scores come out of a logistic function.
    """

    name: str
    content: bytes
    opened: Any
    pixel_scale: PixelScale
    resize: Resize
    ends_in_logistic: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return interpreter.input_contract(self.opened).shape[1:3]

    @property
    def image_size(self) -> int:
        """Side of the square images whose middle the input takes, pixels."""
        return square_side(self.shape, self.resize)

    @property
    def classes(self) -> int:
        """Number of the scores; two where the file gives one for both."""
        return max(2, int(np.prod(interpreter.output_contract(self.opened).shape)))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32 [classes] for [height, width, 3], RGB, 0..255.

        Raises:
            InputError: the runtime fails, or a score is NaN or infinite; the first
                layer that is, is named.
        """
        mean, stddev = self.pixel_scale
        wanted = {"mean": mean, "stddev": stddev}
        try:
            scores = interpreter.run(self.opened, pixels, **wanted)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        if not are_numbers(scores):
            taken = interpreter.input_contract(self.opened)
            fed = interpreter.quantize_input(pixels, taken, **wanted)
            raise not_numbers(self.name, _first_without_numbers(self.content, fed))
        return both_classes(scores[None], self.ends_in_logistic)[0]


def open_scorer(
    model: str | Path | bytes,
    *,
    pixel_scale: PixelScale | None = None,
    resize: Resize | None = None,
    threads: int | None = None,
    device: DeviceOptions = interpreter.ANY_DEVICE,
) -> Scorer:
    """Open a TFLite classifier with what its file tells of its input.

    Args:
        model: path or bytes of a `.tflite` file.
        pixel_scale: mean and standard deviation of its training; `None` takes what the
            file or its metadata tell, and of bytes what this library trains with.
        resize: how an image becomes square; `None` takes what the metadata tell, or
            else "crop".
        threads: CPU threads; `None` leaves the choice to the runtime.
        device: the Edge TPU that runs a compiled file.

    Raises:
        InputError: the model cannot be used, nothing tells which pixels it takes, or
            images are stretched to an oblong input.
    """
    opened = interpreter.open_interpreter(model, threads=threads, device=device)
    name, content = read_bytes(model)
    file = read_tflite(content)
    pixel_scale = pixel_scale or preprocessing.of_model(model, file)
    known = contract.require_known(pixel_scale, name)
    if resize is None:
        resize = "crop" if isinstance(model, bytes) else resize_of(model)
    scorer = Scorer(name, content, opened, known, resize, _ends_in_logistic(file))
    square_side(scorer.shape, resize)
    return scorer


def _ends_in_logistic(file: TfliteFile) -> bool:
    kinds = [o.kind for o in file.operators if o.kind not in _SAME_SCORES]
    return kinds[-1:] == ["LOGISTIC"]


def both_classes(scores: np.ndarray, are_probabilities: bool) -> np.ndarray:
    """Return scores [images, classes] with both classes, where there is one score.

    A single score is of class 1; `are_probabilities` tells whether it is 0..1, or the
    logit that a logistic function would make one of.
    """
    if scores.shape[1] != 1:
        return scores
    share = scores if are_probabilities else _logistic(scores)
    return np.concatenate([1 - share, share], axis=1)


def _logistic(scores: np.ndarray) -> np.ndarray:
    # Beyond ±88 the powers exceed float32.
    return 1 / (1 + np.exp(-np.clip(scores, -88, 88)))


def are_numbers(scores: np.ndarray) -> bool:
    """Return whether scores are numbers; −∞ is one, the logarithm of 0."""
    return bool((scores < np.inf).all())


def not_numbers(name: str, layer: str | None) -> InputError:
    """Return the error for a model whose scores are NaN or infinite."""
    where = f", first in layer {layer}" if layer else ""
    return InputError(
        f"{name} gives scores that are not numbers (NaN or infinity){where}; look at"
        " its weights, or train it again with a lower learning rate"
    )


def _first_without_numbers(content: bytes, fed: np.ndarray) -> str | None:
    """Return the name of the first tensor with NaN or infinity."""
    opened = interpreter.start(content, keep_tensors=True)
    interpreter.invoke(opened, fed)
    file = read_tflite(content)
    for operator in file.operators:
        for index in operator.outputs:
            tensor = file.tensors[index]
            if tensor.is_float and not are_numbers(opened.get_tensor(index)):
                return tensor.name.split(";")[0]
    return None


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return scores, float [images, classes], as probabilities, 0..1.

    Rows within 0..1 are kept; a softmax is applied to all others.
    """
    # Quantized probabilities need not sum to one: most are rounded to zero.
    given = (scores.min(axis=1) >= 0) & (scores.max(axis=1) <= 1.01)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax = powers / powers.sum(axis=1, keepdims=True)
    return np.where(given[:, None], scores, softmax)
