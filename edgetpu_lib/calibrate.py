"""Find out how large the numbers inside a network become.

Takes a float TFLite file and calibration images; gives the range of every tensor.
Next: `convert` turns the ranges into scales and zero points.
"""

from __future__ import annotations

import dataclasses
import math
import queue
import re
from collections.abc import Callable, Iterable, Iterator

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tqdm import tqdm

from edgetpu_lib import data
from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.quiet import quiet_native
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite.file import IDENTIFIER

# Of the images, those that a range holds entirely.
SHARE_HELD = 0.99
# Fused activations whose output is never below zero.
_NOT_NEGATIVE = (
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
)


@dataclasses.dataclass(frozen=True)
class TensorRange:
    """What one tensor held over the calibration images.

    Attributes:
        name: of the tensor in the TFLite file.
        low: where its range starts, of nearly all images (see `limits`).
        high: where it ends.
        channel_low: float32 [channels], the smallest value of each channel.
        channel_high: float32 [channels], the largest value of each channel.
    """

    name: str
    low: float
    high: float
    channel_low: np.ndarray
    channel_high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The ranges of all tensors that a network computes.

    Attributes:
        tensors: index of the tensor in the TFLite file → its range.
        images: how many were seen.
    """

    tensors: dict[int, TensorRange]
    images: int

    def of_layer(self, layer_name: str) -> TensorRange:
        """Return the range of what a Keras layer gives out.

        Raises:
            InputError: no tensor bears the layer's name; batch normalisation, for one,
                is folded into the convolution before it.
        """
        # Keras numbers a layer that is called again.
        pattern = re.compile(rf"(^|/){re.escape(layer_name)}(_\d+)?/")
        for found in self.tensors.values():
            if pattern.search(found.name):
                return found
        raise InputError(f"no tensor of the file is named after layer {layer_name!r}")


def device_images(images: data.Images, image_size: int) -> Iterator[np.ndarray]:
    """Load images as a device would see them, one at a time.

    Args:
        images: training images.
        image_size: of the model's input.

    Yields:
        uint8 [image_size, image_size, 3], RGB: rounded, and clipped to 0..255, which
        bicubic interpolation overshoots.

    Raises:
        InputError: an image cannot be used; the message names it.
    """
    return map(pixels.to_uint8, data.iterate_pixels(images, image_size))


def measure_ranges(
    float_tflite: bytes,
    images: Iterable[np.ndarray],
    *,
    total: int | None = None,
    workers: int | None = None,
) -> Ranges:
    """Run images through a float file and note every tensor's smallest and largest.

    The file gets an operator beside each tensor that reduces it to its extremes, so
    that an image costs hardly more than one inference. One interpreter a core works
    on one image each; the result does not depend on how many there are. Of each
    image some hundred numbers are kept.

    Args:
        float_tflite: from `convert.to_float_tflite`.
        images: [size, size, 3] each, RGB, 0..255; from `device_images`.
        total: how many there will be, for the progress bar.
        workers: interpreters at a time; `None` takes one a core.

    Raises:
        InputError: there is no image; one has another shape, holds NaN or infinity,
            or is not 0..255 (it is named by its number); or the network itself gives
            NaN or infinity.
    """
    probe = _with_extremes(float_tflite)
    images = _checked(images, probe.shape)
    extremes = _Extremes(probe)
    for found in tqdm(
        _in_order(probe, images, workers or parallel.cores()),
        "calibration",
        total,
        leave=False,
        unit="image",
        delay=0.5,
    ):
        extremes.add(found)
    return extremes.ranges()


def limits(lows: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ranges that hold all values of nearly every image.

    One image in a hundred may reach beyond, so that a few odd ones do not make the
    steps coarse for all others. Up to a hundred images all are held.

    Args:
        lows: float32 [images, …], the smallest values of each image.
        highs: float32 [images, …], the largest.

    Returns:
        The lower and the upper ends, each a value that occurred.

    Why: with a thousand images, some tensors' largest values were a hundred times the
    median image's, and 8-bit answers fell from 99.5 % to 96.5 % equal ones (the
    checkpoint that ships, CIFAR-10).
    """
    return (
        np.quantile(lows, 1 - SHARE_HELD, axis=0, method="lower"),
        np.quantile(highs, SHARE_HELD, axis=0, method="higher"),
    )


def iterate_ranges(
    float_tflite: bytes, images: Iterable[np.ndarray], *, workers: int | None = None
) -> Iterator[Ranges]:
    """Yield the ranges that each image alone would set.

    Args:
        float_tflite: as `measure_ranges`.
        images: [size, size, 3] each, of any values: nothing is refused here.
        workers: interpreters at a time; `None` takes one a core.

    Raises:
        InputError: the network gives NaN or infinity.
    """
    probe = _with_extremes(float_tflite)
    for found in _in_order(probe, images, workers or parallel.cores()):
        extremes = _Extremes(probe)
        extremes.add(found)
        yield extremes.ranges()


def _checked(
    images: Iterable[np.ndarray], shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """Yield the images; stop at the first that would spoil the ranges."""
    for number, image in enumerate(images):
        fault = _fault_of(np.asarray(image), shape)
        if fault:
            raise InputError(f"calibration image {number} {fault}")
        yield np.asarray(image)


def _fault_of(image: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if image.shape != shape:
        return f"has shape {list(image.shape)}; the model takes {list(shape)}"
    if image.dtype == np.uint8:
        return None
    if image.dtype.kind not in "iuf":
        return f"holds {image.dtype}; give pixels as numbers, 0..255"
    if not np.isfinite(image).all():
        return "holds NaN or infinity; look at what made or scaled it"
    low, high = image.min(), image.max()
    if low < 0 or high > 255:
        return (
            f"spans {low:g} to {high:g}; give pixels as they are, rounded and clipped"
            " to 0..255: they are normalised here"
        )
    if 0 < high <= 1 and image.dtype.kind == "f":
        return (
            f"spans {low:g} to {high:g}; it seems to be divided by 255: give pixels as"
            " they are, 0..255"
        )
    return None


@dataclasses.dataclass(frozen=True)
class _Probe:
    """A float file that gives out the extremes of its tensors.

    Attributes:
        content: of the file.
        shape: of one image.
        outputs: index of the tensor, whether the output is its minimum, and the
            number of channels, for each output of the file.
        names: of all tensors.
    """

    content: bytes
    shape: tuple[int, ...]
    outputs: tuple[tuple[int, bool, int], ...]
    names: tuple[str, ...]


def _with_extremes(float_tflite: bytes) -> _Probe:
    """Add REDUCE_MAX and REDUCE_MIN behind every operator, as outputs of the file."""
    model = unpack(float_tflite)
    graph = model.subgraphs[0]
    names = tuple((tensor.name or b"").decode() for tensor in graph.tensors)
    highest = _add_code(model, schema.BuiltinOperator.REDUCE_MAX)
    lowest = _add_code(model, schema.BuiltinOperator.REDUCE_MIN)
    axes = {rank: _add_axes(model, rank) for rank in (1, 2, 3, 4)}
    operators, outputs, probed = [], [], []
    for operator in graph.operators:
        operators.append(operator)
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", None)
        codes = [highest] if fused in _NOT_NEGATIVE else [highest, lowest]
        for index in operator.outputs:
            shape = list(graph.tensors[index].shape)
            # Per channel, which is the last axis; the tensor itself is discarded while
            # it is still in the processor's cache.
            kept = shape[1:][-1:]
            for code in codes:
                made = _add_tensor(graph, kept)
                operators.append(_reduction(code, int(index), axes[len(shape)], made))
                outputs.append(made)
                probed.append((int(index), code == lowest, math.prod(kept)))
    graph.operators, graph.outputs = operators, outputs
    model.signatureDefs = None
    size = tuple(int(n) for n in graph.tensors[graph.inputs[0]].shape[1:])
    return _Probe(pack(model), size, tuple(probed), names)


def unpack(content: bytes) -> schema.ModelT:
    """Return a TFLite file as objects that can be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def pack(model: schema.ModelT) -> bytes:
    """Return the bytes of a TFLite file; the inverse of `unpack`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _add_code(model: schema.ModelT, builtin: int) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _add_axes(model: schema.ModelT, rank: int) -> int:
    """Store the axes before the last, or the only one, and return the tensor."""
    buffer = schema.BufferT()
    axes = np.arange(max(1, rank - 1), dtype=np.int32)
    buffer.data = np.frombuffer(axes.tobytes(), np.uint8)
    model.buffers.append(buffer)
    graph = model.subgraphs[0]
    index = _add_tensor(graph, [len(axes)])
    graph.tensors[index].type = schema.TensorType.INT32
    graph.tensors[index].buffer = len(model.buffers) - 1
    return index


def _add_tensor(graph: schema.SubGraphT, shape: list[int]) -> int:
    tensor = schema.TensorT()
    tensor.shape, tensor.name = shape, b"probe"
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _reduction(code: int, index: int, axes: int, made: int) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [index, axes], [made]
    operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    operator.builtinOptions = schema.ReducerOptionsT()
    operator.builtinOptions.keepDims = False
    return operator


def _in_order(
    probe: _Probe, images: Iterator[np.ndarray], workers: int
) -> Iterator[np.ndarray]:
    """Yield the extremes of each image, computed by several threads."""
    # Opened here, not in the threads: silencing the runtime is for one at a time.
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for _ in range(workers):
        idle.put(_open(probe))

    def run(image: np.ndarray) -> np.ndarray:
        measure = idle.get()
        try:
            return measure(image)
        finally:
            idle.put(measure)

    return parallel.map_in_order(run, images, workers=workers)


def _open(probe: _Probe) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function: an image to all its extremes, one after the other."""
    with quiet_native():
        # One thread each: whole images in parallel leave no core waiting.
        interpreter = Interpreter(model_content=probe.content, num_threads=1)
        interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = [detail["index"] for detail in interpreter.get_output_details()]

    def run(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken, pixels.normalize(image)[None])
        interpreter.invoke()
        return np.concatenate([interpreter.get_tensor(i).ravel() for i in given])

    return run


class _Extremes:
    """Collects the smallest and largest values of images."""

    def __init__(self, probe: _Probe) -> None:
        self.probe = probe
        sizes = [size for *_, size in probe.outputs]
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        self.of_images: list[np.ndarray] = []
        # Turned around, minima are maxima, too.
        self.signs = np.repeat(
            [np.float32(-1 if low else 1) for _, low, _ in probe.outputs], sizes
        )
        self.worst = np.full(sum(sizes), -np.inf, np.float32)

    def add(self, found: np.ndarray) -> None:
        """Take the extremes of one more image into account."""
        # A convolution cuts infinity down to the largest float.
        finite = np.abs(found) < np.finfo(np.float32).max
        if not finite.all():
            output = np.searchsorted(self.ends, finite.argmin(), side="right")
            name = self.probe.names[self.probe.outputs[output][0]]
            raise InputError(
                f"the network gives NaN or infinity at {name!r} for calibration image"
                f" {len(self.of_images)}; its weights are damaged, or training"
                " diverged"
            )
        extremes = found * self.signs
        np.maximum(self.worst, extremes, out=self.worst)
        self.of_images.append(np.maximum.reduceat(extremes, self.starts))

    def ranges(self) -> Ranges:
        """Return what was collected."""
        if not self.of_images:
            raise InputError("calibration needs at least one image; got none")
        # As `limits`; minima are turned around.
        tops = np.quantile(self.of_images, SHARE_HELD, axis=0, method="higher")
        ends = tops * self.signs[self.starts]
        parts = np.split(self.worst * self.signs, self.ends[:-1])
        lows, highs = {}, {}
        for (index, is_lowest, _), end, values in zip(
            self.probe.outputs, ends, parts, strict=True
        ):
            (lows if is_lowest else highs)[index] = float(end), values
        ranges = {}
        for index, (high, channels) in highs.items():
            low, channel_low = lows.get(index, (0.0, np.zeros_like(channels)))
            ranges[index] = TensorRange(
                self.probe.names[index], low, high, channel_low, channels
            )
        return Ranges(ranges, len(self.of_images))
