"""Networks of other people, described operator by operator without being built.

An estimate needs operators and shapes alone. Sources of the shapes: the papers and
torchvision for the named networks, and the descriptions beside the measurements in
mouad-zouhdi/sparta-edgetpu (networks for images of 32 pixels) and in
Jorgitou98/EdgeTPU-QuantRL-Evaluation (plain convolutions, plain dense layers).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection

from edgetpu_lib.hardware.operator_costs import OperatorCost

# Height, width and channels of a map; one byte a number.
Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Described:
    """All that an estimate needs of a network: see `estimate.estimate_operators`."""

    costs: tuple[OperatorCost, ...]
    input_bytes: int
    output_bytes: int
    on_cpu: frozenset[int] = frozenset()


class Sketch:
    """The operators of a network, in the order in which they are added.

    Every method takes the shape of a map and returns the next one; strides round up, as
    with padding "same".
    """

    def __init__(self) -> None:
        """Start without operators."""
        self.costs: list[OperatorCost] = []

    def add_operator(self, kind: str, read: int, out: Shape, **filters: int) -> Shape:
        """Add an operator that reads `read` bytes; `filters` as in `OperatorCost`."""
        moved = {"input_bytes": read, "output_bytes": size(out)}
        self.costs.append(
            OperatorCost(len(self.costs), kind, (1, *out), **filters, **moved)
        )
        return out

    def conv(self, x: Shape, filters: int, kernel: int = 1, stride: int = 1) -> Shape:
        """Add a convolution."""
        return self._filtered("CONV_2D", x, filters, x[2], kernel, stride)

    def depthwise(self, x: Shape, kernel: int = 3, stride: int = 1) -> Shape:
        """Add a depthwise convolution."""
        return self._filtered("DEPTHWISE_CONV_2D", x, x[2], 1, kernel, stride)

    def _filtered(
        self, kind: str, x: Shape, filters: int, depth: int, kernel: int, stride: int
    ) -> Shape:
        out = (-(-x[0] // stride), -(-x[1] // stride), filters)
        return self.add_operator(
            kind,
            size(x),
            out,
            positions=out[0] * out[1],
            kernel_area=kernel**2,
            depth=depth,
            filters=filters,
        )

    def dense(self, inputs: int, outputs: int) -> int:
        """Add a dense layer; return its units."""
        self.add_operator(
            "FULLY_CONNECTED",
            inputs,
            (1, 1, outputs),
            positions=1,
            kernel_area=1,
            depth=inputs,
            filters=outputs,
        )
        return outputs

    def pool(self, x: Shape, stride: int = 2) -> Shape:
        """Add a pooling."""
        out = (-(-x[0] // stride), -(-x[1] // stride), x[2])
        return self.add_operator("MAX_POOL_2D", size(x), out)

    def add(self, x: Shape) -> Shape:
        """Add the sum of two maps of one shape."""
        return self.add_operator("ADD", 2 * size(x), x)

    def same(self, x: Shape, kind: str) -> Shape:
        """Add an operator whose output has the shape of its input."""
        return self.add_operator(kind, size(x), x)

    def join(self, *maps: Shape) -> Shape:
        """Concatenate the channels of maps."""
        out = (*maps[0][:2], sum(x[2] for x in maps))
        return self.add_operator("CONCATENATION", size(out), out)

    def average(self, x: Shape) -> Shape:
        """Add the average over all positions."""
        return self.add_operator("AVERAGE_POOL_2D", size(x), (1, 1, x[2]))

    def classify(self, x: Shape, classes: int) -> Described:
        """Pool a map, add a dense layer, and return the network."""
        self.dense(self.average(x)[2], classes)
        return self.finish()

    def finish(
        self, output_bytes: int | None = None, on_cpu: Collection[int] = ()
    ) -> Described:
        """Return the network; its output is that of the last operator, or larger."""
        return Described(
            tuple(self.costs),
            self.costs[0].input_bytes,
            output_bytes or self.costs[-1].output_bytes,
            frozenset(on_cpu),
        )


def size(x: Shape) -> int:
    return x[0] * x[1] * x[2]


# Networks of images with 32 pixels, and their like at 224.


def basic_block(net: Sketch, x: Shape, channels: int, stride: int) -> Shape:
    y = net.conv(net.conv(x, channels, 3, stride), channels, 3)
    if x != y:
        net.conv(x, channels, 1, stride)
    return net.add(y)


def bottleneck(net: Sketch, x: Shape, channels: int, stride: int) -> Shape:
    """Add a bottleneck block with its stride in the 3 × 3, as torchvision has it."""
    y = net.conv(net.conv(x, channels), channels, 3, stride)
    y = net.conv(y, 4 * channels)
    if x != y:
        net.conv(x, 4 * channels, 1, stride)
    return net.add(y)


def resnet(
    block: Callable, repeats: tuple[int, ...], side: int, classes: int
) -> Described:
    net = Sketch()
    if side == 32:
        x = net.conv((side, side, 3), 64, 3)
    else:
        x = net.pool(net.conv((side, side, 3), 64, 7, 2))
    for stage, number in enumerate(repeats):
        for index in range(number):
            stride = 2 if stage and not index else 1
            x = block(net, x, 64 << stage, stride)
    return net.classify(x, classes)


def vgg19_small() -> Described:
    net, x = Sketch(), (32, 32, 3)
    for index, group in enumerate(([64] * 2, [128] * 2, [256] * 4, [512] * 4)):
        x = net.pool(x) if index else x
        for filters in group:
            x = net.conv(x, filters, 3)
    x = net.pool(x)
    for _ in range(4):
        x = net.conv(x, 512, 3)
    return net.classify(x, 100)


def wide_resnet() -> Described:
    """Return WRN-28-10: pre-activation, so that its batch norms stay operators."""
    net = Sketch()
    x = net.conv((32, 32, 3), 16, 3)
    for width, first in ((160, 1), (320, 2), (640, 2)):
        for index in range(4):
            stride = first if not index else 1
            net.same(net.same(x, "MUL"), "ADD")
            y = net.conv(net.conv(x, width, 3, stride), width, 3)
            if x != y:
                net.conv(x, width, 1, stride)
            x = net.add(y)
    net.same(net.same(x, "MUL"), "ADD")
    return net.classify(x, 100)


# Repeats, channels, stride and expansion of the stages; arXiv 1801.04381, table 2.
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (2, 24, 2, 6),
    (3, 32, 2, 6),
    (4, 64, 2, 6),
    (3, 96, 1, 6),
    (3, 160, 2, 6),
    (1, 320, 1, 6),
)


def inverted(
    net: Sketch, x: Shape, channels: int, stride: int, expansion: int
) -> Shape:
    y = net.conv(x, expansion * x[2]) if expansion > 1 else x
    y = net.conv(net.depthwise(y, stride=stride), channels)
    return net.add(y) if x == y else y


def mobilenet_v2_small() -> Described:
    net = Sketch()
    x = net.conv((32, 32, 3), 32, 3)
    for repeats, channels, first, expansion in MOBILENET_V2:
        for index in range(repeats):
            x = inverted(net, x, channels, 1 if index else first, expansion)
    return net.classify(net.conv(x, 1280), 100)


# Of torchvision's GoogLeNet: 1×1, 3×3 and its reduction, "5×5" (a 3×3) and its
# reduction, 1×1 behind the pool.
INCEPTIONS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def googlenet(side: int, classes: int) -> Described:
    net = Sketch()
    if side == 32:
        x = net.conv((side, side, 3), 64, 7)
    else:
        x = net.pool(net.conv((side, side, 3), 64, 7, 2))
    x = net.conv(net.conv(x, 64), 192, 3)
    for group in INCEPTIONS:
        x = net.pool(x)
        for one, deep3, three, deep5, five, pooled in group:
            x = net.join(
                net.conv(x, one),
                net.conv(net.conv(x, deep3), three, 3),
                net.conv(net.conv(x, deep5), five, 3),
                net.conv(net.pool(x, 1), pooled),
            )
    return net.classify(x, classes)


def squeezenet_small() -> Described:
    """Return SqueezeNet 1.1 with a stem of stride 1."""
    net = Sketch()
    x = net.pool(net.conv((32, 32, 3), 64, 3))
    for index, (narrow, wide) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), *((48, 192),) * 2, *((64, 256),) * 2)
    ):
        x = net.pool(x) if index in (2, 4) else x
        squeezed = net.conv(x, narrow)
        x = net.join(net.conv(squeezed, wide), net.conv(squeezed, wide, 3))
    x = net.conv(x, 100)
    net.average(x)
    return net.finish()


# Plain layers.


def plain_convolutions(filters: int) -> Described:
    """Return five 3 × 3 convolutions of a map of 64 × 64 × 3, given as float."""
    net, x = Sketch(), (64, 64, 3)
    net.add_operator("QUANTIZE", 4 * size(x), x)
    for _ in range(5):
        x = net.conv(x, filters, 3)
    return float_input(net)


def float_input(net: Sketch) -> Described:
    """Return a network whose first operator quantizes on the CPU."""
    found = net.finish(on_cpu=[0])
    return dataclasses.replace(found, input_bytes=net.costs[0].output_bytes)


def plain_dense(units: int, inputs: int, hidden: int) -> Described:
    """Return hidden layers with tanh, and ten outputs."""
    net, x = Sketch(), inputs
    net.add_operator("QUANTIZE", 4 * inputs, (1, 1, inputs))
    for _ in range(hidden):
        x = net.dense(x, units)
        net.same((1, 1, x), "TANH")
    net.dense(x, 10)
    return float_input(net)


# MobileNets at other sizes.


def mobilenet_v1(net: Sketch, x: Shape, width: float, output_stride: int = 32) -> Shape:
    """Add the convolutions of MobileNet v1. Source: arXiv 1704.04861, table 1.

    Where `output_stride` is reached, the rest has stride 1.
    """
    side = x[0]
    x = net.conv(x, round(32 * width), 3, 2)
    steps = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
    for channels, stride in (*steps, *((512, 1),) * 5, (1024, 2), (1024, 1)):
        stride = 1 if side / x[0] > output_stride - 1 else stride
        x = net.conv(net.depthwise(x, stride=stride), round(channels * width))
    return x


def mobilenet_v1_classifier(side: int, width: float) -> Described:
    net = Sketch()
    x = mobilenet_v1(net, (side, side, 3), width)
    net.same(net.conv(net.average(x), 1001), "SOFTMAX")
    return net.finish()


def posenet(height: int, width: int) -> Described:
    """Return PoseNet on MobileNet v1 0.75, output stride 16, four heads of 1 × 1.

    The decoder of its poses, one custom operator on the CPU, is left out.
    """
    net = Sketch()
    x = mobilenet_v1(net, (height, width, 3), 0.75, output_stride=16)
    heads = [net.conv(x, filters) for filters in (17, 34, 32, 32)]
    return net.finish(output_bytes=sum(map(size, heads)))


def deeplab(multiplier: float) -> Described:
    """Return DeepLab v3 on MobileNet v2, 513 pixels, 21 classes.

    Source: Google's file of half width, whose operators this gives for 0.5.
    """
    net = Sketch()
    x = net.conv((513, 513, 3), round(32 * multiplier), 3, 2)
    for stage, (repeats, channels, first, expansion) in enumerate(MOBILENET_V2):
        for index in range(repeats):
            # From output stride 16 on, dilation takes the place of strides.
            stride = 1 if index or stage == 5 else first
            x = inverted(net, x, round(channels * multiplier), stride, expansion)
    pooled = net.average(x)
    local, large = net.conv(x, 256), net.conv(pooled, 256)
    crossing_bytes, first = size(local) + size(large), len(net.costs)
    large = net.add_operator("RESIZE_BILINEAR", size(large), (*x[:2], 256))
    net.same(large, "QUANTIZE")
    x = net.conv(net.join(local, large), 256)
    x = net.same(net.conv(x, 21), "RESIZE_BILINEAR")
    x = net.add_operator("RESIZE_BILINEAR", size(x), (513, 513, 21))
    net.add_operator("ARG_MAX", size(x), (513, 513, 8))
    # What Google's compiler left on the CPU.
    return net.finish(crossing_bytes, on_cpu=range(first, len(net.costs)))


SKETCHES: dict[str, Callable[[], Described]] = {
    "cifar_resnet18": functools.partial(resnet, basic_block, (2, 2, 2, 2), 32, 100),
    "cifar_resnet50": functools.partial(resnet, bottleneck, (3, 4, 6, 3), 32, 100),
    "cifar_vgg19": vgg19_small,
    "cifar_wide_resnet": wide_resnet,
    "cifar_mobilenet_v2": mobilenet_v2_small,
    "cifar_googlenet": functools.partial(googlenet, 32, 100),
    "cifar_squeezenet": squeezenet_small,
    "resnet101": functools.partial(resnet, bottleneck, (3, 4, 23, 3), 224, 1000),
    "resnet152": functools.partial(resnet, bottleneck, (3, 8, 36, 3), 224, 1000),
    "googlenet": functools.partial(googlenet, 224, 1000),
    "mobilenet_v1_half": functools.partial(mobilenet_v1_classifier, 160, 0.5),
    "posenet_353": functools.partial(posenet, 353, 481),
    "posenet_481": functools.partial(posenet, 481, 641),
    "posenet_721": functools.partial(posenet, 721, 1281),
    "deeplab_half": functools.partial(deeplab, 0.5),
    "deeplab": functools.partial(deeplab, 1.0),
    **{
        f"convolutions_{filters}": functools.partial(plain_convolutions, filters)
        for filters in (
            *(32, 62, 72, 92, 122, 132, 192, 252, 312),
            *(382, 392, 442, 452, 512, 522, 632, 642, 742),
        )
    },
    **{
        f"dense_{units}": functools.partial(plain_dense, units, 64, 4)
        for units in (100, 500, 1020, 1300, 1580, 1620, 1980, 2020, 2300, 2620)
    },
    **{
        f"dense5_{units}": functools.partial(plain_dense, units, 6912, 5)
        for units in (2, 502, 762, 782, 1042, 1602)
    },
}
