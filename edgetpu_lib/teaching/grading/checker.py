"""Run the teacher's checks on what a submission left behind, away from its code.

A program: it takes a job as a line of JSON on its standard input and gives a line of
JSON for each event. No code of the submission runs in it.
"""

from __future__ import annotations

import builtins
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets.config import Config

from edgetpu_lib.teaching.exercise.feedback import Feedback, shorten
from edgetpu_lib.teaching.grading import sandbox, values
from edgetpu_lib.teaching.grading.judge import LOADING, SETTING_UP
from edgetpu_lib.teaching.grading.key import names_of

LONGEST_ANSWER = 8000


def main() -> None:
    """Run the job on the standard input."""
    receive, send = sandbox.private_streams()

    def tell(event: dict[str, Any]) -> None:
        sandbox.write_line(send, event)

    job = json.loads(receive.readline())
    calls = itertools.count()

    def call(number: int, arguments: tuple, named: Mapping[str, Any]) -> Any:
        given = f"{job['calls']}-{os.getpid()}-{next(calls)}"
        content = {"number": number, "arguments": arguments, "named": named}
        values.save(content, given)
        tell({"call": given})
        reply = json.loads(receive.readline())
        if reply["error"]:
            raise RuntimeError(reply["error"])
        return values.load(reply["result"], call).get("result")

    run(job, call, tell)


def run(
    job: dict[str, Any], call: Callable[..., Any], tell: Callable[[dict], None]
) -> None:
    """Load what was left behind, run the key's cells, and report events.

    Args:
        job: "left" (folder that `values.save` wrote, or `None`), "names" (of variables
            that the submission makes), "setup" (sources), "checks" ([task, source]),
            "by_hand" ([task, variable]).
        call: as `values.load` takes it.
        tell: called with a dictionary for each event: {"phase"}; {"broken"}, a cell of
            the key that needs nothing of the submission and fails; {"answer", "task"};
            {"begin"}, then {"feedback", "task", "error"}; at last {"done"}.
    """
    tell({"phase": LOADING})
    left = values.load(job["left"], call) if job["left"] else {}
    tell({"phase": SETTING_UP})
    shell = _new_shell()
    given = {name: left[name] for name in job["names"] if name in left}
    shell.user_ns.update(dict.fromkeys(job["names"]) | given)
    _set_up(shell, job["setup"], job["names"], tell)
    for task, variable in job["by_hand"]:
        answer = shell.user_ns.get(variable) or ""
        tell({"answer": str(answer)[:LONGEST_ANSWER], "task": task})
    for task, source in job["checks"]:
        tell({"begin": task})
        ran = shell.run_cell(source, store_history=False)
        made = ran.result if isinstance(ran.result, Feedback) else None
        feedback = dataclasses.asdict(made) if made else None
        tell({"feedback": feedback, "task": task, "error": _error_of(ran)})
    tell({"done": True})


def _new_shell() -> InteractiveShell:
    """Return what runs cells as a notebook does, without the user's own settings."""
    settings = Config(HistoryManager={"enabled": False})
    shell = InteractiveShell.instance(config=settings)
    # Nobody reads what cells show.
    sys.displayhook = shell.displayhook
    return shell


def _set_up(
    shell: InteractiveShell, setup: list[str], names: list[str], tell: Callable
) -> None:
    """Run the cells before the checks; tell which fail without a submission's fault."""
    defined = ({*dir(builtins), *shell.user_ns}) - set(names)
    for number, source in enumerate(setup, 1):
        read, made = names_of(source)
        error = _error_of(shell.run_cell(source, silent=True, store_history=False))
        if not error:
            defined |= made
            continue
        # Otherwise a submission could put its own in the place of what is missing.
        shell.user_ns.update(dict.fromkeys(made))
        if read <= defined:
            tell({"broken": f"cell {number} of the key: {error}"})


def _error_of(ran: ExecutionResult) -> str:
    """Return a cell's error as one line, or nothing."""
    error = ran.error_before_exec or ran.error_in_exec
    return "" if error is None else shorten(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
