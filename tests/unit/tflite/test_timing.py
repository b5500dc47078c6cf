"""Files are timed in turns, each part apart, or passed over if nothing runs them."""

import math
import time

import numpy as np
import pytest

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.tflite import feed, pipeline, timing
from edgetpu_lib.tflite.contract import TensorContract

SMALL = data_file("quickstart_quant.tflite")
PHOTO = data_file("samples/tulip_1.jpg")


def test_every_part_of_an_inference_is_timed():
    (found,), passed = timing.time_models([SMALL], runs=5)
    assert not passed
    assert (found.runs_on, found.threads) == ("CPU", 1)
    assert found.size_bytes == SMALL.stat().st_size
    assert 0 < found.creation_ms < 5000
    assert 0 < found.first_ms < 5000
    for part in (found.preprocessing, found.inference, found.postprocessing):
        assert 0 < part.p50_ms <= part.p90_ms <= part.p99_ms < 5000


def test_files_and_threads_take_turns(monkeypatch, float_tflite):
    called = []
    original = pipeline.Stage.__call__

    def call(self, tensors):
        called.append(id(self))
        return original(self, tensors)

    monkeypatch.setattr(pipeline.Stage, "__call__", call)
    found, _ = timing.time_models([SMALL, float_tflite], threads=(1, 2), runs=3)
    assert [(each.model, each.threads) for each in found] == [
        (str(path), threads) for path in (SMALL, float_tflite) for threads in (1, 2)
    ]
    # The first inference of each, then rounds of all four.
    rounds = np.reshape(called, (-1, 4))
    assert len(rounds) == 1 + timing.WARM_UPS + 3
    assert (rounds == rounds[0]).all()
    assert len(set(rounds[0])) == 4


def test_what_warms_up_is_not_counted(monkeypatch):
    calls = []
    original = pipeline.Stage.__call__

    def call(self, tensors):
        calls.append(self)
        if len(calls) <= 1 + timing.WARM_UPS:
            time.sleep(0.2)
        return original(self, tensors)

    monkeypatch.setattr(pipeline.Stage, "__call__", call)
    (found,), _ = timing.time_models([SMALL], runs=4)
    assert found.first_ms > 200
    assert found.inference.p50_ms < 200


def test_an_image_of_ones_own_is_prepared(tmp_path):
    (found,), _ = timing.time_models([SMALL], image=PHOTO, runs=2)
    assert found.preprocessing.p50_ms > 0
    with pytest.raises(InputError, match="none.jpg"):
        timing.time_models([SMALL], image=tmp_path / "none.jpg", runs=2)


def test_a_file_that_is_no_classifier_has_no_processing(shared):
    path = shared("models/split_concat.tflite")
    (found,), _ = timing.time_models([path], runs=2)
    assert found.preprocessing is None
    assert found.postprocessing is None
    assert found.inference.p50_ms > 0


def test_a_compiled_file_is_passed_over_beside_others(shared):
    path = shared("models/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    found, passed = timing.time_models([path, SMALL], runs=2)
    assert [each.model for each in found] == [str(SMALL)]
    assert [each.model for each in passed] == [str(path)]
    assert "\n" not in passed[0].reason
    with pytest.raises(InputError, match="compiled"):
        timing.time_models([path], runs=2)


def test_a_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="none.tflite"):
        timing.time_models([SMALL, tmp_path / "none.tflite"], runs=2)
    with pytest.raises(InputError, match="no model"):
        timing.time_models([], runs=2)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_values_become_real_numbers_again(dtype):
    scale = 0 if dtype == "float32" else 0.5
    contract = TensorContract(dtype, (1, 2), scale, 3 if scale else 0)
    found = feed.dequantize(np.array([0, 5], dtype), contract)
    assert found.dtype == np.float32
    expected = [-1.5, 1] if scale else [0, 5]
    assert all(map(math.isclose, found, expected))
