"""Start native libraries well: fast, and not talking over what the reader came for.

Used where TensorFlow or a TFLite runtime starts; Python's own messages pass.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Silence what native code writes to the error stream behind Python's back.

    Python's own `sys.stderr` (progress bars, warnings) still reaches the user.
    """
    with contextlib.ExitStack() as stack:
        sys.stderr.flush()
        real = os.dup(2)
        stack.callback(os.close, real)
        stack.callback(os.dup2, real, 2)
        if sys.stderr is sys.__stderr__:
            python_stderr = stack.enter_context(os.fdopen(os.dup(real), "w"))
            stack.enter_context(contextlib.redirect_stderr(python_stderr))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        os.close(silence)
        yield


def prefer_onednn() -> None:
    """Let TensorFlow use oneDNN on every x86 CPU; it must not be imported yet.

    On its own it does so only where the CPU has instructions for neural networks. Its
    convolutions are faster elsewhere too, once `fast_layers` avoids the one slow
    gradient.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def start_tensorflow() -> ModuleType:
    """Import TensorFlow, its notices about absent GPUs left out, and return it."""
    with quiet_native():
        import tensorflow as tf

        tf.config.list_logical_devices()
    # Every export would say where its temporary files lie.
    tf.get_logger().setLevel("ERROR")
    return tf
