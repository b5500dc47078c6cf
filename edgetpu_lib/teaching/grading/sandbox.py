"""Run a command that writes to few folders and leaves no process, where Linux lets it.

A program: it takes folders and a command. User, mount and process namespaces need no
rights; some containers and all other systems refuse them, and `is_available` says so.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

NAME = "edgetpu_lib.teaching.grading.sandbox"
# Constants of Linux: sched.h, mount.h, prctl.h and the table of system calls, which
# has these numbers on all architectures.
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MOUNT_ATTR_RDONLY, AT_FDCWD, AT_RECURSIVE = 1, -100, 0x8000
MOUNT_SETATTR = 442
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
# A command never ends with it by itself; shells use it for what cannot be executed.
REFUSED = 126


class _MountAttributes(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("set", "clear", "propagation", "userns")]


def command(
    rules: Iterable[tuple[str | Path, bool]], inner: Sequence[str]
) -> list[str]:
    """Return the command that runs another one in a sandbox.

    Args:
        rules: folders and whether they can be written, applied in order; everything
            else cannot be. Those that do not exist are left out.
        inner: the command.
    """
    known = [(str(Path(p).resolve()), free) for p, free in rules if Path(p).exists()]
    return [sys.executable, "-m", NAME, json.dumps(known), *inner]


def is_available() -> bool:
    """Return whether this system lets a process have a sandbox."""
    return sys.platform == "linux" and _can_run(sys.executable)


@functools.cache
def _can_run(python: str) -> bool:
    tried = subprocess.run(command([], [python, "-c", ""]), capture_output=True)
    return tried.returncode == 0


def set_process(option: int, value: int) -> None:
    """Set a property of this process (prctl); nothing happens on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def start(
    program: Sequence[str], **options: Any
) -> tuple[subprocess.Popen, TextIO, TextIO]:
    """Start a program; return its process, and the streams to read from and write to.

    They are a socket, because a pipe could be opened by any process of the same user,
    as a file in /proc. The program takes its ends by `private_streams`.

    Args:
        program: the command.
        options: of `subprocess.Popen`.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(program, stdin=theirs, stdout=theirs, **options)
        # Each stream keeps the socket open.
        return process, ours.makefile("r"), ours.makefile("w")


def private_streams() -> tuple[TextIO, TextIO]:
    """Return standard input and output, which code in this process then does not have.

    Other processes cannot look into this one either, unless they have root's rights.
    """
    set_process(PR_SET_DUMPABLE, 0)
    receive, send = open(os.dup(0), encoding="utf-8"), open(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return receive, send


def write_line(stream: TextIO, content: dict[str, Any]) -> None:
    """Write an object as a line of JSON, at once."""
    stream.write(json.dumps(content) + "\n")
    stream.flush()


def main() -> None:
    """Run the command in a sandbox and end as it ends."""
    rules, *inner = sys.argv[1:]
    # An interrupt is for the command alone, which starts with the usual handlers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        _enter(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
        child = os.fork() or _be_first_process(json.loads(rules), inner)
    except OSError as error:
        sys.stderr.write(f"no sandbox: {error}\n")
        sys.exit(REFUSED)
    _, status = os.waitpid(child, 0)
    sys.exit(_exit_code(status))


def _be_first_process(rules: list[tuple[str, bool]], inner: list[str]) -> int:
    """Run the command and end with it; all its processes end with this one."""
    set_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    code = REFUSED
    try:
        _limit_writing(rules)
        # The folder that it stood in so far lies below a folder of the rules.
        os.chdir(os.getcwd())
        # In a namespace below this one, no mount can be made writable again.
        _enter(CLONE_NEWUSER | CLONE_NEWNS)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            # It would look for its parent, whose number is another one in here.
            os.environ.pop("JPY_PARENT_PID", None)
            os.execvp(inner[0], inner)
        while True:
            ended, status = os.wait()
            if ended == child:
                code = _exit_code(status)
                break
    except OSError as error:
        sys.stderr.write(f"no sandbox: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)


def _enter(namespaces: int) -> None:
    """Enter new namespaces, as the same user and group."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", namespaces)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _limit_writing(rules: list[tuple[str, bool]]) -> None:
    """Let nothing be written except below the folders of the rules, in their order."""
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    try:
        safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
        _call("mount", b"proc", b"/proc", b"proc", safe, None)
    except OSError:
        pass  # In some containers; then other processes are seen, but not reached.
    _set_writable("/", False, AT_RECURSIVE)
    _set_writable("/proc", True, 0)
    for path, writable in rules:
        place = os.fsencode(path)
        _call("mount", place, place, None, MS_BIND | MS_REC, None)
        _set_writable(path, writable, AT_RECURSIVE)


def _set_writable(path: str, writable: bool, flags: int) -> None:
    bits = {"clear" if writable else "set": MOUNT_ATTR_RDONLY}
    wanted = _MountAttributes(**bits)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    arguments = AT_FDCWD, os.fsencode(path), flags, ctypes.byref(wanted), size
    _call("syscall", ctypes.c_long(MOUNT_SETATTR), *arguments)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it failed, or there is none of this name.
    """
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError as error:
        raise OSError(f"this system has no {name}") from error
    if name == "mount":
        function.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p]
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _exit_code(status: int) -> int:
    """Return how a process ended as a shell tells it: signals from 128."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
