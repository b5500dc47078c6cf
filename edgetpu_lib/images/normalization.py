"""The constants that map pixels to a network's float input; no imports."""

from __future__ import annotations

# Source: tensorflow/tpu efficientnet_edgetpu_builder.py, MEAN_RGB and STDDEV_RGB: the
# same for all channels, so that 0..255 becomes −0.992..1.0.
MEAN = 127.0
STDDEV = 128.0
