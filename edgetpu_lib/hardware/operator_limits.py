"""The limits of single kinds of operators, as one small function each.

The limits are coral.ai's (see `edge_tpu.SUPPORTED`) unless another source is named.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator

from edgetpu_lib.hardware import edge_tpu
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
    """

    code: str
    status: str
    tensor: Tensor | None
    reason: str
    remedy: str


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
# The tensor concerned, and the reason.
_Excess = Iterator[tuple[Tensor, str]]


def _limit(kinds: str, code: str, remedy: str) -> Callable:
    """Register a function that yields what exceeds a limit of these kinds."""

    def register(find: Callable[[View], _Excess]) -> Callable:
        def problems_of(view: View) -> Iterator[Problem]:
            for tensor, reason in find(view):
                yield Problem(code, edge_tpu.LIMITATION, tensor, reason, remedy)

        for kind in kinds.split():
            LIMITS[kind].append(problems_of)
        return find

    return register


@_limit(
    "AVERAGE_POOL_2D MAX_POOL_2D CONCATENATION",
    "fused-activation",
    "apply the activation before it, where it belongs to a convolution",
)
def _fused_activation(view: View) -> _Excess:
    if view.operator.options["FusedActivationFunction"]:
        yield view.outputs[0], f"an activation is fused into {view.operator.kind}"


@_limit(
    "SOFTMAX", "softmax-limit", "give out the logits and take the softmax on the host"
)
def _softmax(view: View) -> _Excess:
    tensor, shape = view.inputs[0], view.inputs[0].shape
    most = edge_tpu.SOFTMAX_MAX_ELEMENTS
    if math.prod(shape[:-1]) > 1:
        yield tensor, f"softmax over shape {list(shape)}: its input must be one row"
    elif shape and shape[-1] > most:
        yield tensor, f"softmax over {shape[-1]:,} elements; at most {most:,}"


# Source of the second: google-coral/edgetpu issue 27.
@_limit(
    "FULLY_CONNECTED",
    "fully-connected-limit",
    "apply the layer to one row, or use a 1 × 1 convolution",
)
def _fully_connected(view: View) -> _Excess:
    tensor, shape = view.outputs[0], view.outputs[0].shape
    if view.operator.options["WeightsFormat"]:
        yield tensor, "shuffled weights; only the default format is known"
    elif math.prod(shape[:-1]) > 1:
        yield tensor, f"output of shape {list(shape)}: only one row is possible"


def _reduced_axes(view: View) -> set[int]:
    """Return the axes that a four-dimensional input is reduced over, 0..3."""
    rank = len(view.inputs[0].shape)
    return {axis % 4 for axis in view.constants(1)} if rank == 4 else set()


@_limit(
    "REDUCE_MAX REDUCE_MIN SUM",
    "reduction-limit",
    "reduce over height, width or channels only",
)
def _reduction(view: View) -> _Excess:
    if 0 in _reduced_axes(view):
        yield view.inputs[0], f"{view.operator.kind} over the batch"


@_limit("MEAN", "mean-limit", "pool with AveragePooling2D over height and width")
def _mean(view: View) -> _Excess:
    tensor, axes = view.inputs[0], _reduced_axes(view)
    positions = math.prod(tensor.shape[-3:-1])
    if 0 in axes:
        yield tensor, "mean over the batch"
    elif 3 in axes and view.runtime < 13:
        yield tensor, f"mean over {tensor.shape[3]} channels; runtime 13 is needed"
    elif 3 in axes and tensor.shape[3] % 4:
        yield tensor, f"mean over {tensor.shape[3]} channels, not 4 × n"
    elif positions > edge_tpu.MEAN_MAX_POSITIONS:
        yield tensor, f"mean of {positions:,} positions; such maps were seen to fail"


# Source of the second: google-coral/edgetpu issues 31 and 187.
@_limit(
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    "resize-limit",
    "enlarge twofold and less at a time, or on the host",
)
def _resize(view: View) -> _Excess:
    tensor, size = view.outputs[0], view.outputs[0].elements
    old, new = view.inputs[0].shape[-3:-1], tensor.shape[-3:-1]
    factor = max(map(lambda a, b: b / max(1, a), old, new), default=1)
    if factor > edge_tpu.RESIZE_MAX_FACTOR:
        yield tensor, f"enlarges {factor:g} times; large factors stay on the CPU"
    elif size > edge_tpu.ACTIVATION_BYTES:
        yield tensor, f"gives {size:,} bytes; large maps stay on the CPU"


@_limit("RESHAPE", "reshape-limit", "reshape on the host")
def _reshape(view: View) -> _Excess:
    tensor, size = view.outputs[0], view.outputs[0].elements
    if size > edge_tpu.ACTIVATION_BYTES:
        yield tensor, f"reshapes {size:,} bytes; some large tensors stay on the CPU"


@_limit("PAD", "pad-limit", "pad height and width only")
def _pad(view: View) -> _Excess:
    paddings, is_old = view.constants(1), view.runtime < 13
    pairs = [paddings[i : i + 2] for i in range(0, len(paddings), 2)]
    if len(pairs) == 4 and any(pairs[0] + (pairs[3] if is_old else [])):
        what = "the batch and, before runtime 13, channels" if is_old else "the batch"
        yield view.inputs[0], f"pads by {pairs}; {what} cannot be padded"


@_limit(
    "CONCATENATION",
    "concatenation-limit",
    "pad with zeros, or concatenate on the host",
)
def _concatenation(view: View) -> _Excess:
    constants = [t for t in view.inputs if t is not None and t.is_constant]
    is_padding = len(view.inputs) == 2 and len(constants) == 1
    if constants and not (is_padding and _is_zero(constants[0])):
        yield (
            constants[0],
            "a constant is concatenated; only zeros to one tensor can be",
        )


def _is_zero(tensor: Tensor) -> bool:
    """Return whether all values of an 8-bit constant are zero."""
    zero_point = tensor.zero_points[0] if tensor.zero_points else 0
    return tensor.elements == 0 or tensor.stored.repeated == zero_point % 256


@_limit("SPLIT", "split-limit", "use another axis")
def _split(view: View) -> _Excess:
    axis = (view.constants(0) or [1])[0]
    if len(view.inputs[1].shape) == 4 and axis % 4 == 0:
        yield view.outputs[0], "SPLIT along the batch"


@_limit("PACK", "pack-limit", "use another axis")
def _pack(view: View) -> _Excess:
    if len(view.outputs[0].shape) == 4 and view.operator.options["Axis"] % 4 == 0:
        yield view.outputs[0], "PACK along the batch"


@_limit(
    "CONV_2D DEPTHWISE_CONV_2D",
    "dilation-limit",
    "use the same dilation in both directions",
)
def _dilation(view: View) -> _Excess:
    high, wide = (view.operator.options[f"Dilation{side}Factor"] for side in "HW")
    depthwise = view.operator.kind == "DEPTHWISE_CONV_2D"
    if high != wide:
        yield view.inputs[0], f"dilation {high} × {wide}; both must be the same"
    elif high > 1 and depthwise and view.runtime < 13:
        yield view.inputs[0], "dilation in a depthwise convolution needs runtime 13"


@_limit(
    "STRIDED_SLICE",
    "strided-slice-limit",
    "slice without steps; use a strided convolution or pool to thin out",
)
def _strided_slice(view: View) -> _Excess:
    strides = view.constants(3)
    masks = [view.operator.options[mask] for mask in ("EllipsisMask", "NewAxisMask")]
    if not set(strides) <= {1} or any(masks):
        yield (
            view.inputs[0],
            f"strides {strides}, ellipsis mask {masks[0]}, new-axis mask {masks[1]};"
            " strides must be 1 and masks 0",
        )


@_limit(
    "PRELU", "prelu-limit", "share the slopes: keras.layers.PReLU(shared_axes=[1, 2])"
)
def _prelu(view: View) -> _Excess:
    tensor, shape = view.inputs[1], view.inputs[1].shape
    if math.prod(shape[:-1]) > 1:
        yield tensor, f"slopes of shape {list(shape)}; one a channel is possible"
