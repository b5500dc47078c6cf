"""Count operations, weights and activations of each operator of a TFLite file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile

# Bytes an element; types not named here have four.
_BYTES = edge_tpu.by_name(
    (1, "bool int8 uint8"),
    (2, "bfloat16 float16 int16 uint16"),
    (8, "complex64 float64 int64 uint64"),
)


@dataclasses.dataclass(frozen=True)
class OperatorCost:
    """Operations and bytes of one operator, wherever it runs.

    A convolution applies each of its filters at each of its positions. A dense layer
    is one with a single position, a transposed one counts the positions of its input.
    Operators without weights have zeros.

    Attributes:
        index: position in the order of execution.
        kind: "CONV_2D", ….
        output_shape: of the first output, with the batch first.
        positions: where the filters are applied, batch included.
        kernel_area: height × width of a filter, pixels.
        depth: channels of a filter; 1 if it is depthwise.
        filters: number of filters, as many as output channels.
        input_bytes: activations read.
        output_bytes: activations written.
    """

    index: int
    kind: str
    output_shape: tuple[int, ...]
    positions: int = 0
    kernel_area: int = 0
    depth: int = 0
    filters: int = 0
    input_bytes: int = 0
    output_bytes: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return self.positions * self.weight_bytes

    @property
    def weight_bytes(self) -> int:
        """Numbers in the kernel, a byte each, without the bias."""
        return self.kernel_area * self.depth * self.filters

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameters on the device, padded as the compiler pads them."""
        padded_filters = _padded(self.filters, edge_tpu.CELLS_PER_TILE)
        if self.kind == "FULLY_CONNECTED":
            return padded_filters * (self.depth + edge_tpu.DENSE_FILTER_BYTES)
        deep = _padded(self.depth, edge_tpu.MACS_PER_CELL)
        return padded_filters * (self.kernel_area * deep + edge_tpu.FILTER_BYTES)

    @property
    def input_positions(self) -> int:
        """Positions of the map that filters read; 0 without filters."""
        depthwise = self.kind == "DEPTHWISE_CONV_2D"
        channels = self.filters if depthwise else self.depth
        return self.input_bytes // channels if channels else 0

    def occupied_macs(self, depthwise_cost: float) -> float:
        """Return the multiply-accumulate operations, idle multipliers included.

        Positions are distributed over the tiles, filters over the cells of a tile, and
        the depth of a filter over the multipliers of a cell. Where a number is no
        multiple of theirs, some multipliers idle. A depthwise multiplication costs
        as much as `depthwise_cost` others.
        """
        deep = _padded(self.depth, edge_tpu.MACS_PER_CELL)
        return (
            _padded(self.positions, edge_tpu.TILES)
            * _padded(self.filters, edge_tpu.CELLS_PER_TILE)
            * self.kernel_area
            * (depthwise_cost if self.kind == "DEPTHWISE_CONV_2D" else deep)
        )


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def operator_costs(file: TfliteFile) -> list[OperatorCost]:
    """Return the cost of each operator of a file, in order.

    Raises:
        InputError: the tensors of an operator do not fit each other.
    """
    return [_cost(file, operator) for operator in file.operators]


def tensor_bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements; an open size counts as one."""
    elements = math.prod(max(size, 1) for size in tensor.shape)
    return elements * _BYTES.get(tensor.dtype, 4)


def crossing_bytes(file: TfliteFile, on_cpu: Collection[int]) -> tuple[int, int]:
    """Return the bytes of activations sent to the chip, and sent back.

    `on_cpu` holds the indices of the operators that run on the host.
    """
    there = [o for o in file.operators if o.index not in on_cpu]
    here = [o for o in file.operators if o.index in on_cpu]
    read = {i for o in there for i in o.inputs if i >= 0}
    made = {i for o in there for i in o.outputs if i >= 0}
    wanted = {i for o in here for i in o.inputs} | set(file.outputs)
    sent = [file.tensors[i] for i in read - made]
    back = [file.tensors[i] for i in made & wanted]
    sent_bytes = sum(tensor_bytes(t) for t in sent if not t.is_constant)
    return sent_bytes, sum(map(tensor_bytes, back))


def _cost(file: TfliteFile, operator: Operator) -> OperatorCost:
    # An optional input that is left out keeps its place.
    inputs = [file.tensors[i] if i >= 0 else None for i in operator.inputs]
    outputs = [file.tensors[i] for i in operator.outputs if i >= 0]
    given = {i: file.tensors[i] for i in operator.inputs if i >= 0}.values()
    try:
        filters = _filters(operator, inputs, outputs)
    except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
        shapes = [list(tensor.shape) for tensor in given]
        raise InputError(
            f"operator {operator.index}, {operator.kind}, reads shapes {shapes}, which"
            " do not fit each other; convert the model again"
        ) from error
    return OperatorCost(
        operator.index,
        operator.kind,
        outputs[0].shape if outputs else (),
        *filters,
        input_bytes=sum(tensor_bytes(t) for t in given if not t.is_constant),
        output_bytes=sum(map(tensor_bytes, outputs)),
    )


def _filters(
    operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]
) -> tuple[int, int, int, int]:
    """Return positions, kernel area, depth and filters; zeros where there are none."""
    if operator.kind == "FULLY_CONNECTED":
        filters, depth = inputs[1].shape
        return inputs[0].elements // depth, 1, depth, filters
    if operator.kind == "DEPTHWISE_CONV_2D":
        _, height, width, filters = inputs[1].shape
        return outputs[0].elements // filters, height * width, 1, filters
    if operator.kind not in ("CONV_2D", "TRANSPOSE_CONV"):
        return 0, 0, 0, 0
    filters, height, width, depth = inputs[1].shape
    if operator.kind == "CONV_2D":
        positions = outputs[0].elements // filters
    else:
        positions = inputs[2].elements // depth
    return positions, height * width, depth, filters
