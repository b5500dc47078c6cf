"""Ranges: the same as looking at every value, and safe from bad images."""

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgetpu_lib import calibrate, convert, data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import edit


@pytest.fixture(scope="module")
def float_content(float_tflite):
    return float_tflite.read_bytes()


@pytest.fixture(scope="module")
def arrays(images):
    return list(calibrate.device_images(images, 32))


@pytest.fixture(scope="module")
def ranges(float_content, arrays):
    return calibrate.measure_ranges(float_content, arrays, total=len(arrays))


def all_values(content, arrays):
    """Return every value of every computed tensor: index → [images, …]."""
    model = edit.unpack(content)
    graph = model.subgraphs[0]
    graph.outputs = [i for operator in graph.operators for i in operator.outputs]
    model.signatureDefs = None
    opened = Interpreter(model_content=edit.pack(model))
    opened.allocate_tensors()
    seen = {int(index): [] for index in graph.outputs}
    for image in arrays:
        opened.set_tensor(
            opened.get_input_details()[0]["index"], pixels.normalize(image)[None]
        )
        opened.invoke()
        for detail in opened.get_output_details():
            seen[detail["index"]].append(opened.get_tensor(detail["index"]))
    return {index: np.stack(values) for index, values in seen.items()}


def test_ranges_are_those_of_all_values(float_content, arrays, ranges):
    values = all_values(float_content, arrays)
    assert set(ranges.tensors) == set(values)
    assert ranges.images == len(arrays)
    for index, found in ranges.tensors.items():
        flat = values[index].reshape(-1, values[index].shape[-1])
        np.testing.assert_allclose(found.channel_high, flat.max(axis=0), atol=1e-5)
        np.testing.assert_allclose(found.high, flat.max(), atol=1e-5)
        # Behind a ReLU the smallest value is taken to be zero.
        assert found.low <= flat.min() + 1e-5
        assert found.low == pytest.approx(flat.min(), abs=1e-5) or found.low == 0


def test_ranges_of_up_to_a_hundred_pictures_hold_everything():
    rng = np.random.default_rng(0)
    for count in (1, 2, 20, 100):
        lows, highs = -rng.exponential(size=(2, count, 4)).astype(np.float32)
        low, high = calibrate.limits(lows, -highs)
        assert (low == lows.min(axis=0)).all()
        assert (high == -highs.min(axis=0)).all()


def test_a_few_odd_pictures_among_many_do_not_widen_the_ranges():
    rng = np.random.default_rng(1)
    lows, highs = -rng.random((2, 1000, 4)).astype(np.float32)
    lows[::125] -= 50
    highs[5::200] -= 80
    low, high = calibrate.limits(lows, -highs)
    assert (low > -1).all() and (high < 1).all()
    assert (np.isin(low, lows) & np.isin(high, -highs)).all()


def test_ranges_are_the_limits_of_single_pictures(float_content, arrays, monkeypatch):
    monkeypatch.setattr(calibrate, "SHARE_HELD", 0.5)
    singles = list(calibrate.iterate_ranges(float_content, iter(arrays)))
    together = calibrate.measure_ranges(float_content, iter(arrays))
    for index, found in together.tensors.items():
        lows = np.array([single.tensors[index].low for single in singles])
        highs = np.array([single.tensors[index].high for single in singles])
        low, high = calibrate.limits(lows, highs)
        assert found.low == pytest.approx(low)
        assert found.high == pytest.approx(high)
        assert found.channel_high.max() == highs.max()


def test_tensors_keep_their_names(float_content, ranges):
    graph = edit.unpack(float_content).subgraphs[0]
    for index, found in ranges.tensors.items():
        assert found.name == graph.tensors[index].name.decode()


@pytest.mark.parametrize("workers", [1, 3])
def test_ranges_do_not_depend_on_the_number_of_workers(
    float_content, arrays, ranges, workers
):
    again = calibrate.measure_ranges(float_content, iter(arrays), workers=workers)
    for index, found in ranges.tensors.items():
        assert (again.tensors[index].low, again.tensors[index].high) == (
            found.low,
            found.high,
        )


def test_pictures_are_rounded_and_clipped(images):
    for seen, loaded in zip(
        calibrate.device_images(images, 32),
        data.iterate_pixels(images, 32),
        strict=True,
    ):
        assert seen.dtype == np.uint8
        np.testing.assert_array_equal(seen, np.clip(np.rint(loaded), 0, 255))


def spoilt(how):
    image = np.full((32, 32, 3), 100, np.float32)
    if how == "nan":
        image[3, 4, 1] = np.nan
    elif how == "infinity":
        image[3, 4, 1] = -np.inf
    elif how == "shape":
        return image[:31]
    elif how == "batched":
        return image[None]
    elif how == "normalised":
        return pixels.normalize(image)
    elif how == "divided":
        return image / 255
    elif how == "overshoot":
        image[0, 0] = 255.5
    elif how == "text":
        return image.astype(str)
    return image


@pytest.mark.parametrize(
    "how",
    [
        "nan",
        "infinity",
        "shape",
        "batched",
        "normalised",
        "divided",
        "overshoot",
        "text",
    ],
)
def test_bad_picture_is_named_by_its_number(float_content, arrays, how):
    stream = iter([*arrays[:5], spoilt(how), *arrays[5:]])
    with pytest.raises(InputError, match="image 5 "):
        calibrate.measure_ranges(float_content, stream)


def test_black_picture_of_floats_is_fine(float_content):
    black = np.zeros((32, 32, 3), np.float32)
    assert calibrate.measure_ranges(float_content, [black]).images == 1


def test_no_picture_is_refused(float_content):
    with pytest.raises(InputError):
        calibrate.measure_ranges(float_content, [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_damaged_weights_are_named(new_model, arrays, value):
    model = new_model(depth_coefficient=0.1)
    bias = model.get_layer("block_3_project_bn").beta
    damaged = np.array(bias)
    damaged[2] = value
    bias.assign(damaged)
    content = convert.to_float_tflite(convert.with_softmax(model))
    with pytest.raises(InputError, match="block_3_project_conv"):
        calibrate.measure_ranges(content, arrays[:1])


def test_calibration_photos_are_balanced_seeded_and_drawn_once(tmp_path, draw_folders):
    images = data.list_images(draw_folders(tmp_path / "colours", 6))
    twin = images.paths[0].with_name("twin.jpg")
    twin.write_bytes(images.paths[0].read_bytes())
    images = data.list_images(tmp_path / "colours")
    drawn = data.calibration_images(images, 9, seed=1)
    assert np.bincount(drawn.labels).tolist() == [3, 3, 3]
    assert drawn.paths == data.calibration_images(images, 9, seed=1).paths
    assert drawn.paths != data.calibration_images(images, 9, seed=2).paths
    everything = data.calibration_images(images, 100)
    assert len({path.read_bytes() for path in everything.paths}) == len(everything)
    assert len(everything) == len(images) - 1


MEMORY = """
import resource, sys
from edgetpu_lib import calibrate
import numpy as np
content = open(sys.argv[1], "rb").read()
rng = np.random.default_rng(0)
stream = (rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(int(sys.argv[2])))
calibrate.measure_ranges(content, stream)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(float_tflite, count):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(float_tflite), str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_number_of_pictures(float_tflite):
    few, many = (peak_kib(float_tflite, count) for count in (50, 2000))
    assert many - few < 50 * 1024
