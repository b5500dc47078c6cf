"""Ctrl-C ends a command within seconds, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from edgetpu_lib.commands import interrupts, main

COMMAND = """
import gc, os, sys, time
from edgetpu_lib.commands import interrupts, main
interrupts.STOP_S = 1.0

def in_collector():
    def wait(phase, info):
        if phase == "start":
            print("ready", flush=True)
            time.sleep(3)
    gc.callbacks.append(wait)
    gc.collect()
    gc.callbacks.clear()
    time.sleep(30)

def in_native_code():
    import ctypes
    print("ready", flush=True)
    ctypes.CDLL(None).sleep(30)

def swallow():
    print("ready", flush=True)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            time.sleep(30)
        except BaseException:
            pass

def in_python():
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        print("tidied", flush=True)

main.commands.main = lambda *args, **options: globals()[sys.argv[1]]()
sys.exit(main.main())
"""


@pytest.mark.parametrize("where", ["in_python", "in_collector", "swallow"])
def test_one_interruption_ends_it(where):
    code, seconds, out, err = interrupted(where)
    assert code == interrupts.EXIT_INTERRUPTED
    assert seconds < 8
    assert interrupts.MESSAGE in err
    assert "Traceback" not in err
    assert ("tidied" in out) == (where == "in_python")


def test_a_call_of_native_code_is_no_obstacle():
    # `sleep` of the C library returns at a signal, and ctypes goes on.
    code, seconds, _, err = interrupted("in_native_code")
    assert (code, seconds < 8) == (interrupts.EXIT_INTERRUPTED, True)
    assert interrupts.MESSAGE in err


def interrupted(where):
    """Interrupt a command; return its exit code, seconds, output and errors."""
    command = [sys.executable, "-c", COMMAND, where]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return process.returncode, time.monotonic() - begin, out, err


def test_nothing_stays_behind(capsys):
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert main.main(["nonsense"]) == main.EXIT_BAD_INPUT
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    time.sleep(0.2)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    capsys.readouterr()
