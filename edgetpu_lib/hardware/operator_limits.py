"""The limits of single kinds of operators, as one small function each.

Takes an operator and its tensors; gives the limit that it exceeds, if any. The limits
are coral.ai's (see `edge_tpu.SUPPORTED`) unless another source is named.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

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
    """An operator with its tensors at hand.

    Attributes:
        operator: the operator.
        inputs: its tensors; `None` where an optional one is left out.
        outputs: its tensors.
        runtime: newest runtime version the compiled file may ask for.
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

    def activations(self) -> list[Tensor]:
        """Return the tensors that are computed, not stored."""
        computed = [t for t in self.inputs if t is not None and not t.is_constant]
        return [*computed, *self.outputs]


def limit(code: str, tensor: Tensor | None, reason: str, remedy: str) -> Problem:
    """Return the problem of an operator that is supported, but not like this."""
    return Problem(code, edge_tpu.LIMITATION, tensor, reason, remedy)


def _softmax(view: View) -> Problem | None:
    shape = view.inputs[0].shape
    if math.prod(shape[:-1]) > 1:
        reason = f"softmax over shape {list(shape)}: its input must be one row"
    elif shape and shape[-1] > edge_tpu.SOFTMAX_MAX_ELEMENTS:
        reason = (
            f"softmax over {shape[-1]:,} elements; at most"
            f" {edge_tpu.SOFTMAX_MAX_ELEMENTS:,}"
        )
    else:
        return None
    remedy = "give out the logits and take the softmax on the host"
    return limit("softmax-limit", view.inputs[0], reason, remedy)


def _fully_connected(view: View) -> Problem | None:
    shape = view.outputs[0].shape
    if view.operator.options["WeightsFormat"]:
        reason = "shuffled weights; only the default format is known"
    elif math.prod(shape[:-1]) > 1:
        reason = f"output of shape {list(shape)}: only one row is possible"
    else:
        return None
    remedy = "apply the layer to one row, or use a 1 × 1 convolution"
    # Source of the second: google-coral/edgetpu issue 27.
    return limit("fully-connected-limit", view.outputs[0], reason, remedy)


def _reduced_axes(view: View) -> list[int]:
    rank = len(view.inputs[0].shape)
    return [axis % max(1, rank) for axis in view.constants(1)]


def _reduction(view: View) -> Problem | None:
    tensor, axes = view.inputs[0], _reduced_axes(view)
    if len(tensor.shape) == 4 and 0 in axes:
        return limit(
            "reduction-limit",
            tensor,
            f"{view.operator.kind} over the batch",
            "reduce over height, width or channels only",
        )
    return None


def _mean(view: View) -> Problem | None:
    tensor, axes = view.inputs[0], _reduced_axes(view)
    channels = tensor.shape[-1] if tensor.shape else 1
    positions = math.prod(tensor.shape[-3:-1])
    over_channels = len(tensor.shape) == 4 and 3 in axes
    if len(tensor.shape) == 4 and 0 in axes:
        reason = "mean over the batch"
    elif over_channels and (channels % 4 or view.runtime < 13):
        reason = f"mean over {channels} channels"
        reason += "; runtime 13 is needed" if view.runtime < 13 else ", not 4 × n"
    elif positions > edge_tpu.MEAN_MAX_POSITIONS:
        reason = f"mean of {positions:,} positions; such maps were seen to fail"
    else:
        return None
    remedy = "pool with AveragePooling2D over height and width"
    return limit("mean-limit", tensor, reason, remedy)


def _resize(view: View) -> Problem | None:
    old, new = view.inputs[0].shape[-3:-1], view.outputs[0].shape[-3:-1]
    factor = max(map(lambda a, b: b / max(1, a), old, new), default=1)
    if factor > edge_tpu.RESIZE_MAX_FACTOR:
        reason = f"enlarges {factor:g} times; large factors stay on the CPU"
    elif view.outputs[0].elements > edge_tpu.ACTIVATION_BYTES:
        # Source: google-coral/edgetpu issues 31 and 187.
        reason = f"gives {view.outputs[0].elements:,} bytes; large maps stay on the CPU"
    else:
        return None
    remedy = "enlarge twofold and less at a time, or on the host"
    return limit("resize-limit", view.outputs[0], reason, remedy)


def _reshape(view: View) -> Problem | None:
    size = view.outputs[0].elements
    if size <= edge_tpu.ACTIVATION_BYTES:
        return None
    return limit(
        "reshape-limit",
        view.outputs[0],
        f"reshapes {size:,} bytes; some reshapes of large tensors stay on the CPU",
        "reshape on the host",
    )


def _pad(view: View) -> Problem | None:
    paddings = view.constants(1)
    pairs = [paddings[i : i + 2] for i in range(0, len(paddings), 2)]
    free = [0] if view.runtime >= 13 else [0, 3]
    if len(pairs) != 4 or not any(any(pairs[axis]) for axis in free):
        return None
    return limit(
        "pad-limit",
        view.inputs[0],
        f"pads by {pairs}; the batch"
        + ("" if view.runtime >= 13 else " and, before runtime 13, channels")
        + " cannot be padded",
        "pad height and width only",
    )


def _concatenation(view: View) -> Problem | None:
    constants = [t for t in view.inputs if t is not None and t.is_constant]
    if not constants:
        return None
    if len(view.inputs) == 2 and len(constants) == 1 and _is_zero(constants[0]):
        return None
    return limit(
        "concatenation-limit",
        constants[0],
        "a constant is concatenated; only zeros, to one other tensor, can be",
        "pad with zeros, or concatenate on the host",
    )


def _is_zero(tensor: Tensor) -> bool:
    """Return whether all values of an 8-bit constant are zero."""
    zero_point = tensor.zero_points[0] if tensor.zero_points else 0
    return tensor.elements == 0 or tensor.stored.repeated == zero_point % 256


def _along_batch(view: View, axis: int, rank: int) -> Problem | None:
    if rank != 4 or axis % rank:
        return None
    return limit(
        f"{view.operator.kind.lower()}-limit",
        view.outputs[0],
        f"{view.operator.kind} along the batch",
        "use another axis",
    )


def _split(view: View) -> Problem | None:
    axis = (view.constants(0) or [1])[0]
    return _along_batch(view, axis, len(view.inputs[1].shape))


def _pack(view: View) -> Problem | None:
    axis = view.operator.options["Axis"]
    return _along_batch(view, axis, len(view.outputs[0].shape))


def _dilation(view: View) -> Problem | None:
    options = view.operator.options
    high, wide = options["DilationHFactor"], options["DilationWFactor"]
    depthwise = view.operator.kind == "DEPTHWISE_CONV_2D"
    if high != wide:
        reason = f"dilation {high} × {wide}; both must be the same"
    elif high > 1 and depthwise and view.runtime < 13:
        reason = "dilation in a depthwise convolution needs runtime 13"
    else:
        return None
    remedy = "use the same dilation in both directions"
    return limit("dilation-limit", view.inputs[0], reason, remedy)


def _strided_slice(view: View) -> Problem | None:
    strides = view.constants(3)
    masks = [view.operator.options[mask] for mask in ("EllipsisMask", "NewAxisMask")]
    if set(strides) <= {1} and not any(masks):
        return None
    return limit(
        "strided-slice-limit",
        view.inputs[0],
        f"strides {strides}, ellipsis mask {masks[0]}, new-axis mask {masks[1]};"
        " strides must be 1 and masks 0",
        "slice without steps; use a strided convolution or pool to thin out",
    )


def _prelu(view: View) -> Problem | None:
    shape = view.inputs[1].shape
    if math.prod(shape[:-1]) <= 1:
        return None
    return limit(
        "prelu-limit",
        view.inputs[1],
        f"slopes of shape {list(shape)}; one a channel is possible",
        "share the slopes: keras.layers.PReLU(shared_axes=[1, 2])",
    )


LIMITS: dict[str, Callable[[View], Problem | None]] = {
    "CONCATENATION": _concatenation,
    "CONV_2D": _dilation,
    "DEPTHWISE_CONV_2D": _dilation,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "PACK": _pack,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
}
