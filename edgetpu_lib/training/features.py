"""Compute the pooled features of a frozen network once, and keep them on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np

from edgetpu_lib import checkpoint, data
from edgetpu_lib.base.artifacts import atomic_path
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.training import fast_layers

# Part of the cache key: change it with the crop, the resize or the normalisation.
PREPROCESSING = {
    "crop": "centre 87.5 %, bicubic, (pixel - 127) / 128",
    "stretch": "stretched, bicubic, (pixel - 127) / 128",
}
BATCH_SIZE = 64


def pooled_features(
    model: keras.Model,
    images: data.Images,
    *,
    resize: Resize = "crop",
    cache_dir: str | Path | None = None,
) -> np.ndarray:
    """Return the input of the classifier for every image.

    Args:
        model: from `build.build_model`; dropout and classifier are not used.
        images: of any size.
        resize: how they become square, as in evaluation.
        cache_dir: folder of the cached features. A file is named after a digest of all
            that they depend on: weights, image size, preprocessing, image contents.

    Returns:
        float32 [number of images, channels], in the order of the images.

    Raises:
        InputError: an image cannot be decoded, or the cache cannot be written.
    """
    fast = fast_layers.training_twin(model)
    backbone = keras.Model(fast.input, fast.get_layer("head_flatten").output)
    if cache_dir is None:
        return _compute(backbone, images, resize)
    path = Path(cache_dir) / f"{_digest(backbone, images, resize)}.npy"
    rows = _read(path, (len(images), *backbone.output_shape[1:]))
    if rows is None:
        rows = _compute(backbone, images, resize)
        with atomic_path(path) as scratch, open(scratch, "wb") as file:
            np.save(file, rows)
    return rows


def _digest(backbone: keras.Model, images: data.Images, resize: Resize) -> str:
    facts = (
        checkpoint.weights_digest(backbone),
        backbone.input_shape[1],
        PREPROCESSING[resize],
        data.digest_of(images),
    )
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()


def _compute(backbone: keras.Model, images: data.Images, resize: Resize) -> np.ndarray:
    stream = data.iterate_batches(
        images,
        backbone.input_shape[1],
        batch_size=BATCH_SIZE,
        resize=resize,
        progress="features",
    )
    return np.concatenate([_predict(backbone, arrays) for arrays in stream])


def _predict(backbone: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the features of a batch; a smaller one is padded, to compile only once."""
    filled = pixels.fill_batch(images, BATCH_SIZE)
    rows = backbone.predict_on_batch(pixels.normalize(filled))
    return np.asarray(rows, np.float32)[: len(images)]


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return cached features; `None` if there are none or the file is damaged."""
    try:
        rows = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.float32 else None
