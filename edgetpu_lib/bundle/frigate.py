"""Write a classifier as Frigate's custom classification reads it.

Source of what Frigate does: blakeblackshear/frigate 0.17,
frigate/data_processing/real_time/custom_classification.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, atomic_files
from edgetpu_lib.base.metadata import verified_metadata
from edgetpu_lib.bundle.labels import lines_of
from edgetpu_lib.bundle.write import require_not_compiled
from edgetpu_lib.deploy import Labels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite import interpreter, preprocessing
from edgetpu_lib.tflite.contract import PixelScale, TensorContract, takes_raw_pixels
from edgetpu_lib.tflite.scores import Scorer, open_scorer

# Frigate stretches every image to this height and width, pixels.
SIZE = 224
MODEL, LABELS = "model.tflite", "labelmap.txt"
# The largest score of a probability in a byte: 255 / 256, or 1.
_MOST = 1.01


def write_frigate(
    model: str | Path,
    output: str | Path,
    *,
    name: str,
    labels: Labels | None = None,
    pixel_scale: PixelScale | None = None,
) -> list[Path]:
    """Write the folder of a custom classification, `model_cache/NAME`.

    Args:
        model: `.tflite` file that takes uint8 1×224×224×3, raw RGB bytes, and gives
            uint8 probabilities.
        output: folder to write into; on Frigate's machine it is that of its
            configuration, /config in the container.
        name: of the classifier in Frigate's configuration.
        labels: class names; `None` takes what the model tells.
        pixel_scale: mean and standard deviation of the model's training; `None` takes
            what the metadata or the file tell.

    Returns:
        The files written: model and labels.

    Raises:
        InputError: Frigate would feed the model anything but what it takes, or could
            not read its scores, its labels or its name.
    """
    _require_name(name)
    require_not_compiled(model)
    scorer = open_scorer(model, pixel_scale=pixel_scale)
    _require_input(scorer, pixel_scale or _trained_on(model) or scorer.pixel_scale)
    _require_probabilities(scorer)
    names = lines_of(labels, model, scorer.classes)
    _require_plain(names)
    folder = Path(output) / "model_cache" / name
    with atomic_files(folder) as made:
        (made / MODEL).write_bytes(scorer.content)
        text = "".join(f"{label}\n" for label in names)
        (made / LABELS).write_text(text, encoding="utf-8", newline="\n")
    return [folder / MODEL, folder / LABELS]


def remarks(model: str | Path, labels: Labels, resize: Resize) -> list[str]:
    """Return what Frigate runs, but its user should know: one sentence each.

    Args:
        model: as for `write_frigate`.
        labels: likewise.
        resize: how images became square in its training, as far as is known.

    Raises:
        InputError: the metadata cannot be read, or belong to another file.
    """
    found = []
    if resize != "stretch":
        found.append(
            f"nothing says that {model} was trained on stretched images, as Frigate"
            " feeds them; train with `fine-tune --resize=stretch`"
        )
    if labels.known(model) is None:
        found.append(
            f"{model} has no class names, so that Frigate shows numbers; give"
            " --labels_map_file"
        )
    return found


def _require_name(name: str) -> None:
    """Raise InputError unless Frigate, and every file system, takes a name."""
    if not re.fullmatch(r"\w[\w -]*", name) or name != name.strip():
        raise InputError(
            f"--name={name!r} cannot name a classifier; use letters, digits, spaces, _"
            " and -"
        )


def _trained_on(model: str | Path) -> PixelScale | None:
    return preprocessing.of_metadata(verified_metadata(model))


def _require_input(scorer: Scorer, trained_on: PixelScale) -> None:
    """Raise InputError unless raw bytes of Frigate's size are the input."""
    taken = interpreter.input_contract(scorer.opened)
    takes = f"{scorer.name} takes {_form(taken)}"
    if tuple(taken.shape) != (1, SIZE, SIZE, 3):
        raise InputError(
            f"{takes}, Frigate feeds images of {SIZE}×{SIZE}; train with `fine-tune"
            f" --image_size={SIZE} --resize=stretch`, then export"
        )
    if taken.dtype != "uint8":
        raise InputError(
            f"{takes}, Frigate feeds uint8; export the model with `export"
            " --data_dir=IMAGES --output_tflite=FILE`, without --noquantize"
        )
    mean, stddev = trained_on
    if taken.scale and not takes_raw_pixels(taken, mean=mean, stddev=stddev):
        raise InputError(
            f"{takes} with scale {taken.scale:.6g} and zero point {taken.zero_point},"
            f" and was trained on (pixel - {mean}) / {stddev}: raw bytes are not its"
            " input; export it with --mean and --std of its training"
        )


def _require_probabilities(scorer: Scorer) -> None:
    """Raise InputError unless bytes, divided by their sum, are the probabilities."""
    given = interpreter.output_contract(scorer.opened)
    is_vector = len(given.shape) == 2 and given.shape[1] > 1
    is_share = given.dtype == "uint8" and given.zero_point == 0
    if not (is_vector and is_share and 0 < 255 * given.scale <= _MOST):
        raise InputError(
            f"{scorer.name} gives {_form(given)} (scale {given.scale:.6g}, zero point"
            f" {given.zero_point}), Frigate divides scores by their sum; export a model"
            " that ends in softmax, of two classes or more, without --noquantize"
        )


def _form(contract: TensorContract) -> str:
    return f"{contract.dtype} {'×'.join(map(str, contract.shape))}"


def _require_plain(names: list[str]) -> None:
    """Raise InputError if some version of Frigate would read other labels."""
    # Some versions take such a number for the index of a class.
    if re.match(r"\d+ ", names[0]):
        raise InputError(
            f"label {names[0]!r} begins with a number, which Frigate takes for an"
            " index; rename the class"
        )
    for name in names:
        if not name.strip():
            raise InputError(f"label {name!r} is empty; name the class")
