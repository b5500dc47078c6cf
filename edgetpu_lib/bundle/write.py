"""Write a classifier as one file that runs on a board.

Takes a TFLite file, and the one that the Edge TPU compiler made of it; gives a zipapp:
`python3 app.zip photo.jpg` needs Python 3.9, NumPy, Pillow and a TFLite runtime.
"""

from __future__ import annotations

import io
import string
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import edgetpu_lib
from edgetpu_lib.base.artifacts import InputError, write_file
from edgetpu_lib.bundle import contents
from edgetpu_lib.bundle.contents import Classifier, Settings, Stored
from edgetpu_lib.bundle.labels import lines_of
from edgetpu_lib.bundle.sources import needed_sources
from edgetpu_lib.deploy import Labels
from edgetpu_lib.images import rendered
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite.compiled import before_compilation, is_compiled
from edgetpu_lib.tflite.contract import PixelScale, TensorContract, of_tensor
from edgetpu_lib.tflite.file import read_bytes, read_tflite
from edgetpu_lib.tflite.interpreter import output_contract
from edgetpu_lib.tflite.scores import Scorer, open_scorer

PROGRAM = "edgetpu_lib.bundle.program"
TEXTS = Path(__file__).with_name("texts")
# Of all files in the bundle: the same model gives the same bytes. ZIP's first day.
_DATE = (1980, 1, 1, 0, 0, 0)
_SHEBANG = b"#!/usr/bin/env python3\n"
# The stored images: three flowers, in pixels a side. Larger ones show no more.
_SIZE = 96
_DRAWN = rendered.CLASS_NAMES[:3]
# Of scores that have no quantization step: that of probabilities in a byte.
_FLOAT_TOLERANCE = 1 / 256


def write_bundle(
    model: str | Path,
    output: str | Path,
    *,
    compiled: str | Path | None = None,
    labels: Labels | None = None,
    pixel_scale: PixelScale | None = None,
    resize: Resize | None = None,
) -> Path:
    """Write a bundle; the same model and library give the same bytes.

    Args:
        model: `.tflite` file of a classifier that runs on a CPU.
        output: file to write, such as `app.zip`.
        compiled: the same model, compiled for the Edge TPU.
        labels: class names; `None` takes what the model tells.
        pixel_scale: mean and standard deviation of the model's training; `None` takes
            what the file tells.
        resize: how an image becomes square; `None` takes what the metadata tell.

    Raises:
        InputError: a model or the labels cannot be used, the two models take or give
            different things, or the file cannot be written.
    """
    require_not_compiled(model, hint=", and this one as --compiled")
    if Path(output).resolve() in [Path(m).resolve() for m in (model, compiled) if m]:
        raise InputError(f"{output} is the model; choose another output path")
    scorer = open_scorer(model, pixel_scale=pixel_scale, resize=resize)
    names = lines_of(labels, model, scorer.classes)
    files = {contents.MODEL: scorer.content}
    files[contents.LABELS] = "".join(f"{name}\n" for name in names).encode()
    if compiled is not None:
        files[contents.COMPILED] = _compiled_content(compiled, scorer)
    images = _drawn_images()
    files |= images
    settings = _settings(model, scorer, names, images, compiled is not None)
    files[contents.SETTINGS] = settings.to_json()
    files |= _texts(Path(output).name, settings, len(names))
    files |= needed_sources(PROGRAM)
    files["__main__.py"] = (TEXTS / "__main__.py.txt").read_bytes()
    return write_file(output, _packed(files))


def require_not_compiled(model: str | Path, *, hint: str = "") -> None:
    """Raise InputError, with a hint at its end, of a file for the Edge TPU alone."""
    if is_compiled(read_bytes(model)[1]):
        raise InputError(
            f"{model} is compiled for the Edge TPU; give"
            f" {before_compilation(str(model))}{hint}"
        )


def _compiled_content(compiled: str | Path, scorer: Scorer) -> bytes:
    """Return the content of a compiled file of the same model."""
    name, content = read_bytes(compiled)
    if not is_compiled(content):
        raise InputError(
            f"{name} is not compiled for the Edge TPU; give the file that `compile`"
            " wrote, or leave --compiled out"
        )
    if _ends(content) != _ends(scorer.content):
        raise InputError(
            f"{name} takes or gives other tensors than {scorer.name}; compile"
            f" {scorer.name} and give the result"
        )
    return content


def _ends(content: bytes) -> list[TensorContract]:
    """Return what a file takes and gives."""
    file = read_tflite(content)
    return [of_tensor(file, index) for index in (*file.inputs, *file.outputs)]


def _drawn_images() -> dict[str, bytes]:
    """Return PNG files of three drawn flowers, by their names in the bundle."""
    return {
        f"self_test/{name}.png": _png(rendered.render_flower(name, 0, size=_SIZE))
        for name in _DRAWN
    }


def _png(pixels_u8: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels_u8).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _settings(
    model: str | Path,
    scorer: Scorer,
    names: list[str],
    images: dict[str, bytes],
    has_compiled: bool,
) -> Settings:
    mean, stddev = scorer.pixel_scale
    classifier = Classifier(scorer, names)
    return Settings(
        name=Path(model).stem,
        version=edgetpu_lib.__version__,
        compiled=has_compiled,
        mean=mean,
        stddev=stddev,
        resize=scorer.resize,
        ends_in_logistic=scorer.ends_in_logistic,
        tolerance=output_contract(scorer.opened).scale or _FLOAT_TOLERANCE,
        expected={
            name: [float(score) for score in classifier.scores_of(Stored(name, image))]
            for name, image in images.items()
        },
    )


def _texts(file: str, settings: Settings, classes: int) -> dict[str, bytes]:
    """Return the texts of a bundle; those of systemd are filled in on the board."""
    known = {"file": file, "title": settings.name, "classes": str(classes)}
    known["underline"] = "=" * len(f"{settings.name}: an image classifier in one file")

    def filled(name: str) -> str:
        template = string.Template((TEXTS / name).read_text("utf-8"))
        return template.substitute(known)

    known["edge_tpu"] = filled("edge_tpu.txt") if settings.compiled else ""
    texts = {contents.README: filled(contents.README).encode()}
    for name in (contents.UDEV_RULES, contents.SERVICE):
        texts[name] = (TEXTS / name).read_bytes()
    return texts


def _packed(files: dict[str, bytes]) -> bytes:
    """Return a ZIP archive that Python, or a shell, runs."""
    stream = io.BytesIO()
    stream.write(_SHEBANG)
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            # Of Unix, wherever it is written.
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()
