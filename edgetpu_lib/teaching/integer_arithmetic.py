"""Show the integer arithmetic of a quantized convolution at one place.

Takes an int8 model and an image; gives the inputs and the output of the first
convolution at one place. Used by notebook 4 alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.tflite.edit import with_outputs
from edgetpu_lib.tflite.file import Operator, read_tflite


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """One place and one filter of a quantized convolution with ReLU.

    Attributes:
        patch: int64 [k, k, channels], stored integers under the filter; beyond the
            image's edge the zero point, which represents 0.
        weights: int64 [k, k, channels], stored integers; their zero point is 0.
        bias: stored integer; its scale is input_scale × weight_scale.
        input_scale: of the patch.
        input_zero_point: of the patch.
        weight_scale: of this filter.
        output_scale: of the output.
        output_zero_point: of the output.
        prediction: the stored integer that the runtime computes, −128..127.
    """

    patch: np.ndarray
    weights: np.ndarray
    bias: int
    input_scale: float
    input_zero_point: int
    weight_scale: float
    output_scale: float
    output_zero_point: int
    prediction: int

    @property
    def total(self) -> int:
        """Σ (stored − zero point) × weight + bias, a 32-bit integer."""
        return int(((self.patch - self.input_zero_point) * self.weights).sum()) + (
            self.bias
        )

    @property
    def multiplier(self) -> float:
        """Factor from the total's scale to the output's."""
        return self.input_scale * self.weight_scale / self.output_scale

    @property
    def computed(self) -> int:
        """The output by the formula.

        The runtime multiplies by a fixed-point number and may differ by one where the
        product is near a half.
        """
        stored = round(self.total * self.multiplier) + self.output_zero_point
        # ReLU: nothing below the zero point, which represents 0.
        return min(max(stored, self.output_zero_point), 127)


def first_convolution(
    model: bytes,
    image_u8: np.ndarray,
    *,
    row: int,
    column: int,
    channel: int | None = None,
) -> Place:
    """Return one place of the first convolution of an int8 model.

    Args:
        model: bytes of a `.tflite` file from `convert.quantize`.
        image_u8: uint8 [size, size, 3], RGB, of the file's size.
        row: of the convolution's output.
        column: of the convolution's output.
        channel: which filter; `None` takes the one with the largest output.

    Raises:
        InputError: the file has no quantized convolution, or no such place.
    """
    file = read_tflite(model)
    operator = next((o for o in file.operators if o.kind == "CONV_2D"), None)
    if operator is None or file.tensors[operator.inputs[0]].dtype != "int8":
        raise InputError("the file has no int8 convolution; give a file that has one")
    tensors = [file.tensors[i] for i in (*operator.inputs, *operator.outputs)]
    given, kernel, bias, output = tensors
    shape = output.shape[1:]
    place = (row, column, channel or 0)
    if not all(0 <= n < size for n, size in zip(place, shape, strict=True)):
        raise InputError(
            f"row {row}, column {column}, channel {channel} is no place of an output of"
            f" shape {list(shape)}"
        )
    stored, predictions = _run(model, image_u8, operator)
    if channel is None:
        channel = int(predictions[row, column].argmax())
    filters = np.frombuffer(kernel.stored.data, kernel.dtype).reshape(kernel.shape)
    size = kernel.shape[1]
    stride = operator.options["StrideH"]
    patch = _patch(stored, (row, column), size, stride, shape[0], given.zero_points[0])
    return Place(
        patch=patch,
        weights=filters[channel].astype(np.int64),
        bias=int(np.frombuffer(bias.stored.data, bias.dtype)[channel]),
        input_scale=given.scales[0],
        input_zero_point=given.zero_points[0],
        weight_scale=kernel.scales[channel],
        output_scale=output.scales[0],
        output_zero_point=output.zero_points[0],
        prediction=int(predictions[row, column, channel]),
    )


def _run(
    model: bytes, image_u8: np.ndarray, operator: Operator
) -> tuple[np.ndarray, np.ndarray]:
    """Return an operator's input and output as stored integers, without the batch."""
    indices = [operator.inputs[0], operator.outputs[0]]
    opened = interpreter.start(with_outputs(model, indices))
    opened.set_tensor(opened.get_input_details()[0]["index"], image_u8[None])
    opened.invoke()
    before, behind = (opened.get_tensor(index)[0] for index in indices)
    return before, behind


def _patch(
    stored: np.ndarray,
    place: tuple[int, int],
    size: int,
    stride: int,
    output_size: int,
    zero_point: int,
) -> np.ndarray:
    """Return the input under a filter, with SAME padding at the edges."""
    missing = max((output_size - 1) * stride + size - len(stored), 0)
    before = missing // 2
    around = [(before, missing - before)] * 2 + [(0, 0)]
    padded = np.pad(stored.astype(np.int64), around, constant_values=zero_point)
    top, left = (n * stride for n in place)
    return padded[top : top + size, left : left + size]
