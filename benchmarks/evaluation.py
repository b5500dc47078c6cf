"""Measure evaluation: the plain loop against the pipeline, in one run.

    python benchmarks/evaluation.py --model=S_quant.tflite --photos='val/*.JPEG'

The plain loop is what users write: one interpreter with its default threads, images
decoded in line. Both sides take turns on the same images; medians and ratios are
printed, and that both gave the same predictions.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table


@click.command()
@click.option("--model", required=True, help="An int8 .tflite file.")
@click.option("--photos", "pattern", required=True, help="Such as 'val/*.JPEG'.")
@click.option("--turns", default=5, show_default=True)
@click.option("--repeat", default=1, show_default=True, help="Of the list of images.")
def main(model: str, pattern: str, turns: int, repeat: int) -> None:
    from edgetpu_lib.base.quiet import start_tensorflow

    start_tensorflow()
    from edgetpu_lib import data, evaluate
    from edgetpu_lib.base import parallel
    from edgetpu_lib.evaluation import classifiers
    from edgetpu_lib.images import pixels
    from edgetpu_lib.tflite import interpreter

    folder, ending = Path(pattern).parent, Path(pattern).name
    paths = tuple(sorted(folder.glob(ending))) * repeat
    images = data.Images(paths, np.zeros(len(paths), np.int64), ("unknown",))
    classifier = classifiers.open_classifier(model)
    opened = interpreter.open_interpreter(model)

    def plain() -> np.ndarray:
        predictions = []
        for path in paths:
            image = data.load_image(path, classifier.image_size)
            scores = interpreter.run(opened, pixels.to_uint8(image))
            predictions.append(scores.argmax())
        return np.array(predictions)

    def pipeline() -> np.ndarray:
        return evaluate.predict(classifier, images, progress=None).best

    sides = {"plain loop": plain, "edgetpu_lib": pipeline}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    predictions = {side: call() for side, call in sides.items()}  # Also warms up.
    for _ in range(turns):
        for side, call in sides.items():
            start = time.perf_counter()
            call()
            seconds[side].append(time.perf_counter() - start)
    first = seconds["plain loop"]
    table = Table("side", "images/s, median", "ratio, median of turns")
    for side, taken in seconds.items():
        ratios = [a / b for a, b in zip(first, taken, strict=True)]
        rate = len(paths) / statistics.median(taken)
        table.add_row(side, f"{rate:.1f}", f"{statistics.median(ratios):.2f}")
    same = (predictions["plain loop"] == predictions["edgetpu_lib"]).all()
    table.caption = (
        f"{len(paths)} images, {classifier.image_size} px, {parallel.cores()} cores;"
        f" predictions {'equal' if same else 'DIFFER'}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
