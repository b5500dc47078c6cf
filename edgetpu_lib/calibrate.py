"""Measure activation ranges for quantization.

Takes a float TFLite file and calibration images; gives the range of every tensor.
Next: `convert` turns the ranges into scales and zero points.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.images.normalization import MEAN, STDDEV, Resize
from edgetpu_lib.tflite import edit, interpreter

# Fraction of the images whose activations must lie inside the range.
SHARE_HELD = 0.99


@dataclasses.dataclass(frozen=True)
class TensorRange:
    """The range of one tensor over the calibration images.

    Attributes:
        name: of the tensor in the TFLite file.
        low: lower end of the range that holds nearly all images (see `limits`).
        high: its upper end.
        channel_low: float32 [channels], the smallest value of each channel.
        channel_high: float32 [channels], the largest value of each channel.
    """

    name: str
    low: float
    high: float
    channel_low: np.ndarray
    channel_high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The ranges of all tensors that a network computes.

    Attributes:
        tensors: index of the tensor in the TFLite file → its range.
        images: how many were measured.
    """

    tensors: dict[int, TensorRange]
    images: int

    def of_layer(self, layer_name: str) -> TensorRange:
        """Return the range of a Keras layer's output.

        Raises:
            InputError: no tensor has the layer's name; batch normalisation, for one,
                is folded into the convolution before it.
        """
        # Keras numbers a layer that is called again.
        pattern = re.compile(rf"(^|/){re.escape(layer_name)}(_\d+)?/")
        for found in self.tensors.values():
            if pattern.search(found.name):
                return found
        raise InputError(f"no tensor of the file is named after layer {layer_name!r}")

    def limits(self, layer_names: Iterable[str]) -> dict[str, tuple[float, float]]:
        """Return the lower and upper end of each layer's range, as `of_layer`."""
        found = {name: self.of_layer(name) for name in layer_names}
        return {name: (each.low, each.high) for name, each in found.items()}


def device_images(
    images: data.Images,
    image_size: int | tuple[int, int],
    *,
    resize: Resize = "crop",
) -> Iterator[np.ndarray]:
    """Load images as the device receives them, one at a time.

    Args:
        images: what to load.
        image_size: height and width; of an oblong input (height, width), which get the
            middle of the square around them.
        resize: how images become square.

    Yields:
        uint8 [height, width, 3], RGB: rounded, and clipped to 0..255, which bicubic
        interpolation overshoots.

    Raises:
        InputError: an image cannot be used, and is named; or an oblong input is to be
            stretched.
    """
    size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    side = pixels.square_side(size, resize)
    top, left = ((side - n) // 2 for n in size)
    for image in data.iterate_pixels(images, side, resize=resize):
        middle = image[top : top + size[0], left : left + size[1]]
        yield pixels.to_uint8(middle)


def measure_ranges(
    float_tflite: bytes,
    images: Iterable[np.ndarray],
    *,
    total: int | None = None,
    workers: int | None = None,
    mean: float = MEAN,
    stddev: float = STDDEV,
) -> Ranges:
    """Measure the smallest and largest value of every tensor over the images.

    The file gets an operator behind each tensor that reduces it to its extremes, so
    that an image costs hardly more than one inference. One interpreter per core works
    on one image each; the result does not depend on their number. Of each image, two
    numbers per tensor are kept.

    Args:
        float_tflite: from `convert.to_float_tflite`.
        images: [size, size, 3] each, RGB, 0..255; from `device_images`.
        total: how many there will be, for the progress bar.
        workers: interpreters at a time; `None` takes one a core.
        mean: subtracted from pixels, 0..255, for the network's input.
        stddev: that pixels are then divided by.

    Raises:
        InputError: there is no image; one has another shape, holds NaN or infinity,
            or is not 0..255 (it is named by its number); or the network itself gives
            NaN or infinity.
    """
    probe = edit.with_extremes(float_tflite)
    images = _validated(images, probe.shape)
    extremes = _Extremes(probe)
    stream = _in_order(probe, images, workers, mean=mean, stddev=stddev)
    bar = {"unit": "image", "leave": False, "delay": 0.5}
    for found in tqdm(stream, "calibration", total, **bar):
        extremes.add(found)
    return extremes.ranges()


def limits(lows: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ranges that hold all values of 99 % of the images.

    The rest may exceed them, so that a few unusual images do not make the quantization
    steps coarse for all others. Of up to a hundred images, all lie inside.

    Takes the smallest and the largest values of each image, float32 [images, …];
    returns the lower and the upper ends, each a value that occurred.

    Why: with a thousand images, some tensors' largest values were a hundred times the
    median image's, and the agreement of the int8 model's predictions with the float
    model's fell from 99.5 % to 96.5 % (the checkpoint that ships, CIFAR-10).
    """
    return (
        np.quantile(lows, 1 - SHARE_HELD, axis=0, method="lower"),
        np.quantile(highs, SHARE_HELD, axis=0, method="higher"),
    )


def iterate_ranges(
    float_tflite: bytes, images: Iterable[np.ndarray]
) -> Iterator[Ranges]:
    """Yield the ranges of each image alone, as `measure_ranges` does of all.

    Raises:
        InputError: the network gives NaN or infinity. Images are not validated.
    """
    probe = edit.with_extremes(float_tflite)
    for found in _in_order(probe, images):
        extremes = _Extremes(probe)
        extremes.add(found)
        yield extremes.ranges()


def _validated(
    images: Iterable[np.ndarray], shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """Yield the images; raise at the first that would give wrong ranges."""
    for number, image in enumerate(map(np.asarray, images)):
        if fault := _fault_of(image, shape):
            raise InputError(f"calibration image {number} {fault}")
        yield image


def _fault_of(image: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if image.shape != shape:
        return f"has shape {list(image.shape)}; the model takes {list(shape)}"
    if image.dtype == np.uint8:
        return None
    if image.dtype.kind not in "iuf":
        return f"holds {image.dtype}; give pixels as numbers, 0..255"
    if not np.isfinite(image).all():
        return "holds NaN or infinity; look at what made or scaled it"
    low, high = image.min(), image.max()
    if low < 0 or high > 255:
        return (
            f"spans {low:g} to {high:g}; give pixels as they are, rounded and clipped"
            " to 0..255: they are normalised here"
        )
    if 0 < high <= 1 and image.dtype.kind == "f":
        return (
            f"spans {low:g} to {high:g}; it seems to be divided by 255: give pixels as"
            " they are, 0..255"
        )
    return None


def _in_order(
    probe: edit.Probe,
    images: Iterable[np.ndarray],
    workers: int | None = None,
    **preprocessing: float,
) -> Iterator[np.ndarray]:
    """Yield the extremes of each image, computed by several threads."""
    workers = workers or parallel.cores()
    measure = interpreter.pool(_open(probe, **preprocessing) for _ in range(workers))
    return parallel.map_in_order(measure, images, workers=workers)


def _open(
    probe: edit.Probe, mean: float = MEAN, stddev: float = STDDEV
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function: an image to all its extremes, one after the other."""
    # One thread each: whole images in parallel leave no core waiting.
    opened = interpreter.start(probe.content, threads=1)
    taken = opened.get_input_details()[0]["index"]
    given = [detail["index"] for detail in opened.get_output_details()]

    def run(image: np.ndarray) -> np.ndarray:
        opened.set_tensor(taken, pixels.normalize(image, mean, stddev)[None])
        opened.invoke()
        return np.concatenate([opened.get_tensor(i).ravel() for i in given])

    return run


class _Extremes:
    """Accumulates the extremes of images."""

    def __init__(self, probe: edit.Probe) -> None:
        self.probe = probe
        sizes = [size for *_, size in probe.outputs]
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        self.of_images: list[np.ndarray] = []
        # Minima with their signs changed are maxima.
        self.signs = np.repeat(
            [np.float32(-1 if low else 1) for _, low, _ in probe.outputs], sizes
        )
        self.worst = np.full(sum(sizes), -np.inf, np.float32)

    def add(self, found: np.ndarray) -> None:
        """Take the extremes of one more image into account."""
        # A convolution cuts infinity down to the largest float.
        finite = np.abs(found) < np.finfo(np.float32).max
        if not finite.all():
            output = np.searchsorted(self.ends, finite.argmin(), side="right")
            name = self.probe.names[self.probe.outputs[output][0]]
            raise InputError(
                f"the network gives NaN or infinity at {name!r} for calibration image"
                f" {len(self.of_images)}; its weights are damaged, or training"
                " diverged"
            )
        extremes = found * self.signs
        np.maximum(self.worst, extremes, out=self.worst)
        self.of_images.append(np.maximum.reduceat(extremes, self.starts))

    def ranges(self) -> Ranges:
        """Return the ranges over all images."""
        if not self.of_images:
            raise InputError("calibration needs at least one image; got none")
        # As `limits`; minima have their signs changed.
        tops = np.quantile(self.of_images, SHARE_HELD, axis=0, method="higher")
        ends = tops * self.signs[self.starts]
        parts = np.split(self.worst * self.signs, self.ends[:-1])
        lows, highs = {}, {}
        outputs = self.probe.outputs
        for (index, is_lowest, _), end, values in zip(
            outputs, ends, parts, strict=True
        ):
            (lows if is_lowest else highs)[index] = float(end), values
        ranges = {}
        for index, (high, channels) in highs.items():
            low, channel_low = lows.get(index, (0.0, np.zeros_like(channels)))
            ranges[index] = TensorRange(
                self.probe.names[index], low, high, channel_low, channels
            )
        return Ranges(ranges, len(self.of_images))
