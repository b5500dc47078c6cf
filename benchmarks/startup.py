"""Processor time that the quick commands take, from start to exit.

Prints user + system seconds, the median of nine runs of the whole process.

    python benchmarks/startup.py MODEL.tflite
"""

import resource
import statistics
import subprocess
import sys

RUNS = 9


def cpu_seconds(arguments: list[str]) -> float:
    """Run the command line once and return its user + system seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "edgetpu_lib", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # A model that is not ready is no failure of `check`, although its exit code is 1.
    if done.stderr:
        sys.exit(done.stderr.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print the median of each command."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    for arguments in (["--help"], ["check", sys.argv[1]], ["estimate", sys.argv[1]]):
        median = statistics.median(cpu_seconds(arguments) for _ in range(RUNS))
        print(f"{arguments[0]:10} {median:.3f} s")


if __name__ == "__main__":
    main()
