"""Render the built-in data set offline: drawings of five species of flower."""

import contextlib
import io
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError, atomic_path
from edgetpu_lib.images.drawing.backdrops import backdrop, noise, over, soft, weeds
from edgetpu_lib.images.drawing.flowers import CLASS_NAMES, plant
from edgetpu_lib.images.drawing.petals import paint

# Raise this number whenever the same arguments give other images than before.
VERSION = 1
MANIFEST = "rendered.json"
SMALLEST_SIDE = 32
# Fewer images than this are drawn before a pool of processes has started.
WORTH_A_POOL = 40


def render_flower(
    class_name: str, index: int, *, seed: int = 0, size: int = 192
) -> np.ndarray:
    """Draw one flower on a backdrop.

    Args:
        class_name: one of `CLASS_NAMES`, the species of the main flower.
        index: number of the image within its class, from 0.
        seed: of the data set, from 0.
        size: side of the image in pixels, at least 32.

    Returns:
        uint8 [size, size, 3], RGB; the same for the same arguments.

    Raises:
        InputError: an argument is not as described.
    """
    if class_name not in CLASS_NAMES:
        allowed = ", ".join(CLASS_NAMES)
        raise InputError(f"class name {class_name!r} is not one of {allowed}")
    _require("size", size, SMALLEST_SIDE)
    _require("index", index, 0)
    _require("seed", seed, 0)
    rng = np.random.default_rng([seed, CLASS_NAMES.index(class_name), index])
    light = _light(rng)
    image, near = backdrop(rng, size, light)
    image = _neighbours(image, class_name, rng, light)
    scale = size * np.clip(rng.normal(0.29, 0.07), 0.15, 0.46)
    centre = size * np.clip(rng.normal((0.5, 0.44), 0.09), 0.22, 0.78)
    flower = paint(plant(class_name, rng), size, centre, scale, light)
    if near:
        image = _shadow(image, flower, light, rng)
    image = over(image, flower, 0.4 + (rng.uniform() < 0.25) * rng.exponential(0.9))
    if rng.uniform() < 0.5:
        image = over(image, weeds(rng, size, light), rng.uniform(0, 3))
    return _sensor(_lens(_illuminated(image, rng), rng), rng)


def rendered_flowers(
    folder: Path, *, images_per_class: int, seed: int = 0, size: int = 192
) -> Path:
    """Draw the data set into a folder unless it is there, and return the folder.

    Images are `<class name>/<class name>_00000.jpg` and so on; an interrupted run
    leaves nothing behind. `seed` and `size` are as for `render_flower`. Several
    processes draw: call it below `if __name__ == "__main__":` in a script.

    Raises:
        InputError: an argument is too small, or the folder holds other files or cannot
            be written.
    """
    folder = Path(folder)
    _require("images_per_class", images_per_class, 1)
    _require("size", size, SMALLEST_SIDE)
    _require("seed", seed, 0)
    manifest = {"images_per_class": images_per_class, "seed": seed, "size": size}
    manifest["version"] = VERSION
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        _require_manifest(folder, manifest)
        return folder
    with atomic_path(folder) as target:
        for class_name in CLASS_NAMES:
            (target / class_name).mkdir(parents=True)
        jobs = [
            (target / class_name / f"{class_name}_{index:05d}.jpg", seed, size)
            for class_name in CLASS_NAMES
            for index in range(images_per_class)
        ]
        _draw_all(jobs)
        text = json.dumps(manifest, indent=2) + "\n"
        (target / MANIFEST).write_text(text, encoding="utf-8")
    return folder


def _require(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} {value} is too small; use {least} or more")


def _require_manifest(folder: Path, manifest: dict[str, int]) -> None:
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if found != manifest:
        raise InputError(
            f"{folder} holds something other than the images asked for; delete it or"
            " choose another folder"
        )


def _draw_all(jobs: list[tuple[Path, int, int]]) -> None:
    """Draw every image of a list, by several processes if there are many."""
    with tqdm(jobs, "drawing flowers", unit="img", leave=False) as progress:
        if len(jobs) >= WORTH_A_POOL:
            # Processes cannot start where the main module cannot be imported again.
            with contextlib.suppress(BrokenProcessPool):
                for _ in _pooled(jobs):
                    progress.update()
        for job in jobs[progress.n :]:
            _draw_file(job)
            progress.update()


def _pooled(jobs: list[tuple[Path, int, int]]) -> Iterator[None]:
    # Forking a process in which TensorFlow runs threads can hang: start afresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(parallel.cores(), mp_context=context) as pool:
        try:
            yield from pool.map(_draw_file, jobs, chunksize=8)
        finally:
            # An interruption must not wait for the rest.
            pool.shutdown(cancel_futures=True)


def _draw_file(job: tuple[Path, int, int]) -> None:
    """Draw the image that a path names: <class name>_<index>.jpg."""
    path, seed, size = job
    class_name, index = path.stem.rsplit("_", 1)
    image = render_flower(class_name, int(index), seed=seed, size=size)
    Image.fromarray(image).save(path, quality=88)


def _light(rng: np.random.Generator) -> np.ndarray:
    """Return the direction of the light, a unit vector [3]; at times from behind."""
    depth = rng.uniform(0.25, 1.1) if rng.uniform() < 0.87 else -0.5
    light = np.array([rng.normal(0, 0.6), -rng.uniform(0.2, 1), depth])
    return light / np.linalg.norm(light)


def _shadow(
    image: np.ndarray, layer: Image.Image, light: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw the soft shadow of the flower on a backdrop close behind it."""
    x, y = light[:2] * layer.width * rng.uniform(0.05, 0.25)
    fall = layer.getchannel("a").transform(layer.size, Image.AFFINE, (1, 0, x, 0, 1, y))
    shade = np.asarray(soft(fall, rng.uniform(2, 7)), dtype=np.float32)[..., None]
    return image * (1 - shade / 510)


def _neighbours(
    image: np.ndarray, class_name: str, rng: np.random.Generator, light: np.ndarray
) -> np.ndarray:
    """Add up to three smaller flowers, out of focus and mostly of the same class."""
    count = rng.choice(4, p=[0.42, 0.28, 0.18, 0.12])
    if count == 0:
        return image
    size = len(image)
    kind = class_name if rng.uniform() < 0.8 else str(rng.choice(CLASS_NAMES))
    # Painted at a low resolution, because they end up small and out of focus.
    half, zoom = size // 2, 1.0 if kind == class_name else 0.7
    layer = paint(plant(kind, rng), half, (half / 2, 0.35 * half), 0.24 * half, light)
    for _ in range(count):
        shrink = rng.choice([-1, 1]) / (zoom * rng.uniform(0.7, 1.5)), 1 / zoom
        x, y = rng.uniform((0, 0.1), (1, 0.8)) * size
        form = (shrink[0], 0, half / 2 - x * shrink[0])
        form += (rng.normal(0, 0.15), shrink[1], 0.35 * half - y * shrink[1])
        far = layer.transform((size, size), Image.AFFINE, form, Image.BILINEAR)
        image = over(image, far, rng.uniform(0.6, 3.5))
    return image


def _illuminated(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply exposure, colour of the light, patches of shade, haze and vignetting."""
    size = len(image)
    x = np.linspace(-1, 1, size, dtype=np.float32)
    y = x[:, None]
    right, down, edge = *rng.normal(0, 0.12, 2).tolist(), rng.uniform(0, 0.22)
    gain = 1 + (right * x - edge * x * x) + (down * y - edge * y * y)
    # A camera's automatic exposure compensates part of the scene's brightness.
    auto = (100 / (20 + float(image[::4, ::4].mean()))) ** 0.4
    gain = gain[..., None] * float(auto * 2 ** rng.normal(0.1, 0.24))
    if rng.uniform() < 0.35:
        shade = (noise(rng, size, 3, 7) * 7 - 3).clip(0, 1)
        gain *= 1 - rng.uniform(0.25, 0.55) * shade
    warmth, green = rng.normal(0, (0.07, 0.025))
    vivid = rng.uniform(0.75, 1.2)
    # One matrix moves the colours from or toward grey and tints them.
    mix = np.eye(3) * vivid + (1 - vivid) / 3
    mix = mix * [1 + warmth, 1 + green, 1 - warmth]
    haze = max(0.0, rng.normal(0, 0.08))
    return image @ (mix * (1 - haze)).astype(np.float32) * gain + 235 * haze


def _lens(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur some images by motion or defocus."""
    if rng.uniform() < 0.1:
        step = rng.uniform(-1.3, 1.3, 2) * len(image) / 192
        side = np.arange(len(image))
        paths = np.rint(np.outer(np.arange(-2, 3), step)).astype(int).tolist()
        places = [[np.clip(side + k, 0, side[-1]) for k in path] for path in paths]
        return np.mean([image[np.ix_(*place)] for place in places], axis=0)
    if rng.uniform() < 0.75:
        return image
    array = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    blur = min(rng.exponential(0.9), 2.2)
    return np.asarray(soft(array, blur), dtype=np.float32)


def _sensor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise and JPEG artefacts; return uint8."""
    strength = 1 + min(rng.exponential(1.7), 9)
    grain = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    noisy = (image + strength * grain).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=int(rng.integers(50, 93)))
    return np.asarray(Image.open(stream))
