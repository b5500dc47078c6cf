"""Small models from elsewhere: each is right on all images under its own contract only.

They tell three shades of grey apart. What they take for a pixel differs.
"""

import keras
import numpy as np
from PIL import Image

SHADES = {"bright": 205, "dark": 50, "middle": 128}
SIZE = 16
# Name → (mean, stddev) of the model's input.
SCALES = {
    "raw": (0.0, 1.0),
    "unit": (0.0, 255.0),
    "signed": (127.5, 127.5),
    "own": (127.0, 128.0),
    "odd": (90.0, 40.0),
}


def draw(folder, per_class=4):
    """Draw class folders of grey noise; return the folder."""
    rng = np.random.default_rng(0)
    for name, shade in SHADES.items():
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = rng.normal(shade, 5, (SIZE, SIZE, 3)).clip(0, 255)
            # Black and white are in each, so that all bytes are calibrated.
            row, column = rng.integers(2, 10, 2)
            pixels[row : row + 2, column : column + 2] = 0
            pixels[row + 2 : row + 4, column : column + 2] = 255
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / name / f"{index}.png")
    return folder


def classifier(
    scale, *, front=(), dtype="float32", shape=(SIZE, SIZE), ends="softmax", name=None
):
    """Return a model that takes (pixel − mean) / stddev, behind the layers in front.

    Each class's score is the nearness of the image's mean to its shade.
    """
    mean, stddev = SCALES[scale]
    shades = (np.array(list(SHADES.values())) - mean) / stddev
    sharpness = 8 / (60 / stddev) ** 2
    image = x = keras.Input((*shape, 3), dtype=dtype)
    for layer in front:
        x = layer(x)
    if dtype != "float32":
        x = keras.ops.cast(x, "float32")
    x = keras.layers.Conv2D(4, 3, padding="same", name="pixel")(x)
    x = keras.layers.AveragePooling2D(shape, name="pool")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, name="nearness")(x)
    if ends:
        x = keras.layers.Activation(ends)(x)
    model = keras.Model(image, x, name=name)
    # Its padding keeps a converter from folding what is in front into its weights.
    centre = np.zeros((3, 3, 3, 4))
    centre[1, 1] = 1 / 3
    model.get_layer("pixel").set_weights([centre, np.zeros(4)])
    kernel = np.tile(2 * shades * sharpness / 4, (4, 1))
    model.get_layer("nearness").set_weights([kernel, -(shades**2) * sharpness])
    return model


def binary(ends="sigmoid", name=None):
    """Return a model of one score: whether an image of 0..1 is bright."""
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    x = keras.layers.Dense(1, activation=ends, name="bright")(x)
    model = keras.Model(image, x, name=name)
    model.get_layer("bright").set_weights([np.full((3, 1), 10.0), np.array([-15.0])])
    return model


def to_tflite(model, low=None, high=None, kind="uint8", images_u8=None):
    """Convert with TensorFlow's own converter; int8 if a range of inputs is given.

    It is calibrated on `images_u8`, which are scaled to the range, or on ramps.
    """
    import tensorflow as tf

    shape = (1, *model.input_shape[1:])
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec(shape, model.inputs[0].dtype)],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()], model
    )
    converter.experimental_lower_to_saved_model = False
    if low is not None:
        dtype = model.inputs[0].dtype
        rows = [np.full(shape, value, dtype) for value in (low, high)]
        steps = np.linspace(low, high, np.prod(shape), dtype=np.float32)
        rows.append(steps.reshape(shape).astype(dtype))
        if images_u8 is not None:
            rows = list(np.float32(low + images_u8 / 255 * (high - low))[:, None])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row] for row in rows)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = getattr(tf, kind)
        converter.inference_output_type = getattr(tf, kind)
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter.convert()


def ends_of(scale):
    """Return what the bytes 0 and 255 are for a model."""
    mean, stddev = SCALES[scale]
    return (0 - mean) / stddev, (255 - mean) / stddev
