"""Open Keras files, and SavedModels of TensorFlow as Keras models."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from edgetpu_lib.base.artifacts import InputError

SUFFIXES = (".keras", ".h5", ".hdf5")
# What Keras says of a class or function that is not its own.
_UNKNOWN = re.compile(
    r"(?:Could not locate (?:class|function)|Unknown [\w ]+:) '?([\w>.]+)"
)
_MAX_REASON_CHARACTERS = 150


def load_model(path: str | Path) -> keras.Model:
    """Read a model from a `.keras` file, or from an `.h5` file with its layers.

    Raises:
        InputError: the file is missing or damaged, or holds code of its own (a Lambda
            or another custom layer), or weights only.
    """
    if not Path(path).is_file():
        raise InputError(f"no model at {path}; give a .keras file")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a damaged file.
        raise InputError(f"{path} {_reason(error, Path(path).suffix)}") from error
    if not getattr(model, "inputs", None):
        raise InputError(f"{path} says no input shape; build the model, then save it")
    return model


def _reason(error: Exception, suffix: str) -> str:
    """Return in one line what an error of Keras says, and the remedy."""
    text = " ".join(str(error).split())
    if re.search(r"\bLambda\b", text):
        return (
            "has a Lambda layer, whose Python code is not run; save the model with"
            " layers of Keras instead, such as Rescaling"
        )
    if unknown := _UNKNOWN.search(text):
        return (
            f"has {unknown[1].split('>')[-1]!r}, which is no layer or function of"
            " Keras; save the model with layers of Keras, or export it as a SavedModel"
            " and give its folder"
        )
    if "No model config" in text:
        return "holds weights only; save the whole model with model.save"
    short = textwrap.shorten(text, _MAX_REASON_CHARACTERS, placeholder=" …")
    kind = type(error).__name__
    return f"is not a readable {suffix} model ({short or kind}); make it again"


def is_saved_model(path: str | Path) -> bool:
    """Return whether a path is the folder of a SavedModel."""
    return (Path(path) / "saved_model.pb").is_file()


def is_opened(layer: keras.Layer) -> bool:
    """Return whether a layer is a whole SavedModel."""
    return isinstance(layer, keras.layers.TFSMLayer)


def open_saved_model(folder: str | Path, image_size: int | None = None) -> keras.Model:
    """Return the signature `serving_default` of a SavedModel as a Keras model.

    Args:
        folder: of the SavedModel.
        image_size: height and width in pixels, if the signature leaves them open.

    Raises:
        InputError: the folder holds no such signature, or one of several inputs.
    """
    signature = signatures_of(folder)["serving_default"]
    layer = keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        names = ", ".join(inputs)
        raise InputError(f"{folder} takes {len(inputs)} inputs ({names}); give one")
    (taken,) = inputs.values()
    if taken.shape.rank is None:
        raise InputError(f"{folder} says no input shape; export it with one")
    sizes = [n or image_size for n in taken.shape[1:3]]
    shape = (taken.shape[0], *sizes, *taken.shape[3:])
    images = keras.Input(batch_shape=shape, dtype=taken.dtype.name, name="images")
    scores = list(layer(images).values())
    name = Path(folder).resolve().name
    return keras.Model(images, scores if len(scores) > 1 else scores[0], name=name)


def signatures_of(folder: str | Path) -> Mapping[str, Any]:
    """Return the signatures of a SavedModel, `serving_default` among them.

    Raises:
        InputError: the folder holds no such signature.
    """
    import tensorflow as tf

    try:
        signatures = tf.saved_model.load(str(folder)).signatures
        signatures["serving_default"]
    except (OSError, KeyError, ValueError, AttributeError, tf.errors.OpError) as error:
        raise InputError(
            f"{folder} is not a SavedModel with a serving_default signature; export it"
            " again"
        ) from error
    return signatures


def with_size(model: keras.Model, image_size: int | None, name: str) -> keras.Model:
    """Return a model whose input is one RGB image of a fixed size.

    Args:
        model: any.
        image_size: height and width in pixels of a model that takes any.
        name: of the model, for messages.

    Raises:
        InputError: it takes several inputs or no RGB image, or `image_size` is needed
            or another than the model's own.
    """
    if len(model.inputs) != 1:
        names = ", ".join(each.name for each in model.inputs)
        raise InputError(
            f"{name} has {len(model.inputs)} inputs ({names}); give a model of one"
            " RGB image"
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[3] not in (3, None):
        raise InputError(
            f"{name} takes {list(shape)}; give a model of RGB images, [batch, height,"
            " width, 3]"
        )
    if None not in shape[1:]:
        if image_size and (image_size, image_size) != shape[1:3]:
            raise InputError(
                f"{name} takes {shape[1]}×{shape[2]} pixels, not"
                f" --image_size={image_size}; leave it out, or train at this size"
            )
        return model
    if not image_size and None in shape[1:3]:
        raise InputError(f"{name} takes images of any size; give --image_size")
    sizes = [n or image_size for n in shape[1:3]]
    images = keras.Input((*sizes, 3), dtype=model.inputs[0].dtype, name="images")
    return keras.Model(images, model(images), name=model.name)
