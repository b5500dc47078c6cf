"""Make the samples and the README's figures again: `python data/make.py`."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from edgetpu_lib import deploy, specs
from edgetpu_lib.costs import layers
from edgetpu_lib.images import pixels
from edgetpu_lib.images.rendered import render_flower
from edgetpu_lib.plots import architecture as plots_architecture
from edgetpu_lib.plots import common as plots
from edgetpu_lib.plots import hardware as plots_hardware

DATA = Path(__file__).parent
# Indices of images that show their flower well, seed 0.
CHOSEN = {
    "daisy": (0, 10),
    "dandelion": (11, 2),
    "rose": (0, 4),
    "sunflower": (9, 4),
    "tulip": (0, 4),
}


def make_samples() -> None:
    """Write two images a class, 192 × 192, JPEG quality 88."""
    for name, indices in CHOSEN.items():
        for number, index in enumerate(indices, start=1):
            image = Image.fromarray(render_flower(name, index, seed=0, size=192))
            image.save(DATA / "samples" / f"{name}_{number}.jpg", quality=88)


def make_figure() -> None:
    """Draw the network, and the quickstart model's answers to the samples."""
    plots.use_style()
    figure, axes = plt.subplot_mosaic(
        [["network"] * 5, list(CHOSEN)], figsize=(9, 4.6), height_ratios=(1.1, 1)
    )
    rows = layers.layer_table(specs.SPECS["efficientnet-edgetpu-S"])
    plots_architecture.plot_network(rows, ax=axes["network"])
    axes["network"].set_title("EfficientNet-EdgeTPU-S, every layer to scale")
    for name in CHOSEN:
        image = DATA / "samples" / f"{name}_1.jpg"
        prediction = deploy.classify(DATA / "quickstart_quant.tflite", image, top=1)[0]
        axes[name].imshow(pixels.to_uint8(pixels.load_on_device(image, 192)))
        axes[name].set_axis_off()
        axes[name].set_title(
            f"{prediction.label} {prediction.probability:.0%}",
            fontweight="normal",
            loc="center",
        )
    figure.savefig(DATA / "overview.jpg", dpi=110, pil_kwargs={"quality": 88})


def make_latency_figure() -> None:
    """Draw the estimates of latency against what was published."""
    plots.use_style()
    rows = json.loads((DATA / "latency_published.json").read_text())
    plots_hardware.plot_published(rows).figure.savefig(DATA / "latency.png")


if __name__ == "__main__":
    make_samples()
    make_figure()
    make_latency_figure()
