"""Prepare images rightly and in the usual wrong ways, and note what a network does.

Takes a float file and images; gives, for each way of preparing them, every image's
ranges and scores.
Next: `range_suspects` finds the way that explains the ranges of an integer file.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from edgetpu_lib import calibrate, data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite.file import read_tflite

RIGHT = "right"
BGR, SQUARE, WHOLE = "bgr", "square", "whole"
UNIT, DIVIDED = "0..1", "divided twice"
NOISE = "noise"
# Noise images differ little from each other: so many show their ranges.
_NOISE_IMAGES = 48


@dataclasses.dataclass(frozen=True)
class Network:
    """A float file that is observed.

    Attributes:
        content: of the file.
        names: index → name of each noted tensor, in the order of the columns.
        image_size: of its input, pixels.
        output: index of the tensor that holds the scores.
    """

    content: bytes
    names: dict[int, str]
    image_size: int
    output: int


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """What a network does with images that are prepared in one way.

    Attributes:
        lows: float32 [images, tensors], the smallest value of each tensor.
        highs: float32 [images, tensors], the largest.
        scores: float32 [images, classes].
    """

    lows: np.ndarray
    highs: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.lows)

    def joined(self, more: Observations) -> Observations:
        """Return these and more images."""
        pairs = zip(vars(self).values(), vars(more).values(), strict=True)
        return Observations(*map(np.concatenate, pairs))

    def ranges(self, network: Network, count: int) -> calibrate.Ranges:
        """Return what the first `count` images set, as `calibrate.measure_ranges`."""
        lows, highs = calibrate.limits(self.lows[:count], self.highs[:count])
        tensors = {
            index: calibrate.TensorRange(
                name, float(low), float(high), np.array([low]), np.array([high])
            )
            for (index, name), low, high in zip(
                network.names.items(), lows, highs, strict=True
            )
        }
        return calibrate.Ranges(tensors, count)


def open_network(float_tflite: bytes) -> Network:
    """Find out what can be observed of a float file.

    Args:
        float_tflite: of a network with one image in and scores out.

    Raises:
        InputError: the file is damaged.
    """
    file = read_tflite(float_tflite)
    outputs = [index for operator in file.operators for index in operator.outputs]
    names = {index: file.tensors[index].name for index in outputs}
    size = file.tensors[file.inputs[0]].shape[1]
    return Network(float_tflite, names, size, file.outputs[0])


def observe_images(
    network: Network, images: data.Images, *, progress: str | None = "observing images"
) -> dict[str, Observations]:
    """Show images to a network, prepared rightly and in the usual wrong ways.

    Args:
        network: from `open_network`.
        images: what to show; a few hundred at most.
        progress: title of the progress bar; `None` shows none.

    Returns:
        Way of preparing → what it makes the network do, image by image.

    Raises:
        InputError: an image cannot be used, or the network gives NaN or infinity.
    """
    ways = _ways(images, network.image_size)
    return _observe(network, ways, 6 * len(images), progress)


def observe_noise(
    network: Network, *, progress: str | None = "observing noise"
) -> tuple[dict[str, Observations], dict[str, Observations]]:
    """Show a network images that are no images, drawn from fixed seeds.

    Args:
        network: from `open_network`.
        progress: title of the progress bar; `None` shows none.

    Returns:
        What the noise that people calibrate with makes the network do, by its kind; and
        what images do that stray into calibration sets.

    Raises:
        InputError: the network gives NaN or infinity.
    """
    noises = dict(_noises(network.image_size))
    outliers = dict(_outliers(network.image_size))
    both = {**noises, **outliers}
    total = sum(map(len, both.values()))
    seen = _observe(network, both.items(), total, progress)
    return {kind: seen[kind] for kind in noises}, {
        kind: seen[kind] for kind in outliers
    }


def _observe(
    network: Network,
    ways: Iterable[tuple[str, np.ndarray]],
    total: int,
    progress: str | None,
) -> dict[str, Observations]:
    """Show images of all ways in one stream."""
    shown: list[str] = []

    def images() -> Iterator[np.ndarray]:
        for way, arrays in ways:
            shown.extend([way] * len(arrays))
            yield from arrays

    rows = collections.defaultdict(list)
    stream = calibrate.iterate_ranges(network.content, images())
    bar = tqdm(
        stream, progress, total, leave=False, unit="picture", disable=progress is None
    )
    for place, ranges in enumerate(bar):
        tensors = ranges.tensors.values()
        lows = np.array([found.low for found in tensors], np.float32)
        highs = np.array([found.high for found in tensors], np.float32)
        # Scores have one position: their extremes by channel are they themselves.
        scores = ranges.tensors[network.output].channel_high
        rows[shown[place]].append((lows, highs, scores))
    return {
        way: Observations(*map(np.stack, zip(*found, strict=True)))
        for way, found in rows.items()
    }


def _ways(images: data.Images, image_size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ways of preparing images, as pixels before the normalisation."""
    arrays = data.load_pixels(images, image_size)
    yield RIGHT, arrays
    yield BGR, arrays[..., ::-1]
    yield SQUARE, data.load_pixels(images, image_size, whole_square=True)
    squeeze = functools.partial(_squeeze, image_size=image_size)
    yield WHOLE, np.stack(list(parallel.map_in_order(squeeze, images.paths)))
    divided = arrays.astype(np.float32) / 255
    # 0..1 where the network takes −1..1, and where its normalisation comes on top.
    yield UNIT, _before_normalisation(divided)
    yield DIVIDED, divided


def _noises(image_size: int) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = (_NOISE_IMAGES, image_size, image_size, 3)
    yield f"{NOISE} of bytes", rng.integers(0, 256, shape, np.uint8)
    yield f"{NOISE} of 0..1", _before_normalisation(rng.random(shape, np.float32))
    both_signs = rng.uniform(-1, 1, shape).astype(np.float32)
    yield f"{NOISE} of −1..1", _before_normalisation(both_signs)
    normal = rng.standard_normal(shape, np.float32)
    yield f"normal {NOISE}", _before_normalisation(normal)


def _outliers(image_size: int) -> Iterator[tuple[str, np.ndarray]]:
    shape = (1, image_size, image_size, 3)
    yield "black", np.zeros(shape, np.uint8)
    yield "white", np.full(shape, 255, np.uint8)
    row, column = np.indices((image_size, image_size))
    for side in (1, 2, 4, 8):
        board = (row // side + column // side) % 2 * 255
        yield (
            f"a checkerboard of {side}-pixel fields",
            np.broadcast_to(board[None, :, :, None].astype(np.uint8), shape),
        )
    rng = np.random.default_rng(0)
    coloured = rng.integers(0, 2, (_NOISE_IMAGES, *shape[1:]), np.uint8) * 255
    yield f"black and white {NOISE}", np.repeat(coloured[..., :1], 3, axis=-1)
    yield f"saturated {NOISE}", coloured


def _before_normalisation(fed: np.ndarray) -> np.ndarray:
    """Return the pixels that, normalised, are what the network is fed."""
    return fed * np.float32(pixels.STDDEV) + np.float32(pixels.MEAN)


def _squeeze(path: Any, image_size: int) -> np.ndarray:
    """Load a whole image, squeezed to a square: uint8 [size, size, 3].

    Raises:
        InputError: the image cannot be used.
    """
    encoded, image = pixels.open_image(path)
    if image.format == "JPEG":
        import tensorflow as tf

        try:
            rgb = tf.io.decode_jpeg(encoded, channels=3).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise InputError(
                f"{path} is a damaged or cut JPEG; replace or remove it"
            ) from error
    else:
        rgb = pixels.to_rgb(image, path)
    return pixels.to_uint8(pixels.resize(rgb, image_size))
