"""Measure the operators that stay on the CPU, instead of guessing their time.

They are cut out of the file and run here. How much slower the device's host is, tells
the whole file: what the model of its CPU says, over what it takes here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from edgetpu_lib.costs.estimate import Estimate, OperatorTime, on_host
from edgetpu_lib.tflite import cut, interpreter, pipeline

RUNS = 20


def with_measured_cpu(found: Estimate, content: bytes) -> Estimate:
    """Return an estimate whose operators on the CPU were measured here, and scaled.

    Takes seconds; the rest of this machine's work makes it slower.

    Args:
        found: from `estimate_tflite`.
        content: of the same file.

    Raises:
        InputError: the file cannot be cut or run here.
    """
    if not any(operator.on_cpu for operator in found.operators):
        return found
    groups = [
        (on_cpu, list(members))
        for on_cpu, members in itertools.groupby(
            found.operators, key=lambda operator: operator.on_cpu
        )
    ]
    starts = [members[0].cost.index for _, members in groups[1:]]
    files = cut.cut(content, starts)
    host_ms = math.fsum(on_host(o.cost, found.device).cpu_ms for o in found.operators)
    slower = host_ms / _measured_ms(content)
    operators: list[OperatorTime] = []
    for index, (on_cpu, members) in enumerate(groups):
        operators += (
            _shared(members, slower * _measured_ms(files[index])) if on_cpu else members
        )
    return dataclasses.replace(found, operators=tuple(operators), cpu_was_measured=True)


def _measured_ms(content: bytes) -> float:
    """Return the median milliseconds of a file here, on one thread."""
    stage = pipeline.open_stage(content)
    fed = pipeline.noise_for(stage)
    return interpreter.time_calls(lambda: stage(fed), runs=RUNS).p50_ms


def _shared(members: Sequence[OperatorTime], total_ms: float) -> list[OperatorTime]:
    """Share a measured time among operators, by their estimates."""
    guessed_ms = math.fsum(member.cpu_ms for member in members)
    return [
        dataclasses.replace(member, cpu_ms=total_ms * member.cpu_ms / guessed_ms)
        for member in members
    ]
