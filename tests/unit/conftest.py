"""What several tests need: images, a slim model, its TFLite files, checkpoints."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

# Before any figure: they are drawn without a screen. Not by the environment, which
# would reach the notebooks' kernels.
matplotlib.use("Agg")

MODEL_NAME = "efficientnet-edgetpu-S"
# Nine blocks of eight to 24 channels: every kind of block, and quick to convert.
SLIM = {
    "width_coefficient": 0.1,
    "depth_coefficient": 0.3,
    "num_classes": 3,
    "image_size": 32,
}
CLASS_COLOURS = {"blue": (50, 70, 170), "green": (60, 160, 70), "red": (170, 60, 50)}
AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture
def tidy_figures():
    """Draw in the library's style, and leave neither figures nor settings behind."""
    import matplotlib.pyplot as plt

    from edgetpu_lib.plots import common as plots

    with matplotlib.rc_context():
        plots.use_style()
        yield
        plt.close("all")


@pytest.fixture(scope="session")
def repo_root():
    """Return the folder of the repository."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared(repo_root):
    """Return a function: a path in the folder beside the repository, or a skip."""

    def find(name):
        path = repo_root.parent / "shared" / name
        if not path.exists():
            pytest.skip(f"needs {path}")
        return path

    return find


@pytest.fixture(scope="session")
def golden(repo_root):
    """Return the arrays that the reference implementation computed."""
    with np.load(repo_root / "tests/golden/tiny_checkpoint_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def draw_folders():
    """Return a function that draws class folders of coloured noise, 30..199 only.

    Half are JPEG, half PNG; sizes vary; the same arguments give the same images.
    """

    def draw(folder, per_class=10, seed=0):
        rng = np.random.default_rng(seed)
        for name, colour in CLASS_COLOURS.items():
            (folder / name).mkdir(parents=True)
            for index in range(per_class):
                height, width = rng.integers(36, 60, 2)
                image = rng.normal(colour, 12, (height, width, 3))
                array = Image.fromarray(image.clip(30, 199).astype(np.uint8))
                suffix = ("jpg", "png")[index % 2]
                array.save(folder / name / f"{index:02}.{suffix}", quality=95)
        return folder

    return draw


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory, draw_folders):
    """Return a folder of three class folders, ten images each; read only."""
    return draw_folders(tmp_path_factory.mktemp("pictures") / "colours")


@pytest.fixture(scope="session")
def images(class_folders):
    """Return the images of `class_folders`."""
    from edgetpu_lib import data

    return data.list_images(class_folders)


@pytest.fixture(scope="session")
def cut_photo():
    """Return a function that cuts an image of a folder so that it falls in a split."""
    from edgetpu_lib import data

    def cut(folder, side):
        path = folder / "red" / "00.jpg"
        content = path.read_bytes()
        for length in range(len(content) // 2, 0, -1):
            # Its content decides on which side an image falls.
            path.write_bytes(content[:length])
            if path in data.split_images(data.list_images(folder))[side].paths:
                return path
        raise AssertionError(f"never in {side}")

    return cut


@pytest.fixture
def shards(tmp_path, images):
    """Return a folder of three training shards and one validation shard."""
    import tensorflow as tf

    def example(encoded, label):
        features = {
            "image/encoded": tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[encoded])
            ),
            "image/class/label": tf.train.Feature(
                int64_list=tf.train.Int64List(value=[label])
            ),
        }
        content = tf.train.Example(features=tf.train.Features(feature=features))
        return content.SerializeToString()

    folder = tmp_path / "shards"
    folder.mkdir()
    names = [f"train-{n:05}-of-00003" for n in range(3)] + ["validation-00000-of-00001"]
    for turn, name in enumerate(names):
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for index in range(turn, len(images), 4):
                content = images.paths[index].read_bytes()
                writer.write(example(content, int(images.labels[index]) + 1))
    (folder / "labels.txt").write_text("background\nblue\ngreen\nred\n")
    return folder


@pytest.fixture(scope="session")
def slim():
    """Return the model name and overrides of the slim model, as flags."""
    return [f"--model_name={MODEL_NAME}", *(f"--{k}={v}" for k, v in SLIM.items())]


@pytest.fixture(scope="session")
def new_model():
    """Return a function that builds a fresh, seeded slim model."""
    import keras

    from edgetpu_lib import build

    def make(seed=0, model_name=MODEL_NAME, **overrides):
        keras.utils.set_random_seed(seed)
        return build.build_model(model_name, **{**SLIM, **overrides})

    return make


@pytest.fixture(scope="session")
def classifier(new_model, images):
    """Return a slim model that tells the three colours apart; read only.

    Its blocks are random; its classifier compares features with each class's mean.
    """
    from edgetpu_lib import build, data
    from edgetpu_lib.images import pixels

    model = new_model()
    arrays = pixels.normalize(data.load_pixels(images, 32))
    pooled = build.feature_model(model, "pooled_features").predict(arrays, verbose=0)
    features = pooled.reshape(len(images), -1)
    centre = features.mean(axis=0)
    means = np.stack([features[images.labels == c].mean(axis=0) for c in range(3)])
    kernel = (means - centre).T
    bias = -((means - centre) * (means + centre)).sum(axis=1) / 2
    logits = features @ kernel + bias
    sharpness = 3 / logits.std()
    model.get_layer("logits").set_weights([kernel * sharpness, bias * sharpness])
    return model


@pytest.fixture(scope="session")
def float_tflite(classifier, tmp_path_factory):
    """Return the path of the classifier's float file."""
    from edgetpu_lib import convert

    path = tmp_path_factory.mktemp("float") / "slim_float.tflite"
    path.write_bytes(convert.to_float_tflite(convert.with_softmax(classifier)))
    return path


@pytest.fixture(scope="session")
def int8_tflite(classifier, images, tmp_path_factory):
    """Return the path of the classifier's integer file.

    It is calibrated on images that hold neither black nor white.
    """
    from edgetpu_lib import convert

    path = tmp_path_factory.mktemp("int8") / "slim_quant.tflite"
    path.write_bytes(convert.to_int8_tflite(convert.with_softmax(classifier), images))
    return path


@pytest.fixture(scope="session")
def write_checkpoint():
    """Return a function that writes tensors as a TensorFlow-1 checkpoint folder."""
    import tensorflow as tf

    def write(folder, tensors):
        folder.mkdir(parents=True)
        names = list(tensors)
        tf.raw_ops.SaveV2(
            prefix=str(folder / "model.ckpt-7"),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(tensors[name]) for name in names],
        )
        (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"\n')
        return folder

    return write


@pytest.fixture(scope="session")
def slim_tensors(new_model):
    """Return the tensors of a slim checkpoint: raw, averaged, and the step."""
    from edgetpu_lib import checkpoint

    rng = np.random.default_rng(1)
    tensors = {"global_step": np.int64(7)}
    for name, variable in checkpoint.reference_names(new_model()).items():
        # Positive, so that variances are.
        raw = rng.uniform(0.05, 0.15, variable.shape).astype(np.float32)
        tensors[name] = raw
        tensors[name + AVERAGE] = raw + np.float32(0.01)
    return tensors


@pytest.fixture(scope="session")
def slim_checkpoint(tmp_path_factory, write_checkpoint, slim_tensors):
    """Return the folder of a checkpoint that fits the slim model; read only."""
    return write_checkpoint(
        tmp_path_factory.mktemp("checkpoint") / "slim", slim_tensors
    )


@pytest.fixture
def run(capfd):
    """Return a function: arguments of a command to (exit code, output, errors)."""
    from edgetpu_lib.commands.main import main

    def call(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return call
