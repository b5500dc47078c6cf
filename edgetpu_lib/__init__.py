"""EfficientNet-EdgeTPU: build, fine-tune, quantize, evaluate, deploy.

The way of the data, one module a stage:
specs → build → checkpoint → data → train → convert → evaluate → deploy.
Helpers: artifacts, pixels, interpreter, summary, plots, rendered.
"""

import os

__version__ = "0.1.0"

# TensorFlow's start-up notices are not for the reader; warnings and errors are.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
