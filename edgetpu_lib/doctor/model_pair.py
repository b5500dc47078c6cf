"""Open a float model and its int8 model and run both on the same images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from edgetpu_lib import checkpoint, convert, data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import resize_of, verified_metadata
from edgetpu_lib.doctor import layer_errors
from edgetpu_lib.evaluation import classifiers, keras_inputs, metrics
from edgetpu_lib.evaluation.metrics import Predictions
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite import compiled, contract, preprocessing
from edgetpu_lib.tflite.contract import PixelScale
from edgetpu_lib.tflite.file import read_bytes, read_tflite
from edgetpu_lib.tflite.trial import require_running


@dataclasses.dataclass(frozen=True, eq=False)
class FilePair:
    """A float model and its int8 model, run on the same images.

    Attributes:
        float_tflite: bytes of the float model.
        int8_tflite: bytes of the int8 model.
        calibrated_on: number of calibration images, if the int8 model's metadata tells.
        pixel_scale: what is subtracted from pixels, 0..255, and what they are divided
            by, for the float model's input.
        images: uint8 [images, size, size, 3].
        layers: errors of every tensor.
        float_predictions: for `images`.
        int8_predictions: for `images`.
    """

    float_tflite: bytes
    int8_tflite: bytes
    calibrated_on: int | None
    pixel_scale: PixelScale
    resize: Resize
    images: np.ndarray
    layers: tuple[layer_errors.LayerError, ...]
    float_predictions: Predictions
    int8_predictions: Predictions

    @property
    def agreement(self) -> float:
        """Share of the images with the same prediction from both, 0..1."""
        return self.agreement_with(self.int8_predictions)

    def agreement_with(self, predictions: Predictions) -> float:
        """Return the share of images with the float model's prediction, 0..1."""
        return metrics.agreement(self.float_predictions, predictions)

    def predict(self, content: bytes) -> Predictions:
        """Run another TFLite file on the same images; `InputError` if unusable."""
        mean, stddev = self.pixel_scale
        opened = classifiers.open_classifier(content, mean=mean, stddev=stddev)
        predict = opened.predict
        rows = parallel.map_in_order(predict, (image[None] for image in self.images))
        return metrics.best_predictions(np.concatenate(list(rows)))


def open_pair(
    float_model: keras.Model | str | Path | bytes,
    int8: str | Path | bytes,
    images: data.Images,
    *,
    pixel_scale: PixelScale | None = None,
    resize: Resize | None = None,
    progress: bool = True,
) -> FilePair:
    """Read both models, given as for `diagnose.diagnose`, and compare them on images.

    Raises:
        InputError: a model or image cannot be used, the models do not belong together,
            or nothing tells which pixels they take.
    """
    metadata = {} if isinstance(int8, bytes) else verified_metadata(int8)
    int8_tflite = _int8_content(int8)
    float_tflite, told = _float_content(float_model, int8_tflite)
    told = pixel_scale or told or preprocessing.of_file(read_tflite(int8_tflite))
    if told is None and isinstance(int8, bytes):
        told = contract.OWN
    pixel_scale = contract.require_known(told, str(float_model))
    mean, stddev = pixel_scale
    size = _common_size(float_tflite, int8_tflite)
    titles = ("loading images", "comparing layers") if progress else (None, None)
    resize = resize or _resize_of(float_model, int8)
    arrays = data.load_pixels(images, size, resize=resize, progress=titles[0])
    compared = layer_errors.compare_layers(
        float_tflite,
        int8_tflite,
        arrays,
        progress=titles[1],
        mean=mean,
        stddev=stddev,
    )
    return FilePair(
        float_tflite,
        int8_tflite,
        metadata.get("calibration", {}).get("photos"),
        pixel_scale,
        resize,
        arrays,
        compared.layers,
        metrics.best_predictions(compared.float_scores),
        metrics.best_predictions(compared.int8_scores),
    )


def _int8_content(model: str | Path | bytes) -> bytes:
    """Return the bytes of an int8 model; refuse compiled and float models."""
    name, content = read_bytes(model)
    if compiled.is_compiled(content):
        raise InputError(
            f"{name} is compiled for the Edge TPU; give"
            f" {compiled.before_compilation(name)}"
        )
    if not _has_integers(content):
        raise InputError(f"{name} is not quantized; give the int8 model with --int8")
    if not isinstance(model, bytes):
        require_running(model, content)
    return content


def _float_content(
    model: keras.Model | str | Path | bytes, int8_tflite: bytes
) -> tuple[bytes, PixelScale | None]:
    """Return the float model as TFLite, and the pixels that it tells to take.

    A Keras model is converted, with the softmax that only the int8 model has.
    """
    if isinstance(model, bytes) or str(model).endswith(".tflite"):
        name, content = read_bytes(model)
        if _has_integers(content):
            raise InputError(f"{name} is quantized; give the float model with --float")
        if not isinstance(model, bytes):
            require_running(model, content)
        return content, preprocessing.of_file(read_tflite(content)) or _beside(model)
    if not isinstance(model, keras.Model):
        model = checkpoint.load_model(model)
    pixel_scale = keras_inputs.pixel_scale_of(model)
    content = convert.to_float_tflite(model)
    if _has_softmax(int8_tflite) and not _has_softmax(content):
        content = convert.to_float_tflite(convert.with_softmax(model))
    return content, pixel_scale


def _beside(model: str | Path | bytes) -> PixelScale | None:
    """Return the pixels that the metadata beside a file tell."""
    if isinstance(model, bytes):
        return None
    return preprocessing.of_metadata(verified_metadata(model))


def _resize_of(*models: keras.Model | str | Path | bytes) -> Resize:
    """Return how images become square: "stretch" if the metadata of a model say so."""
    paths = [each for each in models if isinstance(each, (str, Path))]
    return "stretch" if "stretch" in map(resize_of, paths) else "crop"


def _has_softmax(content: bytes) -> bool:
    return any(o.kind == "SOFTMAX" for o in read_tflite(content).operators)


def _has_integers(content: bytes) -> bool:
    """Return whether an operator has a quantized output."""
    file = read_tflite(content)
    outputs = (file.tensors[i] for o in file.operators for i in o.outputs)
    return any(tensor.scales and not tensor.is_float for tensor in outputs)


def _common_size(float_tflite: bytes, int8_tflite: bytes) -> int:
    """Return the side of both models' input, pixels; refuse models that differ."""
    floats, integers = (
        classifiers.open_classifier(content, workers=1)
        for content in (float_tflite, int8_tflite)
    )
    size, classes = floats.image_size, floats.classes
    if (size, classes) != (integers.image_size, integers.classes):
        raise InputError(
            f"the float model takes {size} pixels and gives {classes} scores, the int8"
            f" model {integers.image_size} and {integers.classes}; give the float model"
            " that the int8 model was made of"
        )
    return size
