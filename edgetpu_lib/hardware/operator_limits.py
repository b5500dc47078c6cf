"""How the limits of single kinds of operators are written down and found."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator

from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.evidence import Evidence, Rule
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing wrong with one operator.

    Attributes:
        code: stable name, for programs.
        status: what the compiler's log would say of the operator.
        tensor: the tensor concerned, if it is one.
        reason: what was found, with its numbers.
        remedy: what the user can do.
        evidence: what the limit rests on; empty for the rules of any operator, whose
            evidence goes by their code.
    """

    code: str
    status: str
    tensor: Tensor | None
    reason: str
    remedy: str
    evidence: tuple[Evidence, ...] = ()


@dataclasses.dataclass(frozen=True)
class View:
    """An operator with its tensors; `None` where an optional input is left out.

    `runtime` is the newest runtime version that the compiled file may ask for.
    """

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    runtime: int

    @classmethod
    def of(cls, file: TfliteFile, operator: Operator, runtime: int) -> View:
        """Collect the tensors of an operator of a file."""
        inputs = (None if i < 0 else file.tensors[i] for i in operator.inputs)
        outputs = (file.tensors[i] for i in operator.outputs if i >= 0)
        return cls(operator, tuple(inputs), tuple(outputs), runtime)

    def constants(self, position: int) -> list[int]:
        """Return the integers stored in an input, 64 at most; none if left out."""
        known = self.inputs[position : position + 1]
        return known[0].values() if known and known[0] else []


# Kind of operator → functions that yield its problems.
LIMITS: dict[str, list[Callable[[View], Iterator[Problem]]]] = collections.defaultdict(
    list
)
RULES: list[Rule] = []
# The tensor concerned, and the reason.
Excess = Iterator[tuple[Tensor, str]]


def limit(
    kinds: str, code: str, demand: str, *evidence: Evidence, remedy: str
) -> Callable:
    """Register a function that yields what exceeds a limit of these kinds."""
    RULES.append(Rule(code, kinds, demand, evidence))

    def register(find: Callable[[View], Excess]) -> Callable:
        def problems_of(view: View) -> Iterator[Problem]:
            for tensor, reason in find(view):
                status = edge_tpu.LIMITATION
                yield Problem(code, status, tensor, reason, remedy, evidence)

        for kind in kinds.split():
            LIMITS[kind].append(problems_of)
        return find

    return register
