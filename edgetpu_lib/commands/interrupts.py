"""End a command soon after Ctrl-C, whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

# A command that has not ended so long after Ctrl-C is ended.
STOP_S = 4.0
EXIT_INTERRUPTED = 130
MESSAGE = "interrupted; files finished before are untouched"


@contextlib.contextmanager
def ended_soon() -> Iterator[None]:
    """Make sure that Ctrl-C ends the process within seconds while the block runs.

    Python raises `KeyboardInterrupt` between two of its own instructions: not during a
    long call of native code, and without effect within a callback of the garbage
    collector. A thread therefore watches for the signal. The block has `STOP_S` to save
    what it wants; what is half-written then is removed by the next run.
    """
    # In a browser there are neither signals nor threads.
    has_signals = os.name == "posix" and sys.platform != "emscripten"
    if threading.current_thread() is not threading.main_thread() or not has_signals:
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    hook, sys.unraisablehook = sys.unraisablehook, _raise_again(sys.unraisablehook)
    over = threading.Event()
    threading.Thread(target=_watch, args=(heard, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        sys.unraisablehook = hook
        # The thread reads the end of the pipe, and closes its side.
        os.close(told)


def _watch(heard: int, over: threading.Event) -> None:
    """Wait for the number of a signal; end the process if nothing else does."""
    try:
        while numbers := os.read(heard, 64):
            if signal.SIGINT in numbers and not over.wait(STOP_S):
                with contextlib.suppress(OSError, ValueError):
                    print(MESSAGE, file=sys.stderr, flush=True)
                os._exit(EXIT_INTERRUPTED)
    finally:
        os.close(heard)


def _raise_again(hook: Any) -> Any:
    """Return a hook that repeats a Ctrl-C that Python could not raise where it came."""

    def repeat(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            hook(lost)
            return
        # Later: an exception within this hook would be lost, too.
        main = threading.main_thread().ident
        arguments = (main, signal.SIGINT)
        again = threading.Timer(0.05, signal.pthread_kill, arguments)
        again.daemon = True
        again.start()

    return repeat
