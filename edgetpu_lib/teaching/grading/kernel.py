"""Run one submission in a kernel, then the teacher's checks in the same kernel.

A program: it takes a job as JSON on its standard input and appends events to a journal.
`process` starts it, watches it and ends it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from traitlets.config import Config

from edgetpu_lib.base.journal import Journal
from edgetpu_lib.teaching.exercise.feedback import MIME, shorten

TOO_SLOW = "TooSlow"
# An interrupted kernel replies at once, unless its code ignores the interrupt.
GRACE_S = 15
# Largest file that a submission may write.
LARGEST_FILE_BYTES = 4_000_000_000
LONGEST_ANSWER = 8000
# Characters that one cell may print; a training with progress bars prints thousands.
LARGEST_OUTPUT = 10_000_000

# exit() and quit() would end the kernel, and with it all results. Output is limited
# inside the kernel: one that prints in a loop sends nothing, and keeps all of it.
# IPython sets `write` for every cell; so does this, after it.
PREPARE = """
def _prepare(longest):
    import sys
    shell = get_ipython()
    shell.ask_exit = lambda: None
    def limited(write, printed):
        def write_some(text):
            printed[0] += len(text)
            if printed[0] > longest:
                more = f"this cell printed more than {longest:,} characters"
                raise RuntimeError(more)
            return write(text)
        write_some.unlimited = write
        return write_some
    def limit(info):
        for stream in (sys.stdout, sys.stderr):
            write = getattr(stream.write, "unlimited", stream.write)
            stream.write = limited(write, [0])
    shell.events.register("pre_run_cell", limit)
_prepare(LONGEST)
del _prepare
"""
PROBE = "None"
# Restores the library, whatever the notebook did to it, and Python's built-in names,
# since students use `list`, `sum` and `max` for variables.
FRESH = """
import builtins as _builtins
import os as _os
import sys as _sys
for _name in _builtins.dir(_builtins):
    if not _name.startswith("_"):
        _builtins.globals().pop(_name, None)
for _name in list(_sys.modules):
    if _name.split(".")[0] == "edgetpu_lib":
        del _sys.modules[_name]
_os.chdir({folder!r})
from edgetpu_lib.teaching.exercise import feedback as _feedback
"""
DEFAULTS = "for _name in {names!r}:\n    globals().setdefault(_name, None)"
ANSWER = (
    "_feedback.Feedback({task!r}, 0, 0, '',"
    " str(globals().get({variable!r}) or '')[:{longest}])"
)


class _Client(NotebookClient):
    """Keeps no output of cells except the results of the grader's own."""

    def output(self, outs, msg, display_id, cell_index):
        own = self.nb.cells[cell_index].metadata.get("grader")
        if own and msg["msg_type"] == "execute_result":
            return super().output(outs, msg, display_id, cell_index)
        return None

    def handle_comm_msg(self, outs, msg, cell_index):
        return None


class _Stopped(Exception):
    """The kernel cannot go on; the message says why."""


def main() -> None:
    """Run the job on the standard input."""
    job = json.load(sys.stdin)
    # Ends this process and its kernel if the grader itself was killed.
    signal.alarm(math.ceil(job["total_s"] + 2 * job["cell_s"]) + 60)
    limit = (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        # Linux ends these processes first if memory runs out.
        Path("/proc/self/oom_score_adj").write_text("1000")
    run(job, Journal(job["events"], {}).append)


def run(job: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
    """Run a submission and the checks, and report events.

    Args:
        job: "folder" to run in, "connection" (a path for the kernel's), "student",
            "setup" (sources), "checks" ([task, source]), "by_hand" ([task, variable]),
            "names", "cell_s", "total_s" (of the student's cells).
        tell: called with a dictionary for each event: {"error"}, {"feedback", "task",
            "error"}, {"answer", "task"}, and at last {"end"}.
    """
    client = _client(job)
    with client.setup_kernel(cwd=job["folder"]):
        place = "before the first cell"
        deadline = time.monotonic() + job["total_s"]
        end = "graded"
        try:
            _ask(client, PREPARE.replace("LONGEST", str(LARGEST_OUTPUT)), GRACE_S)
            for number, source in enumerate(job["student"], 1):
                place = f"code cell {number}"
                left_s = deadline - time.monotonic()
                if left_s < 1:
                    end = f"above the limit of {job['total_s']:g} s before {place}"
                    break
                error, _ = _ask(client, source, min(job["cell_s"], left_s))
                if error:
                    tell({"error": f"{place}: {error}"})
            place = "the checks"
            # After the time limit too: they grade what was done in time.
            _run_checks(client, job, tell)
            tell({"end": end})
        except DeadKernelError:
            tell({"end": f"the kernel ended in {place}"})
        except _Stopped as stopped:
            tell({"end": f"{stopped} in {place}"})


def _client(job: dict[str, Any]) -> _Client:
    # Local sockets instead of TCP: no ports that two kernels could both take.
    connection = {"transport": "ipc", "connection_file": job["connection"]}
    return _Client(
        nbformat.v4.new_notebook(),
        # The notebook may name a kernel that only the student has.
        kernel_name="python3",
        config=Config(KernelManager=connection),
        allow_errors=True,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": TOO_SLOW, "evalue": "", "traceback": []},
        record_timing=False,
        store_widget_state=False,
    )


def _ask(
    client: _Client, source: str, seconds: float, *, own: bool = False
) -> tuple[str, dict[str, Any] | None]:
    """Run one cell; return its error as one line, or nothing, and its feedback.

    Args:
        client: with a kernel.
        source: of the cell.
        seconds: until it is interrupted.
        own: whether the cell is the grader's, and its feedback counts.

    Raises:
        DeadKernelError: the kernel ended.
        _Stopped: it cannot be interrupted.
    """
    reply, shown = _execute(client, source, seconds, own)
    if _is_late(reply):
        if _is_late(_execute(client, PROBE, GRACE_S, False)[0]):
            raise _Stopped("code that cannot be stopped")
        return f"stopped after {seconds:.0f} s", None
    if reply.get("status") == "error":
        return shorten(f"{reply.get('ename')}: {reply.get('evalue')}"), None
    return "", shown


def _execute(
    client: _Client, source: str, seconds: float, own: bool
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    cell = nbformat.v4.new_code_cell(source, metadata={"grader": own})
    client.nb.cells.append(cell)
    client.timeout = max(1, math.ceil(seconds))
    replies: list[dict[str, Any]] = []
    client.on_cell_executed = lambda **facts: replies.append(facts["execute_reply"])
    client.execute_cell(cell, len(client.nb.cells) - 1)
    shown = [out.data[MIME] for out in cell.outputs if MIME in out.get("data", {})]
    # An empty cell is not sent to the kernel, and has no reply.
    return replies[-1]["content"] if replies else {}, shown[-1] if shown else None


def _is_late(reply: dict[str, Any]) -> bool:
    return reply.get("ename") == TOO_SLOW and not reply.get("traceback")


def _run_checks(
    client: _Client, job: dict[str, Any], tell: Callable[[dict[str, Any]], None]
) -> None:
    cell_s = job["cell_s"]
    _ask(client, FRESH.format(folder=os.path.abspath(job["folder"])), cell_s)
    for source in job["setup"]:
        # If one fails, its names stay undefined, and the checks fail.
        _ask(client, source, cell_s)
    _ask(client, DEFAULTS.format(names=job["names"]), cell_s)
    for task, source in job["checks"]:
        error, feedback = _ask(client, source, cell_s, own=True)
        tell({"feedback": feedback, "task": task, "error": error})
    for task, variable in job["by_hand"]:
        source = ANSWER.format(task=task, variable=variable, longest=LONGEST_ANSWER)
        _, feedback = _ask(client, source, cell_s, own=True)
        tell({"answer": (feedback or {}).get("found", ""), "task": task})


if __name__ == "__main__":
    main()
