"""Put the ranges in an integer file beside those that images give.

Takes an integer file and what its float network does with images; gives logarithms
of ranges, column by column.
Next: `range_suspects` guesses from them what the file was calibrated on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgetpu_lib.doctor import observations
from edgetpu_lib.doctor.layer_errors import representable
from edgetpu_lib.doctor.observations import Observations
from edgetpu_lib.doctor.operator_pairs import pair_operators
from edgetpu_lib.tflite.file import read_tflite

# Outputs that get a range of their own; others take their input's, or a fixed one.
_MEASURED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"}


@dataclasses.dataclass(frozen=True, eq=False)
class FileRanges:
    """The ranges in an integer file, as far as calibration set them.

    Attributes:
        columns: int [tensors], where they are in `Observations`.
        low: float64 [tensors], the smallest value the integers can say.
        high: float64 [tensors], the largest.
    """

    columns: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def one_sided(self) -> np.ndarray:
        """Which tensors have no negative values: bool [tensors]."""
        return self.low > -1e-6 * self.high

    def features(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the logarithms of ranges: float64 [..., features].

        Args:
            low: [..., tensors].
            high: [..., tensors].
        """
        floor = 1e-3 * (self.high - self.low)
        two_sided = ~self.one_sided
        reach = np.maximum(high, floor), np.maximum(-low, floor)[..., two_sided]
        return np.log(np.concatenate(reach, axis=-1))


def file_ranges(network: observations.Network, int8_tflite: bytes) -> FileRanges:
    """Read the ranges that calibration set in an integer file.

    Args:
        network: of the float file.
        int8_tflite: the integer file.

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


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """An integer file's ranges beside those of images.

    Attributes:
        file: what the file says.
        images: way of preparing → what the images at hand do.
        noise: kind → what noise does.
        outliers: kind → what an image unlike any image does.
        names: of the images.
        calibrated_on: how many images, where that is known.
    """

    file: FileRanges
    images: dict[str, Observations]
    noise: dict[str, Observations]
    outliers: dict[str, Observations]
    names: Sequence[str]
    calibrated_on: int | None = None

    def features_of(self, seen: Observations) -> np.ndarray:
        """Return the logarithms of each image's ranges: [images, features]."""
        columns = self.file.columns
        return self.file.features(seen.lows[:, columns], seen.highs[:, columns])

    @property
    def features(self) -> np.ndarray:
        """The logarithms of the file's own ranges: float64 [features]."""
        return self.file.features(self.file.low, self.file.high)

    @property
    def right(self) -> np.ndarray:
        """Those of images at hand prepared rightly: float64 [images, features]."""
        return self.features_of(self.images[observations.RIGHT])
