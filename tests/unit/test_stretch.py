"""A model that is trained on stretched images gets such ones wherever it runs."""

import json
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import calibrate, checkpoint, convert, data, deploy, evaluate
from edgetpu_lib.base.artifacts import InputError, metadata_path, read_metadata
from edgetpu_lib.base.metadata import resize_of
from edgetpu_lib.bundle.contents import Bundle
from edgetpu_lib.commands.main import main
from edgetpu_lib.evaluation import classifiers
from edgetpu_lib.images import graph, pixels
from edgetpu_lib.training import augment, features
from edgetpu_lib.training.settings import FineTuneConfig, Recipe
from edgetpu_lib.web import classifier as page

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 40)}
SLIM = ("--width_coefficient=0.1", "--depth_coefficient=0.3", "--image_size=32")


@pytest.fixture(scope="module")
def borders(tmp_path_factory):
    """Draw oblong images whose class shows where a crop cuts: at their short ends."""
    folder = tmp_path_factory.mktemp("borders")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for index in range(14):
            image = rng.normal(120, 12, (40, 90, 3))
            image[:, :20] = image[:, -20:] = colour
            array = Image.fromarray(image.clip(0, 255).astype(np.uint8))
            array.save(folder / name / f"{index:02}.{('png', 'jpg')[index % 2]}")
    return folder


@pytest.fixture(scope="module")
def fitted(borders, tmp_path_factory):
    """Fine-tune on stretched images and export; return the folder of both files."""
    folder = tmp_path_factory.mktemp("models")
    keras_file, int8 = folder / "model.keras", folder / "int8.tflite"
    where = f"--data_dir={borders}"
    tuned = ["fine-tune", where, *SLIM, "--resize=stretch", "--pretrained=False"]
    settings = ("--epochs=15", "--batch_size=8", "--scratch_learning_rate=0.01")
    assert main([*tuned, *settings, f"--output={keras_file}"]) == 0
    exported = ["export", f"--model={keras_file}", where, f"--output_tflite={int8}"]
    saved = f"--output_saved_model_dir={folder / 'saved'}"
    assert main([*exported, saved, "--min_agreement=0"]) == 0
    return folder


def top1(model, images, **options):
    predictions = evaluate.predict(
        classifiers.open_classifier(model, **options), images
    )
    return (predictions.best == images.labels).mean()


@pytest.mark.parametrize("name", ["model.keras", "int8.tflite", "saved"])
def test_files_say_it_and_evaluation_obeys(fitted, borders, name):
    assert read_metadata(fitted / name)["resize"] == "stretch"
    images = data.list_images(borders)
    assert top1(fitted / name, images) > 0.9
    assert top1(fitted / name, images, resize="crop") < 0.7


def test_the_test_accuracy_is_of_stretched_images(fitted):
    assert read_metadata(fitted / "model.keras")["test"]["top1"] > 0.9


def test_files_without_the_field_are_of_crops(fitted, tmp_path):
    copied = shutil.copy(fitted / "int8.tflite", tmp_path)
    assert classifiers.open_classifier(copied).resize == "crop"
    metadata = read_metadata(fitted / "int8.tflite")
    metadata.pop("resize")
    metadata_path(copied).write_text(json.dumps(metadata))
    assert classifiers.open_classifier(copied).resize == "crop"


def test_metadata_of_another_file_are_not_taken(fitted, tmp_path, capsys):
    copied = tmp_path / "int8.tflite"
    copied.write_bytes((fitted / "int8.tflite").read_bytes() + b"0")
    shutil.copy(metadata_path(fitted / "int8.tflite"), tmp_path)
    with pytest.raises(InputError, match="another file"):
        classifiers.open_classifier(copied)
    assert classifiers.open_classifier(copied, resize="stretch").resize == "stretch"


@pytest.mark.parametrize("value", ["squash", "square", 1, ["crop"], True])
def test_unknown_value_in_the_metadata_is_named(fitted, tmp_path, value):
    copied = shutil.copy(fitted / "int8.tflite", tmp_path)
    metadata = read_metadata(fitted / "int8.tflite") | {"resize": value}
    metadata_path(copied).write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="resize"):
        classifiers.open_classifier(copied)


def test_classify_obeys_on_a_board_and_with_keras(fitted, borders):
    found = {}
    for name in COLOURS:
        image = borders / name / "00.png"
        found[name] = deploy.score_image(fitted / "int8.tflite", image)
        whole = pixels.to_uint8(pixels.load_on_device(image, 32, resize="stretch"))
        expected = classifiers.open_classifier(fitted / "int8.tflite").predict(
            whole[None].astype(np.float32)
        )
        np.testing.assert_array_equal(found[name], expected[0])
        of_keras = classifiers.image_scorer(fitted / "model.keras")(image)
        assert of_keras.argmax() == found[name].argmax()
    assert [scores.argmax() for scores in found.values()] == [0, 1, 2]


def test_resize_may_be_given_to_classify(fitted, borders, capsys):
    image = f"--example_img={borders / 'red' / '00.png'}"
    command = ["classify", f"--model={fitted / 'int8.tflite'}", image, "--json"]
    stretched = json.loads(_output(capsys, command))
    assert stretched["predictions"][0]["label"] == "red"
    cropped = json.loads(_output(capsys, [*command, "--resize=crop"]))
    assert cropped != stretched


def _output(capsys, command):
    capsys.readouterr()
    assert main(command) == 0
    return capsys.readouterr().out


def test_two_models_are_compared_each_on_its_own_pixels(fitted, borders, capsys):
    plain = fitted / "plain.tflite"
    shutil.copy(fitted / "int8.tflite", plain)
    command = ["evaluate", f"--model={fitted / 'int8.tflite'}", f"--against={plain}"]
    command += [f"--data_dir={borders}", "--split=all", "--json"]
    found = json.loads(_output(capsys, command))
    assert (found["resize"], found["against"]["resize"]) == ("stretch", "crop")
    assert found["top1"] > found["against"]["top1"]


def test_saved_model_stretches_the_files_it_is_given(fitted, borders):
    import tensorflow as tf

    served = tf.saved_model.load(fitted / "saved").signatures["encoded_images"]
    paths = [borders / name / f"0{n}.{end}" for name in COLOURS for n, end in KINDS]
    (scores,) = served(tf.constant([path.read_bytes() for path in paths])).values()
    expected = list(map(classifiers.image_scorer(fitted / "saved"), paths))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


KINDS = ((0, "png"), (1, "jpg"))


def test_report_and_diagnosis_obey(fitted, borders, tmp_path, capsys):
    model = fitted / "model.keras"
    command = ["report", str(model), f"--data_dir={borders}", f"--output={tmp_path}"]
    (row,) = json.loads(_output(capsys, [*command, "--json"]))
    assert row["float"]["top1"] > 0.9
    int8 = tmp_path / "model_quant.tflite"
    assert read_metadata(int8)["resize"] == "stretch"
    command = ["diagnose", f"--float={model}", f"--int8={int8}"]
    capsys.readouterr()
    main([*command, f"--data_dir={borders}", "--split=all", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["float_top1"] > 0.9
    assert not {cause["code"] for cause in found["causes"]} & {
        *("preprocessing-crop", "preprocessing-no-crop")
    }


def test_calibration_images_are_stretched(borders):
    images = data.list_images(borders)
    found = next(calibrate.device_images(images, 32, resize="stretch"))
    expected = data.load_image(images.paths[0], 32, resize="stretch")
    np.testing.assert_array_equal(found, pixels.to_uint8(expected))


def test_oblong_input_is_refused(borders, tmp_path, new_oblong):
    images = data.list_images(borders)
    with pytest.raises(InputError, match="square"):
        next(calibrate.device_images(images, (24, 32), resize="stretch"))
    with pytest.raises(InputError, match="square"):
        classifiers.open_classifier(new_oblong, mean=0, stddev=1, resize="stretch")
    path = tmp_path / "oblong.tflite"
    path.write_bytes(convert.to_float_tflite(new_oblong))
    with pytest.raises(InputError, match="square"):
        deploy.score_image(path, images.paths[0], pixel_scale=(0, 1), resize="stretch")


@pytest.fixture
def new_oblong():
    import keras

    layers = keras.layers
    pooled = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((24, 32, 3)), *pooled])


@pytest.mark.parametrize("size", [24, 32])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("shape", [(30, 77), (77, 30), (24, 24), (1, 9), (400, 300)])
def test_loaders_stretch_alike(tmp_path, size, suffix, shape):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (5, 5, 3), np.uint8)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(small).resize(shape[::-1]).save(path)
    found = data.load_image(path, size, resize="stretch")
    assert found.shape == (size, size, 3)
    encoded = tf.constant(path.read_bytes())
    of_graph = graph.load_image(encoded, size, resize="stretch")
    np.testing.assert_array_equal(found, of_graph)
    on_device = pixels.load_on_device(path, size, resize="stretch")
    # Decoders of JPEG differ by some levels.
    atol = 0 if suffix == "png" else 8
    np.testing.assert_allclose(on_device, found, atol=atol)


@pytest.mark.parametrize("resize", ["stretched", "", None])
def test_unknown_resize_is_refused(borders, resize):
    path = next((borders / "red").iterdir())
    with pytest.raises(InputError, match="crop or stretch"):
        data.load_image(path, 24, resize=resize)
    for settings in (FineTuneConfig, Recipe):
        with pytest.raises(InputError, match="resize"):
            settings(resize=resize)
    with pytest.raises(InputError, match="resize"):
        FineTuneConfig(resize="square")


def test_features_of_stretched_images_are_kept_apart(fitted, borders, tmp_path):
    model = checkpoint.load_model(fitted / "model.keras")
    images = data.list_images(borders)
    rows = {
        resize: features.pooled_features(
            model, images, resize=resize, cache_dir=tmp_path
        )
        for resize in ("crop", "stretch")
    }
    assert len(list(tmp_path.iterdir())) == 2
    assert np.abs(rows["crop"] - rows["stretch"]).max() > 0.01


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_random_crops_keep_the_proportions(tmp_path, suffix):
    """A ramp across and one down: their slopes tell how much of each side is seen."""
    path = tmp_path / f"ramps.{suffix}"
    ramps = np.zeros((100, 300, 3), np.uint8)
    ramps[..., 0] = np.linspace(0, 250, 300)
    ramps[..., 1] = np.linspace(0, 250, 100)[:, None]
    Image.fromarray(ramps).save(path, quality=98)
    shares, starts = [], []
    for seed in range(30):
        crop = augment.random_crop(path, 32, (seed, 0), resize="stretch", min_area=0.25)
        across = np.ptp(crop[4:-4, 4:-4, 0].mean(0)) / 250 * 32 / 23
        down = np.ptp(crop[4:-4, 4:-4, 1].mean(1)) / 250 * 32 / 23
        assert across == pytest.approx(down, abs=0.08)
        shares.append(down)
        starts.append(crop[4:-4, 4:-4, 1].min())
    assert min(shares) > 0.45
    assert 0.9 < max(shares) < 1.08
    assert np.std(shares) > 0.08
    assert np.std(starts) > 5


def test_the_reference_training_stretches_too(borders, tmp_path):
    """Its training and validation images, and what its checkpoint tells."""
    command = ["train", f"--data_dir={borders}", *SLIM, "--resize=stretch"]
    command += ["--epochs=1", "--batch_size=8", f"--output={tmp_path / 'out'}"]
    tarball = tmp_path / "averages.tar.gz"
    command += ["--min_crop_area=0.8", f"--output_tarball={tarball}"]
    assert main(command) == 0
    target = tmp_path / "out/checkpoint"
    (index,) = target.glob("*.index")
    for path in (target, index.with_suffix(""), tarball):
        assert resize_of(path) == "stretch"
    saved = tmp_path / "saved"
    command = ["export", f"--ckpt_dir={target}", *SLIM, "--num_classes=3"]
    assert main([*command, f"--output_saved_model_dir={saved}"]) == 0
    assert read_metadata(saved)["resize"] == "stretch"


def test_checkpoint_made_of_a_keras_file_tells_it(fitted, tmp_path):
    target = tmp_path / "checkpoint"
    command = ["to-tf1", f"--model={fitted / 'model.keras'}", f"--output={target}"]
    assert main(command) == 0
    assert resize_of(target) == "stretch"


def test_bundle_predicts_as_classify_does(fitted, borders, tmp_path):
    image = borders / "red" / "00.png"
    app = tmp_path / "app.zip"
    model = fitted / "int8.tflite"
    command = ["bundle", str(model), f"--output={app}"]
    assert main(command) == 0
    with zipfile.ZipFile(app) as opened:
        bundled = Bundle(opened.read).open(compiled=False)
    expected = deploy.score_image(model, image)
    np.testing.assert_allclose(bundled.scores_of(image), expected, atol=1e-6)


def test_page_tells_its_scripts(fitted, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "runtime_files", lambda: {})
    for given, expected in ((None, "stretch"), ("crop", "crop")):
        target = tmp_path / "page.html"
        page.write_page(fitted / "int8.tflite", target, resize=given)
        assert f'"resize": "{expected}"' in target.read_text("utf-8")


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("shape", [(40, 90), (91, 33), (24, 24)])
def test_page_resizes_to_the_bit(tmp_path, resize, shape):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    top, left, height, width = pixels.window_of(*shape, 24, resize)
    rgba = np.pad(image, ((0, 0), (0, 0), (0, 1)))
    seen = rgba[top : top + height, left : left + width].ravel().tolist()
    window = {"size": 24, "padding": pixels.padding_of(24), "resize": resize}
    script = (page.PAGE / "pixels.js").read_text("utf-8")
    script += f"""
    const {{ top, left, rows, columns }} = windowOf({shape[0]}, {shape[1]},
      {json.dumps(window)});
    const found = resizeBicubic({seen}, rows, columns, 24);
    console.log(JSON.stringify([[top, left, rows, columns], [...found]]));
    """
    file = tmp_path / "script.js"
    file.write_text(script, "utf-8")
    run = subprocess.run(
        ["node", file], capture_output=True, text=True, check=True, timeout=60
    )
    box, found = json.loads(run.stdout)
    assert box == [top, left, height, width]
    expected = pixels.load_on_device(tmp_path / "image.png", 24, resize=resize)
    np.testing.assert_array_equal(np.float32(found), expected.ravel())
