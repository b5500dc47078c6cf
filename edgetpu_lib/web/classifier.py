"""Write a page that classifies images in a browser, with a model inside.

Takes an int8 or float TFLite file, labels and sample images, and the TFLite runtime for
browsers (LiteRT.js) from npm; gives one HTML file, or files for a web server.
"""

from __future__ import annotations

import base64
import dataclasses
import glob
import gzip
import html
import json
import string
from pathlib import Path
from typing import Any

import numpy as np

from edgetpu_lib import deploy
from edgetpu_lib.base import artifacts
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.metadata import verified_metadata
from edgetpu_lib.costs import estimate
from edgetpu_lib.images import opening, pixels
from edgetpu_lib.images.normalization import Resize
from edgetpu_lib.tflite import compiled, interpreter
from edgetpu_lib.tflite.contract import PixelScale, takes_raw_pixels
from edgetpu_lib.tflite.file import read_bytes
from edgetpu_lib.tflite.scores import Scorer, open_scorer
from edgetpu_lib.web.litert import runtime_files

PAGE = Path(__file__).with_name("classifier_page")
# What both pages look like, and this one.
STYLES = (PAGE.with_name("page.css"), PAGE / "classifier.css")
SCRIPTS = ("pixels.js", "runtime.js", "classifier.js")
MODEL = "model.tflite"
MAX_SAMPLES = 5
# Types that the page has an array for.
_DTYPES = ("float32", "uint8", "int8", "int16", "uint16")
_FACTS = {
    "model_name": "Network",
    "test": "Accuracy before quantization",
    "training_images": "Training images",
    "date": "Trained on",
}


@dataclasses.dataclass(frozen=True)
class PageOptions(deploy.Labels):
    """What a page shows beside the model.

    Attributes:
        title: heading of the page. [default: the file's name]
        license_name: licence of the model, to be shown.
        sample_glob: image files to try, such as 'photos/*.jpg'; five at most.
            [default: images that ship with this library, for its classes]
    """

    title: str | None = None
    license_name: str | None = None
    sample_glob: str | None = None


def write_page(
    model: str | Path,
    output: str | Path,
    *,
    options: PageOptions | None = None,
    pixel_scale: PixelScale | None = None,
    resize: Resize | None = None,
    split_files: bool = False,
) -> list[Path]:
    """Write the page of a classifier.

    Args:
        model: `.tflite` file that `deploy` runs on a CPU.
        output: the HTML file; with `split_files` a folder.
        options: labels, title and sample images; `None` takes what the model tells.
        pixel_scale: mean and standard deviation of the model's training; `None` takes
            what the file tells.
        resize: how images become square; `None` takes what the metadata tell.
        split_files: write page, model, runtime and images as files of a folder, for a
            web server; browsers do not load them from the disk.

    Returns:
        The files written; the page is the first.

    Raises:
        InputError: the model, the labels or an image cannot be used, nothing can be
            written, or npm cannot give the runtime.
    """
    options = options or PageOptions()
    scorer = _open(model, pixel_scale, resize)
    metadata = verified_metadata(model)
    labels = options.of(model, scorer.classes)
    samples = _samples(options.sample_glob, labels)
    parts = {MODEL: scorer.content} | runtime_files()
    parts |= {f"sample_{i}{path.suffix}": path.read_bytes() for i, path in samples}
    settings = settings_of(
        scorer, labels, [name for name in parts if "sample_" in name]
    )
    page = _page(
        settings,
        {} if split_files else parts,
        title=options.title or Path(model).stem,
        facts=facts_of(metadata, scorer, options.license_name),
        edge_tpu=edge_tpu_line(scorer.content),
    )
    if not split_files:
        return [artifacts.write_file(output, page)]
    contents = {"index.html": page} | parts
    with artifacts.atomic_files(output) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    return [Path(output) / name for name in contents]


def _open(
    model: str | Path, pixel_scale: PixelScale | None, resize: Resize | None
) -> Scorer:
    """Open a model as `deploy` does; raise InputError if a browser cannot run it."""
    if compiled.is_compiled(read_bytes(model)[1]):
        raise InputError(
            f"{model} is compiled for the Edge TPU, and a browser has none; give"
            f" {compiled.before_compilation(str(model))}"
        )
    scorer = open_scorer(model, pixel_scale=pixel_scale, resize=resize)
    ends = (interpreter.input_contract, interpreter.output_contract)
    for dtype in [end(scorer.opened).dtype for end in ends]:
        if dtype not in _DTYPES:
            raise InputError(
                f"{model} takes or gives {dtype}, which browsers have no arrays of;"
                " convert it to int8 or float32"
            )
    return scorer


def _samples(pattern: str | None, labels: list[str]) -> list[tuple[int, Path]]:
    """Return numbered image files: those asked for, or shipped ones of the classes."""
    if pattern:
        paths = [Path(path) for path in sorted(glob.glob(pattern))]
        if not paths:
            raise InputError(f"no file matches {pattern}; correct --sample_glob")
    else:
        names = ("daisy_1", "dandelion_1", "rose_1", "sunflower_1", "tulip_1")
        known = [name for name in names if name[:-2] in labels]
        paths = [artifacts.data_file(f"samples/{name}.jpg") for name in known]
    paths = paths[:MAX_SAMPLES]
    for path in paths:
        opening.to_rgb(opening.open_image(path)[1], path)
    return list(enumerate(paths))


def settings_of(scorer: Scorer, labels: list[str], samples: list[str]) -> dict:
    """Return what the page's scripts need to know, for JSON."""
    taken = interpreter.input_contract(scorer.opened)
    given = interpreter.output_contract(scorer.opened)
    mean, stddev = scorer.pixel_scale
    height, width = scorer.shape
    size = scorer.image_size
    is_float = taken.dtype.startswith("float")
    limits = None if is_float else np.iinfo(taken.dtype)
    return {
        "labels": labels,
        "input": {
            "dtype": taken.dtype,
            "height": height,
            "width": width,
            "scale": taken.scale,
            "zero_point": taken.zero_point,
            "lowest": limits and int(limits.min),
            "highest": limits and int(limits.max),
            "raw": takes_raw_pixels(taken, mean=mean, stddev=stddev),
            "mean": _channels(mean),
            "stddev": _channels(stddev),
        },
        "output": {
            "dtype": given.dtype,
            "scale": given.scale,
            "zero_point": given.zero_point,
        },
        "logistic": scorer.ends_in_logistic,
        "window": {
            "size": size,
            "padding": pixels.padding_of(size),
            "resize": scorer.resize,
        },
        "samples": [{"name": name, "type": _media_type(name)} for name in samples],
    }


def _channels(value: Any) -> list[float]:
    return np.broadcast_to(np.asarray(value, np.float32), 3).tolist()


def _media_type(name: str) -> str:
    kind = Path(name).suffix.lower().lstrip(".")
    return f"image/{ {'jpg': 'jpeg'}.get(kind, kind) }"


def facts_of(
    metadata: dict, scorer: Scorer, license_name: str | None = None
) -> dict[str, str]:
    """Return {name: value} of what is known of a model, for people."""
    height, width = scorer.shape
    facts = {"Classes": str(scorer.classes), "Input": f"{height} × {width} pixels"}
    for key, name in _FACTS.items():
        if metadata.get(key) is not None:
            facts[name] = _as_text(metadata[key])
    if photos := (metadata.get("calibration") or {}).get("photos"):
        facts["Calibration images"] = str(photos)
    if license_name:
        facts["Licence"] = license_name
    return facts | {"Size": f"{len(scorer.content) / 1e6:.1f} MB"}


def _as_text(value: Any) -> str:
    """Return a value of the metadata; of `metrics.Metrics` top-1 with its interval."""
    if isinstance(value, dict) and {"top1", "top1_low", "top1_high"} <= value.keys():
        return (
            f"{value['top1']:.1%} ({value['top1_low']:.1%} to {value['top1_high']:.1%})"
            f" on {value.get('images', '?')} test images"
        )
    return str(value)


def edge_tpu_line(content: bytes) -> str:
    """Return the estimated latency on the Edge TPU; "" for a file it does not take."""
    try:
        found = estimate.estimate_tflite(content)
    except InputError:
        return ""
    return f"about {found.latency_ms:.1f} ms on {found.device.title} (estimated)"


def _page(
    settings: dict,
    parts: dict[str, bytes],
    *,
    title: str,
    facts: dict[str, str],
    edge_tpu: str,
) -> bytes:
    """Return the page; parts that are inside are compressed."""
    rows = [
        f"    <div><dt>{html.escape(name)}</dt>"
        f'<dd dir="auto">{html.escape(text)}</dd></div>'
        for name, text in facts.items()
    ]
    # In a script's text only `<` could end the script.
    packed = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    inside = [
        f'<script type="text/plain" id="part:{name}">{_packed(content)}</script>'
        for name, content in parts.items()
    ]
    template = string.Template((PAGE / "index.html").read_text("utf-8"))
    scripts = [(PAGE / name).read_text("utf-8") for name in SCRIPTS]
    page = template.substitute(
        title=html.escape(title),
        style="".join(path.read_text("utf-8") for path in STYLES),
        facts="\n".join(rows),
        edge_tpu=html.escape(edge_tpu and f" · {edge_tpu}"),
        settings=packed,
        parts="\n".join(inside),
        script="\n".join(scripts),
    )
    return page.encode()


def _packed(content: bytes) -> str:
    # Without a date, so that the same model gives the same page.
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()
