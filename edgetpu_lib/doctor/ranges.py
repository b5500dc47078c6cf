"""Read the ranges stored in an int8 model, and measure those of images."""

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

# Operators whose output has its own range; others take their input's, or a fixed one.
_MEASURED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"}


@dataclasses.dataclass(frozen=True)
class FloatNetwork:
    """A float model whose ranges are measured.

    Attributes:
        content: bytes of the TFLite file.
        names: index → name of each measured tensor, in the order of the columns.
        image_size: height and width of its input, pixels.
        output: index of the tensor of the scores.
    """

    content: bytes
    names: dict[int, str]
    image_size: int
    output: int


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """Ranges of tensors and scores for images of one variant.

    Attributes:
        lows: smallest values, float32 [images, tensors].
        highs: largest values, float32 [images, tensors].
        scores: float32 [images, classes].
    """

    lows: np.ndarray
    highs: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.lows)

    def joined(self, more: Observations) -> Observations:
        """Return the observations of both sets of images, one after the other."""
        pairs = zip(vars(self).values(), vars(more).values(), strict=True)
        return Observations(*map(np.concatenate, pairs))

    def ranges(self, network: FloatNetwork, count: int) -> calibrate.Ranges:
        """Return the ranges after calibration with the first `count` images."""
        limits = calibrate.limits(self.lows[:count], self.highs[:count])
        tensors = {
            index: calibrate.TensorRange(name, *map(float, ends), *ends[:, None])
            for (index, name), ends in zip(
                network.names.items(), np.transpose(limits), strict=True
            )
        }
        return calibrate.Ranges(tensors, count)


def open_network(float_tflite: bytes) -> FloatNetwork:
    """Read the tensors of a float classifier; `InputError` if the file is damaged."""
    file = read_tflite(float_tflite)
    names = {i: file.tensors[i].name for o in file.operators for i in o.outputs}
    size = file.tensors[file.inputs[0]].shape[1]
    return FloatNetwork(float_tflite, names, size, file.outputs[0])


def observe(
    network: FloatNetwork,
    variants: Iterable[tuple[str, np.ndarray]],
    *,
    progress: str | None = None,
) -> dict[str, Observations]:
    """Run images through a network: name of the variant → observations.

    Args:
        network: from `open_network`.
        variants: names and pixels [images, size, size, 3].
        progress: title of the progress bar; `None` shows none.

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
    """The ranges in an int8 model that its calibration set.

    Attributes:
        columns: of the tensors in `Observations`, int [tensors].
        low: smallest representable values, float64 [tensors].
        high: largest representable values, float64 [tensors].
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
        """Return `features` of each image's ranges: float64 [images, features]."""
        columns = self.columns
        return self._logarithms(observed.lows[:, columns], observed.highs[:, columns])

    def _logarithms(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        # Ends are at least a thousandth of the file's range: 0 has no logarithm.
        floor = 1e-3 * (self.high - self.low)
        two_sided = ~self.one_sided
        ends = np.maximum(high, floor), np.maximum(-low, floor)[..., two_sided]
        return np.log(np.concatenate(ends, axis=-1))


def file_ranges(network: FloatNetwork, int8_tflite: bytes) -> FileRanges:
    """Read the ranges that calibration set in an int8 model of a network.

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
