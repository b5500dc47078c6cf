"""Prepare a Keras model of any origin for export: its end, and the pixels it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from edgetpu_lib import build
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.conversion import ends, front
from edgetpu_lib.images.normalization import MEAN, STDDEV
from edgetpu_lib.tflite.contract import RAW
from edgetpu_lib.weights import keras_files, names


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model as it is exported.

    Attributes:
        model: takes (pixel − mean) / stddev, pixels 0..255.
        output: "probabilities" of a network of this library, "outputs" of any other
            model, or the name of the endpoint.
        mean: of the pixels.
        stddev: likewise.
    """

    model: keras.Model
    output: str
    mean: float
    stddev: float


def prepare(
    model: keras.Model,
    name: str,
    *,
    endpoint_name: str | None = None,
    image_size: int | None = None,
    mean: float | Sequence[float] | None = None,
    stddev: float | Sequence[float] | None = None,
) -> Prepared:
    """Return what to export of a model.

    A network of this library gets a softmax. Any other model keeps its outputs, and its
    own layers or the type of its input tell the pixels that it takes.

    Args:
        model: from `checkpoint.open_model`; half precision in it becomes float32.
        name: of its file, for messages.
        endpoint_name: as for `build.feature_model`; `None` exports the whole model.
        image_size: height and width in pixels of a model that takes any.
        mean: the model takes (pixel − mean) / stddev, one number or three; `None` finds
            it out.
        stddev: likewise.

    Raises:
        InputError: the model does not take one RGB image, has no such endpoint, or
            nothing tells what pixels it takes.
    """
    is_own = names.is_of_this_family(model)
    if not is_own:
        ends.use_float32(model)
    model = keras_files.with_size(model, image_size, name)
    if endpoint_name:
        exported = build.feature_model(model, endpoint_name)
    else:
        exported = ends.with_softmax(model) if is_own else model
    if mean is None and stddev is None:
        default = (MEAN, STDDEV) if is_own else None
        mean, stddev = default or _pixels_of(exported, name)
    elif mean is None or stddev is None:
        raise InputError("--mean and --std belong together; give both")
    exported, mean, stddev = ends.with_one_scale(exported, mean, stddev)
    whole = "probabilities" if is_own else "outputs"
    return Prepared(exported, endpoint_name or whole, mean, stddev)


def _pixels_of(model: keras.Model, name: str) -> tuple[float, float]:
    """Return (mean, stddev) of what a model from elsewhere takes."""
    if front.takes_integers(model):
        return RAW
    found = front.expected_pixels(model)
    if not found:
        raise InputError(
            f"{name} has no layer that tells which pixels it takes; give --mean and"
            " --std: 127.5 and 127.5 for −1..1, 0 and 255 for 0..1, 0 and 1 for 0..255"
        )
    return found
