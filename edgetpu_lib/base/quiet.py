"""Start TensorFlow and suppress the log output of native libraries."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TextIO


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Suppress what native code writes to file descriptor 2.

    Python's own `sys.stderr` (progress bars, warnings) still reaches the user.
    """
    with contextlib.ExitStack() as stack:
        sys.stderr.flush()
        real = os.dup(2)
        stack.callback(os.close, real)
        stack.callback(os.dup2, real, 2)
        if sys.stderr is sys.__stderr__:
            python_stderr = _python_stderr()
            os.dup2(real, python_stderr.fileno())
            stack.callback(python_stderr.flush)
            stack.enter_context(contextlib.redirect_stderr(python_stderr))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        os.close(silence)
        yield


@functools.cache
def _python_stderr() -> TextIO:
    """Return a stand-in for `sys.stderr`, never closed: log handlers may keep it."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def prefer_onednn() -> None:
    """Let TensorFlow use oneDNN on every x86 CPU; call this before importing it.

    By default it does so only on CPUs with instructions for neural networks. Elsewhere
    its convolutions are faster too, once `fast_layers` avoids the one slow gradient.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def start_tensorflow() -> ModuleType:
    """Import TensorFlow without its log output about absent GPUs, and return it."""
    with quiet_native():
        import tensorflow as tf

        tf.config.list_logical_devices()
    # Otherwise every export logs where its temporary files lie.
    tf.get_logger().setLevel("ERROR")
    return tf
