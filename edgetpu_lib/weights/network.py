"""Name a network, changes to it, and the weights to fill it with.

Light to import: the command line makes its options from it.
"""

from __future__ import annotations

import dataclasses

from edgetpu_lib import specs


@dataclasses.dataclass(frozen=True)
class Network:
    """Which network to build, and the weights to fill it with.

    Attributes:
        model_name: efficientnet-edgetpu-S, -M or -L, or the .json file of a network
            that `search` found.
        ckpt_dir: TF-1 checkpoint (folder, prefix or .tar.gz) or .safetensors file of
            timm.
        enable_ema: load the moving averages of a checkpoint, not its raw values.
        image_size: height and width of the input in pixels. [default: the network's]
        num_classes: number of outputs. [default: 1001, in training the data's]
        width_coefficient: factor on channels. [default: the network's]
        depth_coefficient: factor on repeats of blocks. [default: the network's]
    """

    model_name: str = next(iter(specs.SPECS))
    ckpt_dir: str | None = None
    enable_ema: bool = True
    image_size: int | None = None
    num_classes: int | None = None
    width_coefficient: float | None = None
    depth_coefficient: float | None = None

    @property
    def overrides(self) -> dict[str, float | None]:
        """Changes to the network, as `build.build_model` takes them."""
        return {
            "image_size": self.image_size,
            "width_coefficient": self.width_coefficient,
            "depth_coefficient": self.depth_coefficient,
        }

    @property
    def has_published_layers(self) -> bool:
        """Whether published weights fit: neither width nor depth is changed."""
        return not (self.width_coefficient or self.depth_coefficient)
