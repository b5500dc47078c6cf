"""EfficientNet-EdgeTPU: build, train, fine-tune, quantize, evaluate, deploy.

The way of the data, one module a stage:
specs → build → checkpoint → data → train → fine_tune → convert → check → evaluate →
deploy. What each of these stands on, and the helpers, are listed in README.md.
"""

import os

__version__ = "0.2.0"

# TensorFlow's start-up notices are not for the reader; warnings and errors are.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
