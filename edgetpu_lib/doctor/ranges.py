"""The ranges stored in an int8 model, beside those that images give.

Takes a float model and images; gives each image's ranges and scores. Takes an int8
model; gives the ranges that its calibration set.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from tqdm import tqdm

from edgetpu_lib import calibrate
from edgetpu_lib.doctor.layer_errors import representable
from edgetpu_lib.doctor.operator_pairs import pair_operators
from edgetpu_lib.tflite.file import read_tflite

# Operators whose output gets a range of its own; others take their input's, or a
# fixed one.
_MEASURED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"}


@dataclasses.dataclass(frozen=True)
class Network:
    """A float model whose ranges are measured.

    Attributes:
        content: bytes of the TFLite file.
        names: index → name of each measured tensor, in the order of the columns.
        image_size: height and width of its input, pixels.
        output: index of the tensor that holds the scores.
    """

    content: bytes
    names: dict[int, str]
    image_size: int
    output: int


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """What a network computes for images of one variant.

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
        """Return what `calibrate.measure_ranges` gives for the first `count` images."""
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
    """Read the names of a float model's tensors.

    Args:
        float_tflite: TFLite file with one image in and scores out.

    Raises:
        InputError: the file is damaged.
    """
    file = read_tflite(float_tflite)
    outputs = [index for operator in file.operators for index in operator.outputs]
    names = {index: file.tensors[index].name for index in outputs}
    size = file.tensors[file.inputs[0]].shape[1]
    return Network(float_tflite, names, size, file.outputs[0])


def observe(
    network: Network,
    variants: Iterable[tuple[str, np.ndarray]],
    *,
    progress: str | None = None,
) -> dict[str, Observations]:
    """Run images through a network, one by one.

    Args:
        network: from `open_network`.
        variants: name and pixels [images, size, size, 3], as `preprocessing_variants`.
        progress: title of the progress bar; `None` shows none.

    Returns:
        Name of the variant → observations.

    Raises:
        InputError: an image cannot be used, or the network gives NaN or infinity.
    """
    variant_of: list[str] = []

    def images() -> Iterator[np.ndarray]:
        for name, arrays in variants:
            variant_of.extend([name] * len(arrays))
            yield from arrays

    rows = collections.defaultdict(list)
    stream = calibrate.iterate_ranges(network.content, images())
    bar = tqdm(stream, progress, leave=False, unit="image", disable=progress is None)
    for place, ranges in enumerate(bar):
        tensors = ranges.tensors.values()
        lows = np.array([found.low for found in tensors], np.float32)
        highs = np.array([found.high for found in tensors], np.float32)
        # Scores have one position, so that their maxima by channel are the scores.
        scores = ranges.tensors[network.output].channel_high
        rows[variant_of[place]].append((lows, highs, scores))
    return {
        name: Observations(*map(np.stack, zip(*found, strict=True)))
        for name, found in rows.items()
    }


@dataclasses.dataclass(frozen=True, eq=False)
class FileRanges:
    """The ranges in an int8 model, as far as calibration set them.

    Attributes:
        columns: int [tensors], their columns in `Observations`.
        low: float64 [tensors], the smallest representable value.
        high: float64 [tensors], the largest.
    """

    columns: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def one_sided(self) -> np.ndarray:
        """Which tensors have no negative values: bool [tensors]."""
        return self.low > -1e-6 * self.high

    @property
    def features(self) -> np.ndarray:
        """Logarithms of both ends of the ranges: float64 [features]."""
        return self._logarithms(self.low, self.high)

    def features_of(self, observed: Observations) -> np.ndarray:
        """Return the same of each image's ranges: float64 [images, features]."""
        columns = self.columns
        return self._logarithms(observed.lows[:, columns], observed.highs[:, columns])

    def _logarithms(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        # A thousandth of the file's range stands for less, which has no logarithm.
        floor = 1e-3 * (self.high - self.low)
        two_sided = ~self.one_sided
        ends = np.maximum(high, floor), np.maximum(-low, floor)[..., two_sided]
        return np.log(np.concatenate(ends, axis=-1))


def file_ranges(network: Network, int8_tflite: bytes) -> FileRanges:
    """Read the ranges that calibration set in an int8 model.

    Args:
        network: the float model.
        int8_tflite: the int8 model.

    Raises:
        InputError: the files hold different networks.
    """
    files = read_tflite(network.content), read_tflite(int8_tflite)
    columns = {index: column for column, index in enumerate(network.names)}
    # TensorFlow's calibrator gives these a wider range than they have.
    added = {i for o in files[0].operators if o.kind == "ADD" for i in o.inputs}
    rows = []
    for floats, integers in pair_operators(*files):
        index, tensor = floats.outputs[0], files[1].tensors[integers.outputs[0]]
        feeds_add = floats.kind != "ADD" and index in added
        if floats.kind in _MEASURED and len(tensor.scales) == 1 and not feeds_add:
            rows.append((columns[index], *representable(tensor)))
    table = np.array(rows).reshape(-1, 3)
    return FileRanges(table[:, 0].astype(int), table[:, 1], table[:, 2])
