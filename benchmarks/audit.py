"""Measure what an audit finds of errors that were planted.

    python benchmarks/audit.py                         # 500 drawn flowers
    python benchmarks/audit.py --data_dir=flowers/     # class folders of photos

Labels: of 5 % of the images the label is replaced by another, with several seeds. Of
as many images as were planted, the audit's first and random ones, how many were
planted? And how many of those planted are among all that are predicted otherwise?

Copies: 200 images are changed in several ways; how many are found as the same scene,
and how many pairs of the unchanged images are? Look at these: they may be copies.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageEnhance
from rich.console import Console
from rich.table import Table

PLANTED_SHARE = 0.05
COPIES = 200


@click.command()
@click.option("--data_dir", default="rendered_flowers", show_default=True)
@click.option("--images_per_class", default=100, show_default=True, help="If drawn.")
@click.option("--model", help="A .keras file; otherwise the weights that ship.")
@click.option("--seeds", default=5, show_default=True)
@click.option("--cache_dir", default="artifacts/features", show_default=True)
def main(
    data_dir: str, images_per_class: int, model: str | None, seeds: int, cache_dir: str
) -> None:
    from edgetpu_lib.base.quiet import start_tensorflow

    start_tensorflow()
    from edgetpu_lib import data
    from edgetpu_lib.base import parallel
    from edgetpu_lib.commands.audit import open_network
    from edgetpu_lib.training import features
    from edgetpu_lib.weights.network import Network

    images = data.open_data_set(data_dir, images_per_class=images_per_class)
    network, source = open_network(model, Network())
    rows = features.pooled_features(network, images, cache_dir=cache_dir)
    console = Console()
    console.print(f"{len(images)} images of {data_dir}; weights: {source}")
    console.print(labels_table(rows, images.labels, len(images.class_names), seeds))
    greys = np.stack(list(parallel.map_in_order(grey, images.paths)))
    console.print(copies_table(images.paths, greys))
    print_pairs(console, images.paths, greys)


def labels_table(
    features: np.ndarray, labels: np.ndarray, classes: int, seeds: int
) -> Table:
    runs = [planted(features, labels, classes, seed) for seed in range(seeds)]
    count = round(PLANTED_SHARE * len(labels))
    table = Table("measure", "mean", "lowest", "highest", title=f"{count} wrong labels")
    for name in runs[0]:
        values = [run[name] for run in runs]
        shares = (np.mean(values), min(values), max(values))
        table.add_row(name, *(f"{100 * share:.1f} %" for share in shares))
    return table


def planted(
    features: np.ndarray, labels: np.ndarray, classes: int, seed: int
) -> dict[str, float]:
    """Plant wrong labels; return the shares that the table shows."""
    from edgetpu_lib.doctor.held_out import held_out_probabilities

    rng = np.random.default_rng(seed)
    count = round(PLANTED_SHARE * len(labels))
    order = rng.permutation(len(labels))
    given = labels.copy()
    given[order[:count]] += rng.integers(1, classes, count)
    given %= classes
    wrong = given != labels
    found = held_out_probabilities(
        features, given, np.arange(len(labels)), num_classes=classes, seed=seed
    )
    ranked = np.argsort(found[np.arange(len(labels)), given], kind="stable")
    otherwise = found.argmax(axis=1) != given
    return {
        "planted, of the first as many": wrong[ranked[:count]].mean(),
        "planted, of as many at random": wrong[
            rng.permutation(len(wrong))[:count]
        ].mean(),
        "found, in the first fifth": wrong[ranked[: len(wrong) // 5]].sum() / count,
        "found, predicted otherwise": wrong[otherwise].sum() / count,
        "images predicted otherwise": otherwise.mean(),
        "true labels predicted": (found.argmax(axis=1) == labels).mean(),
        "mean probability of the prediction": found.max(axis=1).mean(),
        "given labels predicted": 1 - otherwise.mean(),
    }


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An image file in memory, read like a file."""

    content: bytes
    name: str = "changed copy"

    def read_bytes(self) -> bytes:
        """Return the encoded image."""
        return self.content


def cut_by(share: float) -> Callable:
    """Return a function that cuts off up to a share at each of the four sides."""

    def cut(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        left, top, right, bottom = rng.uniform(0, share, 4)
        width, height = image.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return image.crop([round(side) for side in box])

    return cut


def scaled_by(factor: float) -> Callable:
    return lambda image, rng: image.resize([round(s * factor) for s in image.size])


CHANGES = {
    "JPEG of quality 40": lambda image, rng: image,
    "half the size": scaled_by(0.5),
    "twice the size": scaled_by(2),
    "30 % brighter": lambda image, rng: ImageEnhance.Brightness(image).enhance(1.3),
    "30 % darker": lambda image, rng: ImageEnhance.Brightness(image).enhance(0.7),
    "cut by up to 3 % a side": cut_by(0.03),
    "cut by up to 5 % a side": cut_by(0.05),
    "cut by up to 8 % a side": cut_by(0.08),
}


def copies_table(paths: tuple[Path, ...], greys: np.ndarray) -> Table:
    from edgetpu_lib.datasets import duplicates

    drawn = np.random.default_rng(0).permutation(len(paths))[:COPIES]
    table = Table("changed copies", "found", title=f"{len(drawn)} copies")
    for number, (name, change) in enumerate(CHANGES.items()):
        rng = np.random.default_rng(number)
        copies = [
            encoded(change(Image.open(paths[i]).convert("RGB"), rng), quality=40)
            for i in drawn
        ]
        both = np.concatenate([greys[drawn], [grey(copy) for copy in copies]])
        found = duplicates.near_pairs(both).tolist()
        right = sum([i, len(drawn) + i] in found for i in range(len(drawn)))
        table.add_row(name, f"{right / len(drawn):.0%}")
    return table


def print_pairs(console: Console, paths: tuple[Path, ...], greys: np.ndarray) -> None:
    """Print how many pairs there are among images that are not changed, and some."""
    from edgetpu_lib.datasets import duplicates

    pairs = duplicates.near_pairs(greys, progress="comparing images")
    console.print(f"{len(pairs)} pairs among the {len(paths)} unchanged images")
    for first, second in pairs[:5]:
        console.print(f"{paths[first].name} {paths[second].name}")


def encoded(image: Image.Image, *, quality: int) -> Encoded:
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=quality)
    return Encoded(packed.getvalue())


def grey(path: Path | Encoded) -> np.ndarray:
    from edgetpu_lib.datasets.duplicates import GREY_SIZE
    from edgetpu_lib.images.loading import load_image

    rgb = load_image(path, GREY_SIZE, resize="square")
    return np.rint(rgb.mean(axis=-1)).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
