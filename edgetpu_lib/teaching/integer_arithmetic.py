"""Show the arithmetic of a quantized convolution, number by number.

Takes an 8-bit file and an image; gives what goes into one place of the first
convolution and what comes out. Used by the notebooks; nothing else computes this way.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.tflite.edit import with_outputs
from edgetpu_lib.tflite.file import Operator, Tensor, TfliteFile, read_tflite


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """One place and one filter of a quantized convolution with ReLU.

    Attributes:
        patch: int64 [k, k, channels], the stored integers under the filter; beyond the
            image's edge the zero point, which stands for 0.
        weights: int64 [k, k, channels], the filter's integers; their zero point is 0.
        bias: an integer of the scale input_scale × weight_scale.
        input_scale: of the patch.
        input_zero_point: of the patch.
        weight_scale: of this filter.
        output_scale: of the answer.
        output_zero_point: of the answer.
        prediction: the stored integer that the runtime finds at this place, −128..127.
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
        """Σ (stored − zero point) × weight + bias: integers alone, 32 bits."""
        return int(((self.patch - self.input_zero_point) * self.weights).sum()) + (
            self.bias
        )

    @property
    def multiplier(self) -> float:
        """What leads from the total's scale to the answer's."""
        return self.input_scale * self.weight_scale / self.output_scale

    @property
    def computed(self) -> int:
        """The answer as the formula has it, before the runtime is asked.

        The runtime multiplies by a fixed-point number, and may differ by one where the
        product is near a half.
        """
        stored = round(self.total * self.multiplier) + self.output_zero_point
        # ReLU: nothing below the integer that stands for 0.
        return min(max(stored, self.output_zero_point), 127)


def first_convolution(
    model: bytes,
    image_u8: np.ndarray,
    *,
    row: int,
    column: int,
    channel: int | None = None,
) -> Place:
    """Return one place of the first convolution of an 8-bit file.

    Args:
        model: bytes of a `.tflite` file from `convert.quantize`.
        image_u8: uint8 [size, size, 3], RGB, of the file's size.
        row: of the convolution's output.
        column: of the convolution's output.
        channel: which filter; `None` takes the one that answers most.

    Raises:
        InputError: the file has no quantized convolution, or no such place.
    """
    file = read_tflite(model)
    operator = next((o for o in file.operators if o.kind == "CONV_2D"), None)
    if operator is None or file.tensors[operator.inputs[0]].dtype != "int8":
        raise InputError("the file has no 8-bit convolution; give it one that has")
    given, kernel, bias, output = _tensors(file, operator)
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


def _tensors(file: TfliteFile, operator: Operator) -> list[Tensor]:
    """Return input, kernel, bias and output of a convolution."""
    return [file.tensors[i] for i in (*operator.inputs, *operator.outputs)]


def _run(
    model: bytes, image_u8: np.ndarray, operator: Operator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored integers before and behind an operator, without the batch."""
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
    """Cut out what lies under a filter, with what SAME padding adds at the edges."""
    missing = max((output_size - 1) * stride + size - len(stored), 0)
    before = missing // 2
    around = [(before, missing - before)] * 2 + [(0, 0)]
    padded = np.pad(stored.astype(np.int64), around, constant_values=zero_point)
    top, left = (n * stride for n in place)
    return padded[top : top + size, left : left + size]
