"""Which parameters stay on the chip between inferences."""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Sequence

from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.operator_costs import OperatorCost


def cache_bytes(costs: Sequence[OperatorCost]) -> int:
    """Return the bytes of the chip's memory that a network leaves for parameters.

    The larger the map that its filters read, the fewer: `edge_tpu.PARAMETER_CACHE`
    by the side of a square of as many positions.
    """
    side = math.sqrt(max((cost.input_positions for cost in costs), default=0))
    sides = [known for known, _ in edge_tpu.PARAMETER_CACHE]
    sizes = [size for _, size in edge_tpu.PARAMETER_CACHE]
    place = bisect.bisect(sides, side)
    if place in (0, len(sides)):
        return int(sizes[min(place, len(sizes) - 1)] * edge_tpu.MIB)
    before, after = sides[place - 1 : place + 1]
    share = (side - before) / (after - before)
    size = sizes[place - 1] + share * (sizes[place] - sizes[place - 1])
    return int(size * edge_tpu.MIB)


def cached_operators(
    costs: Sequence[OperatorCost], on_cpu: Collection[int] = ()
) -> set[int]:
    """Return the indices of the operators whose parameters stay on the chip.

    An operator keeps all of its parameters or none. Those at the end come first; what
    does not fit is left out, and smaller ones before it still may fit. Both deduced
    from the bytes that the compiler reported as cached and as sent: ResNet-18 for 32
    pixels 7.65 and 3.11 MiB, this rule 7.68 and 3.08; four dense layers of 1,620 units
    5.34 and 2.57, this rule 5.36 and 2.58.

    Args:
        costs: in the order of execution.
        on_cpu: indices of operators that stay on the host.
    """
    free_bytes = cache_bytes(costs)
    cached = set()
    for cost in reversed(costs):
        if cost.index not in on_cpu and cost.parameter_bytes <= free_bytes:
            free_bytes -= cost.parameter_bytes
            cached.add(cost.index)
    return cached
