"""EfficientNet-EdgeTPU: build, train, fine-tune, quantize, evaluate, deploy.

The ten modules at the top are the pipeline, in the order of the data: specs → build →
checkpoint → data → train, fine_tune → calibrate → convert → evaluate → deploy. Folders
hold their parts; CONTRIBUTING.md shows the tree.
"""

import os

__version__ = "0.2.0"

# Hide TensorFlow's start-up notices; warnings and errors are still shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
