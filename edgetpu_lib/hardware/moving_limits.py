"""The limits of operators that move and resize data, as one small function each."""

from __future__ import annotations

from edgetpu_lib.hardware import edge_tpu
from edgetpu_lib.hardware.evidence import RECALLED, TABLE, guess, issues, pair
from edgetpu_lib.hardware.operator_limits import Excess, View, limit
from edgetpu_lib.tflite.file import Tensor

_RESIZE = "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR"
_SMALL_STEPS = "enlarge twofold and less at a time, or on the host"


@limit(
    _RESIZE,
    "resize-limit",
    f"enlarges at most {edge_tpu.RESIZE_MAX_FACTOR} times",
    pair("DeepLab of google-coral/test_data: 1 → 33 stays"),
    guess("where the limit lies"),
    remedy=_SMALL_STEPS,
)
def _resize_factor(view: View) -> Excess:
    old, new = view.inputs[0].shape[-3:-1], view.outputs[0].shape[-3:-1]
    factor = max(map(lambda a, b: b / max(1, a), old, new), default=1)
    if factor > edge_tpu.RESIZE_MAX_FACTOR:
        reason = f"enlarges {factor:g} times; large factors stay on the CPU"
        yield view.outputs[0], reason


@limit(
    _RESIZE,
    "resize-limit",
    f"gives at most {edge_tpu.ACTIVATION_BYTES / edge_tpu.MIB:.0f} MiB",
    issues(31, 187),
    guess("where the limit lies"),
    remedy=_SMALL_STEPS,
)
def _resize_size(view: View) -> Excess:
    tensor, size = view.outputs[0], view.outputs[0].elements
    if size > edge_tpu.ACTIVATION_BYTES:
        yield tensor, f"gives {size:,} bytes; large maps stay on the CPU"


@limit(
    "RESHAPE",
    "reshape-limit",
    f"gives at most {edge_tpu.ACTIVATION_BYTES / edge_tpu.MIB:.0f} MiB",
    TABLE,
    guess("where the limit lies: the table says that some large ones are not mapped"),
    remedy="reshape on the host",
)
def _reshape(view: View) -> Excess:
    tensor, size = view.outputs[0], view.outputs[0].elements
    if size > edge_tpu.ACTIVATION_BYTES:
        yield tensor, f"reshapes {size:,} bytes; some large tensors stay on the CPU"


@limit(
    "PAD",
    "pad-limit",
    "leaves the batch as it is and, before runtime 13, the channels",
    TABLE,
    guess("channels from runtime 13"),
    remedy="pad height and width only",
)
def _pad(view: View) -> Excess:
    paddings, is_old = view.constants(1), view.runtime < 13
    pairs = [paddings[i : i + 2] for i in range(0, len(paddings), 2)]
    if len(pairs) == 4 and any(pairs[0] + (pairs[3] if is_old else [])):
        what = "the batch and, before runtime 13, channels" if is_old else "the batch"
        yield view.inputs[0], f"pads by {pairs}; {what} cannot be padded"


@limit(
    "CONCATENATION",
    "concatenation-limit",
    "joins computed tensors, or one and a constant of zeros",
    TABLE,
    remedy="pad with zeros, or concatenate on the host",
)
def _concatenation(view: View) -> Excess:
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


@limit(
    "SPLIT",
    "split-limit",
    "is not along the batch, unless into one part, which does nothing",
    RECALLED,
    pair("one published compilation maps a SPLIT into one part along the batch"),
    remedy="use another axis",
)
def _split(view: View) -> Excess:
    axis = (view.constants(0) or [1])[0]
    is_batch = len(view.inputs[1].shape) == 4 and axis % 4 == 0
    if is_batch and len(view.outputs) > 1:
        yield view.outputs[0], f"SPLIT along the batch into {len(view.outputs)} parts"


@limit(
    "TILE",
    "tile-limit",
    "spreads a map of 1 × 1 over height and width",
    pair("one published compilation of a network that does so"),
    remedy="let a sum or product broadcast it, or repeat it on the host",
)
def _tile(view: View) -> Excess:
    shape, times = view.inputs[0].shape, view.constants(1)
    is_map = len(shape) == 4 and shape[1:3] == (1, 1)
    spreads = len(times) == 4 and times[0] == times[3] == 1
    if not (is_map and spreads):
        reason = f"repeats shape {list(shape)} {times} times; 1 × 1 maps only"
        yield view.inputs[0], reason


@limit("PACK", "pack-limit", "is not along the batch", TABLE, remedy="use another axis")
def _pack(view: View) -> Excess:
    if len(view.outputs[0].shape) == 4 and view.operator.options["Axis"] % 4 == 0:
        yield view.outputs[0], "PACK along the batch"


@limit(
    "STRIDED_SLICE",
    "strided-slice-limit",
    "has strides of 1, no ellipsis and no new axis",
    TABLE,
    remedy="slice without steps; use a strided convolution or pool to thin out",
)
def _strided_slice(view: View) -> Excess:
    strides = view.constants(3)
    masks = [view.operator.options[mask] for mask in ("EllipsisMask", "NewAxisMask")]
    if not set(strides) <= {1} or any(masks):
        yield (
            view.inputs[0],
            f"strides {strides}, ellipsis mask {masks[0]}, new-axis mask {masks[1]};"
            " strides must be 1 and masks 0",
        )
