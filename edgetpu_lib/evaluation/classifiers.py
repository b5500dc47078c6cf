"""Open a model of any kind as a function from images to scores."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgetpu_lib import checkpoint, data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError, sha256_of
from edgetpu_lib.base.metadata import resize_of, verified_metadata
from edgetpu_lib.conversion import front
from edgetpu_lib.evaluation import keras_inputs
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite import compiled, contract, interpreter, preprocessing, scores
from edgetpu_lib.tflite.contract import PixelScale
from edgetpu_lib.tflite.feed import middle_of
from edgetpu_lib.weights import keras_files
from edgetpu_lib.weights.network import Network

BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """An opened model of any kind.

    Attributes:
        name: of the model or its file.
        image_size: the longer side of its input, pixels. An oblong input takes the
            middle of a square image.
        classes: number of its outputs; two where one score is of both classes.
        digest: of the model and the preprocessing, on which predictions depend.
        predict: float32 [images, size, size, 3], RGB, 0..255, to float32 [images,
            classes]; takes up to `batch_size` images; with 1 it is thread-safe.
        batch_size: images that `predict` takes at a time. With 1, each thread decodes
            and predicts its own images.
        resize: how an image becomes the square that `predict` takes.
    """

    name: str
    image_size: int
    classes: int
    digest: str
    predict: Callable[[np.ndarray], np.ndarray]
    batch_size: int
    resize: Resize = "crop"


def open_classifier(
    model: str | Path | bytes | keras.Model | None,
    *,
    network: Network | None = None,
    mean: float | Sequence[float] | None = None,
    stddev: float | Sequence[float] | None = None,
    resize: Resize | None = None,
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
        mean: subtracted from pixels, 0..255; one number or three. `None` takes what
            the model tells by its quantization, first layers or names; of a model in
            memory that tells nothing, what this library trains with.
        stddev: that pixels are divided by, likewise.
        resize: how images become square; `None` takes what the metadata beside the
            model's file tell, or else "crop".
        image_size: of a SavedModel or Keras model that takes any, pixels.
        workers: interpreters of a TFLite file; `None` opens one a core.

    Raises:
        InputError: the model cannot be read or is no image classifier, nothing tells
            which pixels it takes, or images are stretched to an oblong input.
    """
    given = None
    if mean is not None or stddev is not None:
        given = tuple(
            default if each is None else each
            for each, default in zip((mean, stddev), contract.OWN, strict=True)
        )
    if isinstance(model, bytes) or str(model).endswith(".tflite"):
        return _of_tflite(model, given, resize, workers or parallel.cores())
    if isinstance(model, keras.Model):
        resize = resize or "crop"
        return _of_keras(model, given or contract.OWN, given, resize, image_size)
    source = model or (network and network.ckpt_dir)
    resize = resize or (resize_of(source) if source else "crop")
    if model and keras_files.is_saved_model(model):
        return _of_saved_model(Path(model), given, resize, image_size)
    opened = checkpoint.open_model(model, network)
    return _of_keras(opened, None, given, resize, image_size)


def _of_keras(
    model: keras.Model,
    default: PixelScale | None,
    given: PixelScale | None,
    resize: Resize,
    image_size: int | None,
) -> Classifier:
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.output_shape) < 2:
        raise InputError(f"{model.name} is not a classifier with one input and output")
    shape = _shape(model.name, model.input_shape, image_size)
    told = given or keras_inputs.pixel_scale_of(model) or default
    pixel_scale = contract.require_known(told, model.name)
    takes_bytes = front.takes_integers(model)
    is_logistic = keras_inputs.ends_in_logistic(model)

    def predict(images: np.ndarray) -> np.ndarray:
        filled = pixels.fill_batch(images, 1 if len(images) == 1 else BATCH_SIZE)
        fed = _prepare(filled, shape, pixel_scale, takes_bytes)
        found = np.asarray(model.predict_on_batch(fed), np.float32)
        found = found.reshape(len(filled), -1)[: len(images)]
        if not scores.are_numbers(found):
            layer = keras_inputs.layer_without_numbers(model)
            raise scores.not_numbers(model.name, layer)
        return scores.both_classes(found, is_logistic)

    classes = max(2, int(np.prod(model.output_shape[1:])))
    digest = _digest_of(checkpoint.weights_digest(model), pixel_scale, shape, resize)
    size = pixels.square_side(shape, resize)
    return Classifier(model.name, size, classes, digest, predict, BATCH_SIZE, resize)


def _of_saved_model(
    folder: Path, given: PixelScale | None, resize: Resize, image_size: int | None
) -> Classifier:
    import tensorflow as tf

    signatures = keras_files.signatures_of(folder)
    serve = signatures["serving_default"]
    inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    (name, taken), (_, made) = next(iter(inputs.items())), next(iter(outputs.items()))
    if len(inputs) != 1 or len(outputs) != 1 or taken.shape.rank != 4:
        raise InputError(f"{folder} is not a classifier with one input and output")
    shape = _shape(str(folder), taken.shape, image_size)
    takes_bytes = taken.dtype.is_integer
    # Exported by this library, with metadata or a signature of its own; or of bytes.
    told = preprocessing.of_metadata(verified_metadata(folder))
    usual = contract.OWN if "encoded_images" in signatures else None
    usual = contract.RAW if takes_bytes else usual
    pixel_scale = contract.require_known(given or told or usual, str(folder))

    def predict(images: np.ndarray) -> np.ndarray:
        fed = _prepare(images, shape, pixel_scale, takes_bytes)
        # A signature may fix the batch at one.
        parts = [fed] if taken.shape[0] is None else fed[:, None]
        found = np.concatenate(
            [
                next(iter(serve(**{name: tf.cast(part, taken.dtype)}).values())).numpy()
                for part in parts
            ]
        )
        found = found.reshape(len(images), -1).astype(np.float32)
        if not scores.are_numbers(found):
            raise scores.not_numbers(str(folder), None)
        return scores.both_classes(found, bool(((found >= 0) & (found <= 1)).all()))

    classes = max(2, int(np.prod(made.shape[1:])))
    digest = _digest_of(sha256_of(folder), pixel_scale, shape, resize)
    size = pixels.square_side(shape, resize)
    return Classifier(folder.name, size, classes, digest, predict, BATCH_SIZE, resize)


def _of_tflite(
    model: str | Path | bytes,
    given: PixelScale | None,
    resize: Resize | None,
    workers: int,
) -> Classifier:
    # One thread each: whole images in parallel leave no core waiting.
    first = scores.open_scorer(model, pixel_scale=given, resize=resize, threads=1)
    if compiled.is_compiled(first.content):
        workers = 1  # There is one device.
    others = (
        dataclasses.replace(
            first, opened=interpreter.open_interpreter(first.content, threads=1)
        )
        for _ in range(workers - 1)
    )
    score = interpreter.pool([first, *others])
    is_quantized = interpreter.input_contract(first.opened).dtype != "float32"

    def predict(images: np.ndarray) -> np.ndarray:
        (image,) = images
        # Quantized inputs get whole numbers, as on a device.
        return score(pixels.to_uint8(image) if is_quantized else image)[None]

    content_digest = hashlib.sha256(first.content).hexdigest()
    digest = _digest_of(content_digest, first.pixel_scale, first.resize)
    name, size = Path(first.name).name, first.image_size
    return Classifier(name, size, first.classes, digest, predict, 1, first.resize)


def _prepare(
    images: np.ndarray,
    shape: tuple[int, int],
    pixel_scale: PixelScale,
    takes_bytes: bool,
) -> np.ndarray:
    """Return images as a model takes them; `shape` is that of its input, pixels."""
    fed = pixels.normalize(middle_of(images, shape), *pixel_scale)
    return pixels.to_uint8(fed) if takes_bytes else fed


def _shape(
    name: str, shape: Sequence[int | None], image_size: int | None
) -> tuple[int, int]:
    """Return height and width of a model's input, pixels."""
    if len(shape) != 4 or shape[3] not in (None, 3):
        raise InputError(f"{name} takes {list(shape)}; give a model of RGB images")
    height, width = (size or image_size for size in shape[1:3])
    if not height or not width:
        raise InputError(f"{name} takes images of any size; give --image_size")
    return int(height), int(width)


def _digest_of(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def image_scorer(
    model: str | Path | keras.Model | None, **options: Any
) -> Callable[[str | Path], np.ndarray]:
    """Open a model of any kind once, for any number of images.

    Model and options are as for `open_classifier`.

    Returns:
        A function: an image file to its probabilities, float32 [classes]. It raises
        `InputError` if the image cannot be used.

    Raises:
        InputError: the model cannot be used.
    """
    classifier = open_classifier(model, workers=1, **options)

    def score(image: str | Path) -> np.ndarray:
        array = data.load_image(image, classifier.image_size, resize=classifier.resize)
        return scores.probabilities(classifier.predict(array[None]))[0]

    return score


def measure_latency(classifier: Classifier, *, runs: int = 30) -> interpreter.Latency:
    """Measure the latency of one inference of a decoded image."""
    shape = (1, classifier.image_size, classifier.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    return interpreter.time_calls(lambda: classifier.predict(images), runs=runs)
