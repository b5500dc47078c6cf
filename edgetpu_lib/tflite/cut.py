"""Cut a TFLite file between its operators into files that each stand alone."""

from __future__ import annotations

import collections
import copy
import dataclasses
import operator as compare
from collections.abc import Iterable, Sequence

from ai_edge_litert import schema_py_generated as schema

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite import edit
from edgetpu_lib.tflite.file import TfliteFile, read_tflite


@dataclasses.dataclass(frozen=True)
class Segment:
    """Operators that follow each other in a file, and the tensors at their ends.

    Attributes:
        first: index of the first operator.
        end: index behind the last one.
        inputs: tensors that it reads and others give: the model's input, or segments
            before it, not only the one right before.
        outputs: tensors that later segments read, and outputs of the model.
    """

    first: int
    end: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Graph:
    """Which operators of a file make and read its tensors."""

    def __init__(self, file: TfliteFile) -> None:
        """Look at each operator once."""
        self.file = file
        # What is given to the model was there before its first operator.
        self.made_by = dict.fromkeys(file.inputs, -1)
        self.last_read: dict[int, int] = {}
        for operator in file.operators:
            self.made_by.update(dict.fromkeys(operator.outputs, operator.index))
            self.last_read.update(dict.fromkeys(operator.inputs, operator.index))

    def crossing(self, position: int) -> list[int]:
        """Return the tensors made before an operator and read by it or a later one."""
        return [
            index
            for index, maker in self.made_by.items()
            if maker < position <= self.last_read.get(index, -1)
        ]

    def segment(self, first: int, end: int) -> Segment:
        """Return the segment of the operators from `first` to before `end`."""
        inside = self.file.operators[first:end]
        read = dict.fromkeys(i for operator in inside for i in operator.inputs)
        made = dict.fromkeys(i for operator in inside for i in operator.outputs)
        wanted = [i for i in self.file.outputs if i in made]
        wanted += [i for i in made if self.last_read.get(i, -1) >= end]
        return Segment(
            first,
            end,
            tuple(i for i in read if self.made_by.get(i, first) < first),
            tuple(dict.fromkeys(wanted)),
        )

    def segments(self, positions: Sequence[int]) -> list[Segment]:
        """Return the segments between the start, the positions and the end."""
        bounds = [0, *positions, len(self.file.operators)]
        return list(map(self.segment, bounds[:-1], bounds[1:]))


def cut(content: bytes, positions: Sequence[int]) -> list[bytes]:
    """Return the files of the segments of a TFLite file, in order.

    Quantization, values and names of tensors stay; a tensor at an end whose name is
    empty or not unique gets one, so that segments find each other's tensors by name.
    Signatures and metadata inside the file are left out.

    Args:
        content: of a file with one subgraph.
        positions: indices of the operators that a new segment begins with, rising.

    Raises:
        InputError: the file is damaged, has several subgraphs or stores values behind
            the FlatBuffer, or there is nothing to cut at a position.
    """
    file = read_tflite(content)
    bounds = [0, *positions, len(file.operators)]
    if any(map(compare.ge, bounds[:-1], bounds[1:])):
        raise InputError(
            f"positions {list(positions)} do not rise within 1 …"
            f" {len(file.operators) - 1}; give operators that segments begin with"
        )
    model = edit.unpack(content)
    if file.subgraphs != 1 or any((b.offset or 0) > 1 for b in model.buffers):
        raise InputError(
            "a file with several subgraphs, or with values behind its tables, cannot be"
            " cut; convert the model again without control flow"
        )
    segments = Graph(file).segments(positions)
    names = _unique_names(file, segments)
    return [edit.pack(_part(model, segment, names)) for segment in segments]


def _unique_names(file: TfliteFile, segments: Iterable[Segment]) -> dict[int, bytes]:
    """Return a name for each tensor at an end of a segment."""
    count = collections.Counter(tensor.name for tensor in file.tensors)
    at_ends = {i for s in segments for i in (*s.inputs, *s.outputs)}
    names = {}
    for index in at_ends:
        name = file.tensors[index].name
        is_unique = name and count[name] == 1
        names[index] = (name if is_unique else f"{name}:{index}").encode()
    return names


def _part(
    model: schema.ModelT, segment: Segment, names: dict[int, bytes]
) -> schema.ModelT:
    """Return a model with the operators of a segment and what they use."""
    graph = model.subgraphs[0]
    operators = [copy.copy(o) for o in graph.operators[segment.first : segment.end]]
    ends = (*segment.inputs, *segment.outputs)
    used = {int(i) for o in operators for i in _indices(o)} | set(ends)
    tensors = _Renumbered(used - {-1})
    buffers = _Renumbered({graph.tensors[i].buffer for i in tensors.old} | {0})
    codes = _Renumbered({o.opcodeIndex for o in operators})
    for operator in operators:
        operator.opcodeIndex = codes.new[operator.opcodeIndex]
        for field in ("inputs", "outputs", "intermediates"):
            indices = getattr(operator, field)
            if indices is not None:
                setattr(operator, field, [tensors.new[int(i)] for i in indices])
    part = copy.copy(model)
    part.operatorCodes = [model.operatorCodes[i] for i in codes.old]
    part.buffers = [model.buffers[i] for i in buffers.old]
    part.metadata = part.metadataBuffer = part.signatureDefs = None
    part.subgraphs = [copy.copy(graph)]
    part.subgraphs[0].operators = operators
    part.subgraphs[0].inputs = [tensors.new[i] for i in segment.inputs]
    part.subgraphs[0].outputs = [tensors.new[i] for i in segment.outputs]
    part.subgraphs[0].tensors = [
        _tensor(graph.tensors[i], buffers.new, names.get(i)) for i in tensors.old
    ]
    return part


def _indices(operator: schema.OperatorT) -> list[int]:
    """Return all tensors that an operator names."""
    fields = operator.inputs, operator.outputs, operator.intermediates
    return [i for field in fields if field is not None for i in field]


def _tensor(
    tensor: schema.TensorT, buffers: dict[int, int], name: bytes | None
) -> schema.TensorT:
    tensor = copy.copy(tensor)
    tensor.buffer = buffers[tensor.buffer]
    tensor.name = name or tensor.name
    return tensor


class _Renumbered:
    """Indices that are kept, in their order: `old` holds them, `new` maps to places."""

    def __init__(self, kept: set[int]) -> None:
        self.old = sorted(kept)
        self.new = {old: new for new, old in enumerate(self.old)}
        # Left out stays left out.
        self.new[-1] = -1
