"""The workers of a search end with it, however it ends."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

SEARCH = """
import os, time
from edgetpu_lib.search import workers

def work(_):
    time.sleep(60)

if __name__ == "__main__":
    with workers.open_executor(2) as executor:
        jobs = [executor.submit(work, n) for n in range(2)]
        while len(executor._processes) < 2:
            time.sleep(0.05)
        print(*executor._processes, flush=True)
        jobs[0].result()
"""


@pytest.mark.parametrize("kind", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_workers_of_a_stopped_search_end(tmp_path, kind):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, script], **pipes) as search:
        workers = [psutil.Process(int(pid)) for pid in search.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(1)  # They start.
        search.send_signal(getattr(signal, kind))
        search.wait(10)
    _, alive = psutil.wait_procs(workers, timeout=10)
    for worker in alive:
        worker.kill()
    assert not alive
