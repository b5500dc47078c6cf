"""How an image becomes a network's float input; imports nothing of the library."""

from __future__ import annotations

from typing import Literal

# How an image of any shape becomes the square that a network takes: its centre is cut
# out, as in the reference, or the whole image is stretched.
Resize = Literal["crop", "stretch"]
# Source: tensorflow/tpu efficientnet_edgetpu_builder.py, MEAN_RGB and STDDEV_RGB: the
# same for all channels, so that 0..255 becomes −0.992..1.0.
MEAN = 127.0
STDDEV = 128.0
