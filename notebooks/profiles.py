"""Choose the parameters of a run: a profile of profiles.toml, its data downloaded."""

from __future__ import annotations

import tomllib
from pathlib import Path

from edgetpu_lib.base.artifacts import atomic_path
from edgetpu_lib.weights import fetch

PROFILES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
PUBLISHED = "published"
MODEL = "efficientnet-edgetpu-S"


def merged(profile: str, changed: dict) -> dict:
    """Return a profile with some parameters replaced, in every notebook.

    Args:
        profile: a key of `PROFILES`.
        changed: {parameter: value}.
    """
    values = {
        name: value
        if not isinstance(value, dict)
        else {inner: value[inner] for inner in value if inner not in changed}
        for name, value in PROFILES[profile].items()
    }
    return values | changed


def parameters_for(stem: str, given: dict, declared: set[str]) -> dict:
    """Return what a notebook is given of a profile.

    Args:
        stem: the notebook's name, without its suffix.
        given: {parameter: value}, and {notebook: {parameter: value}}.
        declared: the parameters that the notebook has.
    """
    values = given | given.get(stem, {})
    return {name: values[name] for name in values if name in declared}


def names_in(given: dict) -> set[str]:
    """Return every parameter that a profile names, for all notebooks or for one."""
    names = set()
    for name, value in given.items():
        names |= set(value) if isinstance(value, dict) else {name}
    return names


def bring(given: dict, artifacts_dir: Path) -> dict:
    """Replace the names of public things by folders; they are downloaded once.

    Raises:
        InputError: something cannot be downloaded or written.
    """
    brought = dict(given)
    if given.get("ckpt_dir") == PUBLISHED:
        name = given.get("model_name", MODEL)
        brought["ckpt_dir"] = str(fetch.fetch_checkpoint(name))
    if given.get("data_dir") == "tf_flowers":
        brought["data_dir"] = str(class_folders("tf_flowers", artifacts_dir))
    return brought


def class_folders(name: str, parent: Path) -> Path:
    """Return a folder of class folders with all images of a public set.

    Args:
        name: of TensorFlow Datasets; a set of JPEGs.
        parent: where the folder is made, unless it is there.

    Raises:
        InputError: the set cannot be prepared, or the folder cannot be written.
    """
    # It starts TensorFlow, which other profiles leave to the kernels.
    from edgetpu_lib.datasets import public

    target = parent / name
    if target.is_dir():
        return target
    splits = public.open_tfds(name)
    with atomic_path(target) as folder:
        for split, images in splits.items():
            for number, (path, label) in enumerate(
                zip(images.paths, images.labels, strict=True)
            ):
                image = folder / images.class_names[label] / f"{split}_{number:06}.jpg"
                image.parent.mkdir(parents=True, exist_ok=True)
                image.write_bytes(path.read_bytes())
    return target
