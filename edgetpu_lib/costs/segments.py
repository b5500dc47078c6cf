"""Choose where to cut a TFLite file for several Edge TPUs, by estimated time."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.costs.estimate import (
    DEVICES,
    Estimate,
    estimate_operators,
    estimate_tflite,
)
from edgetpu_lib.hardware.edge_tpu import MIB
from edgetpu_lib.hardware.operator_costs import (
    crossing_bytes,
    operator_costs,
    tensor_bytes,
)
from edgetpu_lib.tflite.cut import Graph, Segment, cut
from edgetpu_lib.tflite.file import TfliteFile, read_bytes, read_tflite

# Each tensor at a boundary travels to the host and back; a residual block has two.
MAX_CROSSING = 2
_BYTES_ONLY = ("int8", "uint8")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A file cut into segments, each for one Edge TPU, with estimated times.

    Attributes:
        whole: estimate of the file on one Edge TPU.
        segments: operators and ends of each segment, in order.
        contents: the files.
        estimates: of each segment alone.
        reason: why there are fewer segments than asked for, or "".
    """

    whole: Estimate
    segments: tuple[Segment, ...]
    contents: tuple[bytes, ...] = dataclasses.field(repr=False)
    estimates: tuple[Estimate, ...]
    reason: str

    @property
    def interval_ms(self) -> float:
        """Time from one image to the next: that of the slowest segment."""
        return max(estimate.latency_ms for estimate in self.estimates)

    @property
    def latency_ms(self) -> float:
        """Time of one image through all segments, without waiting."""
        return math.fsum(estimate.latency_ms for estimate in self.estimates)

    @property
    def images_per_s(self) -> float:
        """Images per second of the pipeline, if nothing but the chips limits it."""
        return 1e3 / self.interval_ms

    @property
    def copies_per_s(self) -> float:
        """Images per second of as many Edge TPUs that each run the whole file."""
        return len(self.segments) * 1e3 / self.whole.latency_ms


def plan_segments(
    model: str | Path | bytes,
    segments: int,
    *,
    device: str = "usb",
    clock: str = "max",
    stop: bool = True,
) -> Plan:
    """Cut an int8 file into segments for a pipeline of Edge TPUs.

    Boundaries lie where up to `MAX_CROSSING` tensors of bytes cross, and no more bytes
    than beside. Of all cuts there it takes those that leave the fewest parameters to be
    sent for every inference; of these, those whose slowest segment is the fastest.

    Args:
        model: path or bytes of an int8 `.tflite` file, not compiled.
        segments: number of segments wanted, 2 or more.
        device: key of `DEVICES`, the same for all segments.
        clock: as for `estimate_tflite`.
        stop: make fewer segments, but two at least, where a further boundary costs more
            than the sending of parameters that it saves.

    Raises:
        InputError: the file cannot be estimated or cut.
    """
    name, content = read_bytes(model)
    if segments < 2:
        raise InputError(f"{segments} segments are no pipeline; ask for 2 or more")
    whole = estimate_tflite(model, device=device, clock=clock)
    file = read_tflite(content, name=name)
    on_cpu = {o.cost.index for o in whole.operators if o.on_cpu}
    places = _places(file, on_cpu) if len(on_cpu) < len(file.operators) else []
    if not places:
        raise InputError(
            f"{name} has no place to cut: no boundary between operators with up to"
            f" {MAX_CROSSING} tensors of bytes; convert it to int8, or run the whole"
            " file on each device"
        )
    score = _scores(file, on_cpu, whole)
    found = _best_cuts(score, [0, *places, len(file.operators)], segments)
    count = _worthwhile(found) if stop else len(found)
    positions = found[count - 1].positions
    contents = tuple(cut(content, positions))
    return Plan(
        whole=whole,
        segments=tuple(Graph(file).segments(positions)),
        contents=contents,
        estimates=tuple(
            estimate_tflite(part, device=device, clock=clock) for part in contents
        ),
        reason=_reason(found, count, segments, len(places)),
    )


@dataclasses.dataclass(frozen=True, order=True)
class _Score:
    """Of a segment, or of several: what is compared first stands first."""

    streamed_bytes: int = 0
    slowest_ms: float = 0.0
    total_ms: float = 0.0
    positions: tuple[int, ...] = ()

    def then(self, other: _Score, position: int) -> _Score:
        """Return the score of these segments and one more, which begins there."""
        return _Score(
            self.streamed_bytes + other.streamed_bytes,
            max(self.slowest_ms, other.slowest_ms),
            self.total_ms + other.total_ms,
            (*self.positions, position),
        )


def _places(file: TfliteFile, on_cpu: Collection[int]) -> list[int]:
    """Return the operators that a segment may begin with, between mapped ones.

    A boundary that more bytes cross than the one before or after it is left out.
    """
    graph = Graph(file)
    mapped = [o.index for o in file.operators if o.index not in on_cpu]
    size_bytes = {}
    for position in range(mapped[0] + 1, mapped[-1] + 1):
        crossing = [file.tensors[i] for i in graph.crossing(position)]
        are_bytes = all(tensor.dtype in _BYTES_ONLY for tensor in crossing)
        if are_bytes and 1 <= len(crossing) <= MAX_CROSSING:
            size_bytes[position] = sum(map(tensor_bytes, crossing))
    return [
        position
        for position, own in size_bytes.items()
        if own <= min(size_bytes.get(position + step, own) for step in (-1, 1))
    ]


def _scores(
    file: TfliteFile, on_cpu: Collection[int], whole: Estimate
) -> Callable[[int, int], _Score]:
    """Return a function: first operator and end of a segment → its score.

    Operators are on the CPU where they are in the whole file.
    """
    graph, costs = Graph(file), operator_costs(file)

    @functools.cache
    def score(first: int, end: int) -> _Score:
        segment = graph.segment(first, end)
        ends = {"inputs": segment.inputs, "outputs": segment.outputs}
        inside = file.operators[first:end]
        part = dataclasses.replace(file, operators=inside, **ends)
        sent_bytes, returned_bytes = crossing_bytes(part, on_cpu)
        found = estimate_operators(
            costs[first:end],
            [index for index in on_cpu if first <= index < end],
            input_bytes=sent_bytes,
            output_bytes=returned_bytes,
            device=DEVICES[whole.device.name],
            clock=whole.clock,
        )
        return _Score(found.streamed_bytes, found.latency_ms, found.latency_ms)

    return score


def _best_cuts(
    score: Callable[[int, int], _Score], bounds: Sequence[int], segments: int
) -> list[_Score]:
    """Return the best cuts into 1, 2, … segments, by dynamic programming.

    Args:
        score: of the segment between two bounds.
        bounds: 0, where segments may begin, and the number of operators; rising.
        segments: the most.
    """
    last = len(bounds) - 1
    # The best cuts of what is before each bound.
    best = {j: score(0, bounds[j]) for j in range(1, last + 1)}
    found = [best[last]]
    for count in range(2, min(segments, last) + 1):
        best = {
            end: _with_one_more(score, bounds, best, end)
            for end in range(count, last + 1)
        }
        found.append(best[last])
    return found


def _with_one_more(
    score: Callable[[int, int], _Score],
    bounds: Sequence[int],
    best: dict[int, _Score],
    end: int,
) -> _Score:
    """Return the best cuts before a bound that have one segment more than `best`."""
    return min(
        best[start].then(score(bounds[start], bounds[end]), bounds[start])
        for start in range(min(best), end)
    )


def _worthwhile(found: Sequence[_Score]) -> int:
    """Return how many segments to make: until one more only costs time, at least 2."""
    for count in range(2, len(found)):
        if found[count].total_ms >= found[count - 1].total_ms:
            return count
    return len(found)


def _reason(found: Sequence[_Score], count: int, segments: int, places: int) -> str:
    """Return why there are fewer segments than asked for, or ""."""
    if count == segments:
        return ""
    if count == len(found):
        return f"there are only {places} places to cut"
    less, more = found[count - 1], found[count]
    left = "no parameters are"
    if less.streamed_bytes:
        left = f"{less.streamed_bytes / MIB:.2f} MiB of parameters are still"
    return (
        f"a further boundary costs {more.total_ms - less.total_ms:.2f} ms more an image"
        f" than it saves: {left} sent for every inference; without this stop,"
        f" {len(found)} segments give {1e3 / found[-1].slowest_ms:.0f} images/s instead"
        f" of {1e3 / less.slowest_ms:.0f}"
    )
