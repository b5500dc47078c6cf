"""Open a model of any kind as a function from images to scores."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgetpu_lib import checkpoint, data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError, sha256_of
from edgetpu_lib.evaluation import metrics
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.tflite.file import read_bytes
from edgetpu_lib.weights.network import Network

BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """An opened model of any kind.

    Attributes:
        name: of the model or its file.
        image_size: height and width of its input, pixels.
        classes: number of its outputs.
        digest: of the model and the preprocessing, on which predictions depend.
        predict: float32 [images, size, size, 3], RGB, 0..255, to float32 [images,
            classes]; takes up to `batch_size` images; with 1 it is thread-safe.
        batch_size: images that `predict` takes at a time. With 1, each thread decodes
            and predicts its own images.
    """

    name: str
    image_size: int
    classes: int
    digest: str
    predict: Callable[[np.ndarray], np.ndarray]
    batch_size: int


def open_classifier(
    model: str | Path | bytes | keras.Model | None,
    *,
    network: Network | None = None,
    mean: float | Sequence[float] = pixels.MEAN,
    stddev: float | Sequence[float] = pixels.STDDEV,
    image_size: int | None = None,
    workers: int | None = None,
) -> Classifier:
    """Open a model of any kind.

    Args:
        model: a Keras model; the path of a `.keras` file, of a SavedModel folder, or
            of a `.tflite` file, float, int8 or compiled for the Edge TPU (which needs
            the device and its runtime); the bytes of a `.tflite` file; or a checkpoint,
            which `None` takes from `network`.
        network: what a checkpoint belongs to.
        mean: subtracted from pixels, 0..255; one number or three.
        stddev: that pixels are divided by; one number or three.
        image_size: of a SavedModel or Keras model that takes any, pixels.
        workers: interpreters of a TFLite file; `None` opens one a core.

    Raises:
        InputError: the model cannot be read or is no image classifier.
    """
    wanted = {"mean": mean, "stddev": stddev}
    if isinstance(model, keras.Model):
        return _of_keras(model, wanted, image_size)
    if isinstance(model, bytes) or str(model).endswith(".tflite"):
        return _of_tflite(model, wanted, workers or parallel.cores())
    if model and (Path(model) / "saved_model.pb").is_file():
        return _of_saved_model(Path(model), wanted, image_size)
    return _of_keras(checkpoint.open_model(model, network), wanted, image_size)


def _of_keras(
    model: keras.Model, wanted: dict[str, Any], image_size: int | None
) -> Classifier:
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.output_shape) < 2:
        raise InputError(f"{model.name} is not a classifier with one input and output")
    size = _size(model.name, model.input_shape, image_size)

    def predict(images: np.ndarray) -> np.ndarray:
        filled = pixels.fill_batch(images, 1 if len(images) == 1 else BATCH_SIZE)
        scores = model.predict_on_batch(pixels.normalize(filled, **wanted))
        return np.asarray(scores, np.float32).reshape(len(filled), -1)[: len(images)]

    classes = int(np.prod(model.output_shape[1:]))
    digest = _digest_of(checkpoint.weights_digest(model), wanted, size)
    return Classifier(model.name, size, classes, digest, predict, BATCH_SIZE)


def _of_saved_model(
    folder: Path, wanted: dict[str, Any], image_size: int | None
) -> Classifier:
    import tensorflow as tf

    try:
        serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"{folder} is not a SavedModel with a serving_default signature; export it"
            " again"
        ) from error
    inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    (name, taken), (_, given) = next(iter(inputs.items())), next(iter(outputs.items()))
    if len(inputs) != 1 or len(outputs) != 1 or taken.shape.rank != 4:
        raise InputError(f"{folder} is not a classifier with one input and output")
    size = _size(str(folder), taken.shape, image_size)

    def predict(images: np.ndarray) -> np.ndarray:
        whole = taken.dtype.is_integer
        fed = pixels.to_uint8(images) if whole else pixels.normalize(images, **wanted)
        # A signature may fix the batch at one.
        parts = [fed] if taken.shape[0] is None else fed[:, None]
        scores = [
            next(iter(serve(**{name: tf.cast(part, taken.dtype)}).values())).numpy()
            for part in parts
        ]
        return np.concatenate(scores).reshape(len(images), -1).astype(np.float32)

    classes = int(np.prod(given.shape[1:]))
    digest = _digest_of(sha256_of(folder), wanted, size)
    return Classifier(folder.name, size, classes, digest, predict, BATCH_SIZE)


def _of_tflite(
    model: str | Path | bytes, wanted: dict[str, Any], workers: int
) -> Classifier:
    name, content = read_bytes(model)
    if interpreter.is_compiled(content):
        workers = 1  # There is one device.
    # One thread each: whole images in parallel leave no core waiting.
    opened = [interpreter.open_interpreter(model, threads=1) for _ in range(workers)]
    score = interpreter.pool(
        functools.partial(interpreter.run, each, **wanted) for each in opened
    )
    contract = interpreter.input_contract(opened[0])

    def predict(images: np.ndarray) -> np.ndarray:
        (image,) = images
        # Quantized inputs get whole numbers, as on a device.
        return score(pixels.to_uint8(image) if contract.scale else image)[None]

    classes = int(np.prod(interpreter.output_contract(opened[0]).shape))
    digest = _digest_of(hashlib.sha256(content).hexdigest(), wanted)
    return Classifier(Path(name).name, contract.shape[1], classes, digest, predict, 1)


def _size(name: str, shape: Sequence[int | None], image_size: int | None) -> int:
    """Return height and width of a model's input, pixels."""
    size = shape[1] or image_size
    if not size:
        raise InputError(f"{name} takes images of any size; give --image_size")
    if len(shape) != 4 or shape[3] not in (None, 3) or size != (shape[2] or size):
        raise InputError(f"{name} takes {list(shape)}; give a model of square RGB")
    return int(size)


def _digest_of(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def score_image(
    model: str | Path | keras.Model | None,
    image: str | Path,
    *,
    network: Network | None = None,
) -> np.ndarray:
    """Return the probabilities that a model of any kind gives one image file.

    Model and network are as for `open_classifier`; returns float32 [classes], 0..1.

    Raises:
        InputError: the model or the image cannot be used.
    """
    classifier = open_classifier(model, network=network, workers=1)
    array = data.load_image(image, classifier.image_size)
    return metrics.probabilities(classifier.predict(array[None]))[0]


def measure_latency(classifier: Classifier, *, runs: int = 30) -> interpreter.Latency:
    """Measure the latency of one inference of a decoded image."""
    shape = (1, classifier.image_size, classifier.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    return interpreter.time_calls(lambda: classifier.predict(images), runs=runs)
