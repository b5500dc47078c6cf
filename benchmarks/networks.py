"""Networks whose latency on the Edge TPU Google published, built again without weights.

Used by `benchmarks/estimate.py`. Most come from `keras.applications`; the others are
written after their papers and TensorFlow's `slim`, with as many parameters. Importing
this module imports Keras.
"""

from __future__ import annotations

import keras
from keras import applications, layers

from edgetpu_lib import build, convert

CLASSES = 1001


def convolved(x, filters, kernel_size, stride=1, padding="same"):
    x = layers.Conv2D(
        filters, kernel_size, strides=stride, padding=padding, use_bias=False
    )(x)
    return layers.ReLU()(layers.BatchNormalization(scale=False)(x))


def chain(x, *steps):
    """Convolve several times; a step is (filters, kernel, stride, padding)."""
    for step in steps:
        x = convolved(x, *step)
    return x


def joined(*branches):
    return layers.Concatenate()(branches)


def largest(x, size=3, stride=2, padding="same"):
    return layers.MaxPooling2D(size, stride, padding=padding)(x)


def average(x):
    return layers.AveragePooling2D(3, 1, padding="same")(x)


def classified(images, x):
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(CLASSES, activation="softmax")(x))


def inception_v1():
    """Return GoogLeNet with batch normalisation. Source: arXiv 1409.4842, table 1."""

    def block(x, one, deep3, three, deep5, five, pooled):
        return joined(
            convolved(x, one, 1),
            chain(x, (deep3, 1), (three, 3)),
            # As in slim, 3 × 3 where the paper has 5 × 5.
            chain(x, (deep5, 1), (five, 3)),
            convolved(largest(x, 3, 1), pooled, 1),
        )

    images = layers.Input((224, 224, 3))
    x = largest(chain(largest(convolved(images, 64, 7, 2)), (64, 1), (192, 3)))
    x = block(x, 64, 96, 128, 16, 32, 32)
    x = largest(block(x, 128, 128, 192, 32, 96, 64))
    x = block(x, 192, 96, 208, 16, 48, 64)
    x = block(x, 160, 112, 224, 24, 64, 64)
    x = block(x, 128, 128, 256, 24, 64, 64)
    x = block(x, 112, 144, 288, 32, 64, 64)
    x = largest(block(x, 256, 160, 320, 32, 128, 128), 2)
    x = block(x, 256, 160, 320, 32, 128, 128)
    return classified(images, block(x, 384, 192, 384, 48, 128, 128))


def inception_v2():
    """Return slim's Inception v2, with a separable first convolution."""

    def block(x, one, deep, three, deeper, five, pooled, pool=average):
        return joined(
            convolved(x, one, 1),
            chain(x, (deep, 1), (three, 3)),
            chain(x, (deeper, 1), (five, 3), (five, 3)),
            convolved(pool(x), pooled, 1),
        )

    def reduced(x, deep, three, deeper, five):
        return joined(
            chain(x, (deep, 1), (three, 3, 2)),
            chain(x, (deeper, 1), (five, 3), (five, 3, 2)),
            largest(x),
        )

    images = layers.Input((224, 224, 3))
    x = layers.DepthwiseConv2D(7, strides=2, padding="same", depth_multiplier=8)(images)
    x = largest(convolved(x, 64, 1))
    x = largest(chain(x, (64, 1), (192, 3)))
    x = block(x, 64, 64, 64, 64, 96, 32)
    x = block(x, 64, 64, 96, 64, 96, 64)
    x = reduced(x, 128, 160, 64, 96)
    x = block(x, 224, 64, 96, 96, 128, 128)
    x = block(x, 192, 96, 128, 96, 128, 128)
    x = block(x, 160, 128, 160, 128, 160, 96)
    x = block(x, 96, 128, 192, 160, 192, 96)
    x = reduced(x, 128, 192, 192, 256)
    x = block(x, 352, 192, 320, 160, 224, 128)
    x = block(x, 352, 192, 320, 192, 224, 128, lambda x: largest(x, 3, 1))
    return classified(images, x)


def inception_v4():
    """Return Inception v4. Source: arXiv 1602.07261, figures 3 to 9."""
    images = layers.Input((299, 299, 3))
    x = chain(images, (32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3))
    x = joined(largest(x, padding="valid"), convolved(x, 96, 3, 2, "valid"))
    x = joined(
        chain(x, (64, 1), (96, 3, 1, "valid")),
        chain(x, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, "valid")),
    )
    x = joined(convolved(x, 192, 3, 2, "valid"), largest(x, padding="valid"))
    for _ in range(4):
        x = joined(
            convolved(x, 96, 1),
            chain(x, (64, 1), (96, 3)),
            chain(x, (64, 1), (96, 3), (96, 3)),
            convolved(average(x), 96, 1),
        )
    x = joined(
        convolved(x, 384, 3, 2, "valid"),
        chain(x, (192, 1), (224, 3), (256, 3, 2, "valid")),
        largest(x, padding="valid"),
    )
    for _ in range(7):
        far = ((192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7)))
        x = joined(
            convolved(x, 384, 1),
            chain(x, (192, 1), (224, (1, 7)), (256, (7, 1))),
            chain(x, (192, 1), *far),
            convolved(average(x), 128, 1),
        )
    x = joined(
        chain(x, (192, 1), (192, 3, 2, "valid")),
        chain(x, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, "valid")),
        largest(x, padding="valid"),
    )
    for _ in range(3):
        near, far = convolved(x, 384, 1), chain(x, (384, 1), (448, (3, 1)))
        far = convolved(far, 512, (1, 3))
        split = [convolved(y, 256, k) for y in (near, far) for k in ((1, 3), (3, 1))]
        pooled = convolved(average(x), 256, 1)
        x = joined(convolved(x, 256, 1), *split, pooled)
    return classified(images, x)


def squeezenet():
    """Return SqueezeNet 1.0. Source: arXiv 1602.07360, table 1."""

    def plain(x, filters, size, stride=1):
        return layers.Conv2D(
            filters, size, strides=stride, padding="same", activation="relu"
        )(x)

    def fire(x, narrow, wide):
        x = plain(x, narrow, 1)
        return joined(plain(x, wide, 1), plain(x, wide, 3))

    images = layers.Input((224, 224, 3))
    x = largest(plain(images, 96, 7, 2))
    x = largest(fire(fire(fire(x, 16, 64), 16, 64), 32, 128))
    for narrow, wide in ((32, 128), (48, 192), (48, 192), (64, 256)):
        x = fire(x, narrow, wide)
    x = plain(fire(largest(x), 64, 256), CLASSES, 1)
    return keras.Model(images, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))


def unet():
    """Return the U-Net of TensorFlow's segmentation tutorial, 128 × 128, 3 classes."""
    base = applications.MobileNetV2(
        input_shape=(128, 128, 3), include_top=False, weights=None
    )
    names = [f"block_{index}_expand_relu" for index in (13, 6, 3, 1)]
    x = base.get_layer("block_16_project").output
    for filters, name in zip((512, 256, 128, 64), names, strict=True):
        x = layers.Conv2DTranspose(
            filters, 3, strides=2, padding="same", use_bias=False
        )(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = joined(x, base.get_layer(name).output)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same")(x)
    return keras.Model(base.input, x)


def edgetpu(size):
    return convert.with_softmax(build.build_model(f"efficientnet-edgetpu-{size}"))


def application(name, size, **options):
    make = getattr(applications, name)
    return make(weights=None, input_shape=(size, size, 3), classes=CLASSES, **options)


# Key in the published table → how to build it.
BUILDERS = {
    "edgetpu_s": lambda: edgetpu("S"),
    "edgetpu_m": lambda: edgetpu("M"),
    "edgetpu_l": lambda: edgetpu("L"),
    "mobilenet_v1_quarter": lambda: application("MobileNet", 128, alpha=0.25),
    "mobilenet_v1": lambda: application("MobileNet", 224),
    "mobilenet_v2": lambda: application("MobileNetV2", 224),
    "squeezenet": squeezenet,
    "inception_v1": inception_v1,
    "inception_v2": inception_v2,
    "inception_v3": lambda: application("InceptionV3", 299),
    "inception_v4": inception_v4,
    "inception_resnet_v2": lambda: application("InceptionResNetV2", 299),
    "resnet50_v1": lambda: application("ResNet50", 299),
    "resnet50_v2": lambda: application("ResNet50V2", 299),
    "resnet152_v2": lambda: application("ResNet152V2", 299),
    "densenet": lambda: application("DenseNet121", 224),
    "vgg16": lambda: application("VGG16", 224),
    "vgg19": lambda: application("VGG19", 224),
    "unet": unet,
}


def build_network(key):
    """Return a network; its batch normalisations shift, so that none is optimised away.

    Args:
        key: of `BUILDERS`.
    """
    keras.utils.set_random_seed(0)
    model = BUILDERS[key]()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.beta.assign(layer.beta + 0.1)
            layer.moving_mean.assign(layer.moving_mean + 0.1)
    return model
