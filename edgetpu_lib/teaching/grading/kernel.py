"""Run one submission in a kernel, then the teacher's checks on what it left behind.

A program: it takes a job as a line of JSON on its standard input and gives a line of
JSON for each event. `process` starts it, watches it and ends it.
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

from edgetpu_lib.teaching.exercise.feedback import shorten
from edgetpu_lib.teaching.grading import judge, processes, sandbox

TOO_SLOW = "TooSlow"
# An interrupted kernel replies at once, unless its code ignores the interrupt.
GRACE_S = 15
# Largest file that a submission may write.
LARGEST_FILE_BYTES = 4_000_000_000
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
# Whatever else the notebook did: the folder it started in, and the library from disk.
SAVE = """
import os as _os
_os.chdir({folder!r})
from edgetpu_lib.teaching.grading import values as _values
_values.save({{n: get_ipython().user_ns.get(n) for n in {names!r}}}, {left!r})
"""
CALL = "_values.call_saved({given!r}, {result!r})"


class _Client(NotebookClient):
    """Keeps no output of cells."""

    def output(self, outs, msg, display_id, cell_index):
        return None

    def handle_comm_msg(self, outs, msg, cell_index):
        return None


class _Ended(Exception):
    """The kernel cannot go on; the message says why."""


def main() -> None:
    """Run the job on the standard input."""
    # All processes of a submission stay below this one, and end with it.
    sandbox.set_process(sandbox.PR_SET_CHILD_SUBREAPER, 1)
    sandbox.set_process(sandbox.PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _end_at_once)
    signal.signal(signal.SIGALRM, _end_at_once)
    receive, send = sandbox.private_streams()
    job = json.loads(receive.readline())
    # In the case that nothing else ends it.
    signal.alarm(math.ceil(job["longest_s"]) + 60)
    limit = (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        # Linux ends these processes first if memory runs out.
        Path("/proc/self/oom_score_adj").write_text("1000")

    def tell(event: dict[str, Any]) -> None:
        sandbox.write_line(send, event)

    try:
        run(job, tell)
    except judge.GraderFailed as failed:
        tell({"failed": str(failed)})
    finally:
        processes.end_below(os.getpid())


def _end_at_once(*_: object) -> None:
    """End this process, whose parent ended, and all below it."""
    processes.end_below(os.getpid())
    os._exit(1)


def run(job: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
    """Run a submission and the checks, and report events.

    Args:
        job: "folder" to run in, "connection" (a path for the kernel's), "rules" of its
            sandbox (or `None`), "student" (sources, or `None`: only set up the checks),
            "cell_s", "total_s" (of the student's cells), "left" and "results" (paths
            that the kernel writes), and what `judge.run_checks` takes.
        tell: called with a dictionary for each event: {"error"}, those of
            `judge.run_checks`, and at last {"end"}.

    Raises:
        judge.GraderFailed: no checks, by no fault of the submission.
    """
    if job["student"] is None:
        tell({"end": judge.run_checks({**job, "left": None}, _no_calls, tell)})
        return
    client = _client(job)
    with client.setup_kernel(
        cwd=job["folder"], env=os.environ | job.get("environment", {})
    ):
        try:
            end = _run_cells(client, job, tell)
            # After the time limit too: they grade what was done in time.
            saving = SAVE.format(**job)
            if error := _ask(client, saving, max(job["cell_s"], GRACE_S)):
                tell({"error": f"saving what it left behind: {error}"})
        except _Ended as ended:
            tell({"end": str(ended)})
            return
        problem = judge.run_checks(job, _Calls(client, job), tell)
        tell({"end": problem or end})


def _no_calls(_: str) -> tuple[str, str]:
    return "there is no kernel", ""


def _run_cells(
    client: _Client, job: dict[str, Any], tell: Callable[[dict[str, Any]], None]
) -> str:
    """Run the submission's cells; return how that ended."""
    deadline = time.monotonic() + job["total_s"]
    prepare = PREPARE.replace("LONGEST", str(LARGEST_OUTPUT))
    _ask(client, prepare, GRACE_S, "before the first cell")
    for number, source in enumerate(job["student"], 1):
        place = f"code cell {number}"
        left_s = deadline - time.monotonic()
        if left_s < 1:
            return f"above the limit of {job['total_s']:g} s before {place}"
        if error := _ask(client, source, min(job["cell_s"], left_s), f"in {place}"):
            tell({"error": f"{place}: {error}"})
    return "graded"


class _Calls:
    """Calls the functions that a submission defined, where they are defined."""

    def __init__(self, client: _Client, job: dict[str, Any]) -> None:
        self._client, self._job = client, job
        self._ended = ""

    def __call__(self, given: str) -> tuple[str, str]:
        """Return an error as one line, or nothing, and the folder of the result."""
        result = str(Path(self._job["results"]) / Path(given).name)
        if not self._ended:
            source = CALL.format(given=given, result=result)
            try:
                return _ask(self._client, source, self._job["cell_s"]), result
            except _Ended as ended:
                self._ended = str(ended)
        return self._ended, result


def _client(job: dict[str, Any]) -> _Client:
    # Local sockets instead of TCP: no ports that two kernels could both take.
    connection = {"transport": "ipc", "connection_file": job["connection"]}
    client = _Client(
        nbformat.v4.new_notebook(),
        kernel_name="python3",
        config=Config(KernelManager=connection),
        allow_errors=True,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": TOO_SLOW, "evalue": "", "traceback": []},
        record_timing=False,
        store_widget_state=False,
    )
    # The notebook may name a kernel that only the student has.
    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    if job.get("rules") is not None:
        kernel = sandbox.command(job.get("rules"), kernel)
    client.create_kernel_manager().kernel_spec.argv = kernel
    return client


def _ask(
    client: _Client, source: str, seconds: float, place: str = "in the checks"
) -> str:
    """Run one cell; return its error as one line, or nothing.

    Args:
        client: with a kernel.
        source: of the cell.
        seconds: until it is interrupted.
        place: to name in an error.

    Raises:
        _Ended: the kernel ended, or cannot be interrupted.
    """
    try:
        reply = _execute(client, source, seconds)
        if _is_late(reply):
            if _is_late(_execute(client, PROBE, GRACE_S)):
                raise _Ended(f"code that cannot be stopped {place}")
            return f"stopped after {seconds:.0f} s"
    except DeadKernelError:
        raise _Ended(f"the kernel ended {place}") from None
    if reply.get("status") == "error":
        return shorten(f"{reply.get('ename')}: {reply.get('evalue')}")
    return ""


def _execute(client: _Client, source: str, seconds: float) -> dict[str, Any]:
    cell = nbformat.v4.new_code_cell(source)
    client.nb.cells.append(cell)
    client.timeout = max(1, math.ceil(seconds))
    replies: list[dict[str, Any]] = []
    client.on_cell_executed = lambda **facts: replies.append(facts["execute_reply"])
    client.execute_cell(cell, len(client.nb.cells) - 1)
    # An empty cell is not sent to the kernel, and has no reply.
    return replies[-1]["content"] if replies else {}


def _is_late(reply: dict[str, Any]) -> bool:
    return reply.get("ename") == TOO_SLOW and not reply.get("traceback")


if __name__ == "__main__":
    main()
