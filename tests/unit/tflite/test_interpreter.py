"""Any TFLite file runs by its contract, or is refused with its name."""

import threading
import time

import numpy as np
import pytest

from edgetpu_lib.base import parallel
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board import runtime
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import interpreter
from edgetpu_lib.tflite.interpreter import TensorContract


def test_contracts_tell_what_goes_in_and_out(float_tflite, int8_tflite):
    opened = interpreter.open_interpreter(float_tflite)
    assert interpreter.input_contract(opened) == TensorContract(
        "float32", (1, 32, 32, 3), 0, 0
    )
    assert interpreter.output_contract(opened) == TensorContract(
        "float32", (1, 3), 0, 0
    )
    opened = interpreter.open_interpreter(int8_tflite, threads=1)
    assert interpreter.input_contract(opened) == TensorContract(
        "uint8", (1, 32, 32, 3), 1 / 128, 127
    )
    assert interpreter.output_contract(opened) == TensorContract(
        "uint8", (1, 3), 1 / 256, 0
    )


def image(low=0, high=256):
    rng = np.random.default_rng(0)
    return rng.integers(low, high, (32, 32, 3)).astype(np.float32)


def test_float_input_is_normalised_pixels():
    contract = TensorContract("float32", (1, 32, 32, 3), 0.0, 0)
    found = interpreter.quantize_input(image(), contract)
    assert found.dtype == np.float32
    assert np.array_equal(found, pixels.normalize(image())[None])


def test_own_contract_takes_raw_pixels():
    contract = TensorContract("uint8", (1, 16, 16, 3), 1 / 128, 127)
    every = np.arange(256).reshape(16, 16, 1).repeat(3, axis=2)
    found = interpreter.quantize_input(every, contract)
    assert found.dtype == np.uint8
    assert np.array_equal(found, every[None])


def test_signed_contract_takes_shifted_pixels():
    contract = TensorContract("int8", (1, 16, 16, 3), 1 / 128, -1)
    every = np.arange(256).reshape(16, 16, 1).repeat(3, axis=2)
    found = interpreter.quantize_input(every, contract)
    assert found.dtype == np.int8
    assert np.array_equal(found, every[None] - 128)


def test_narrow_contract_is_obeyed_and_clipped():
    # What quantization chooses when the pixels it saw span 30..199 only.
    scale, zero_point = 169 / 128 / 255, 146
    contract = TensorContract("uint8", (1, 32, 32, 3), scale, zero_point)
    seen = image(30, 200)
    found = interpreter.quantize_input(seen, contract)
    back = (found.astype(np.float32) - zero_point) * scale
    assert np.abs(back - pixels.normalize(seen)).max() <= 0.51 * scale
    ends = interpreter.quantize_input(np.array([[[0, 128, 255]]]), contract)
    assert (ends[0, 0, 0, 0], ends[0, 0, 0, 2]) == (0, 255)


def test_overshoot_is_clipped_not_wrapped():
    contract = TensorContract("uint8", (1, 1, 1, 3), 1 / 128, 127)
    found = interpreter.quantize_input(np.array([[[-20.0, 127.4, 270.0]]]), contract)
    assert found.ravel().tolist() == [0, 127, 255]


def test_scores_are_dequantized_floats(int8_tflite):
    opened = interpreter.open_interpreter(int8_tflite)
    scores = interpreter.run(opened, image())
    assert scores.dtype == np.float32
    assert scores.shape == (3,)
    steps = scores * 256
    assert np.array_equal(steps, np.rint(steps))
    assert 0 <= scores.min() <= scores.max() <= 1


def test_same_picture_gives_the_same_scores(int8_tflite):
    opened = interpreter.open_interpreter(int8_tflite.read_bytes())
    first = interpreter.run(opened, image())
    interpreter.run(opened, image(100, 140))
    assert np.array_equal(first, interpreter.run(opened, image()))


def test_latency_is_a_positive_number_of_milliseconds(float_tflite, int8_tflite):
    for path in (float_tflite, int8_tflite):
        opened = interpreter.open_interpreter(path)
        found = interpreter.measure_latency(opened, runs=3)
        assert 0 < found.p50_ms <= found.p90_ms <= found.p99_ms < 1000


def refused(model, named):
    with pytest.raises(InputError) as caught:
        interpreter.open_interpreter(model)
    message = str(caught.value)
    assert named in message
    assert "\n" not in message
    return message


def test_missing_model_is_named(tmp_path):
    refused(tmp_path / "nowhere.tflite", "nowhere.tflite")
    refused(tmp_path, str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"TFL3", b"text " * 100, bytes(1000)])
def test_file_that_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    refused(path, str(path))


def test_picture_given_as_a_model_is_named(class_folders):
    path = class_folders / "red" / "01.png"
    refused(path, str(path))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8])
def test_truncated_model_is_named(int8_tflite, tmp_path, share):
    whole = int8_tflite.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, str(path))
    refused(path.read_bytes(), "the model")


def test_header_alone_is_named(tmp_path):
    path = tmp_path / "header.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(2000))
    refused(path, str(path))


@pytest.mark.parametrize(
    "name", ["mobilenet_v1_0.25_128_quant", "deeplabv3_mnv2_dm05_pascal_quant"]
)
def test_compiled_file_is_refused_with_the_remedy(shared, name):
    path = shared(f"models/{name}_edgetpu.tflite")
    assert "before compilation" in refused(path, str(path))


@pytest.mark.parametrize(
    "name", ["split_concat", "model_invoking_error", "deeplabv3_mnv2_dm05_pascal_quant"]
)
def test_model_that_is_no_classifier_is_refused(shared, name):
    path = shared(f"models/{name}.tflite")
    refused(path, str(path))


def test_foreign_classifier_runs(shared):
    path = shared("models/mobilenet_v1_0.25_128_quant.tflite")
    opened = interpreter.open_interpreter(path)
    contract = interpreter.input_contract(opened)
    assert contract.dtype == "uint8"
    scores = interpreter.run(opened, np.full(contract.shape[1:], 100, np.uint8))
    assert scores.shape == (1001,)
    # A thousand small probabilities, each rounded to 1/256.
    assert 0.3 < scores.sum() < 1.1


def test_absent_runtime_is_named(float_tflite, monkeypatch):
    monkeypatch.setattr(runtime, "RUNTIMES", {"no_such_runtime": ("none",)})
    assert "pip install" in refused(float_tflite, "runtime")


def test_pool_lends_each_runner_to_one_call_at_a_time():
    busy = [threading.Lock() for _ in range(2)]

    def runner(lock):
        def run(number):
            assert lock.acquire(blocking=False), "two calls at a time"
            time.sleep(0.001)
            lock.release()
            return 1 / number

        return run

    share = interpreter.pool(runner(lock) for lock in busy)
    numbers = range(1, 30)
    found = parallel.map_in_order(share, numbers, workers=8)
    assert list(found) == [1 / number for number in numbers]
    # A call that fails gives its runner back.
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            share(0)
    assert share(2) == 0.5
