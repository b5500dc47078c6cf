"""An integer file in floats computes what its weights say."""

import broken
import numpy as np

from edgetpu_lib import calibrate
from edgetpu_lib.doctor import dequantize, layer_errors, weight_errors
from edgetpu_lib.tflite import file as tflite_file
from edgetpu_lib.tflite import interpreter


def test_twin_holds_the_integer_files_weights_as_floats(int8_tflite):
    content = int8_tflite.read_bytes()
    twin = dequantize.to_float(content)
    file = tflite_file.read_tflite(twin)
    assert all(not tensor.scales for tensor in file.tensors)
    assert {o.kind for o in file.operators}.isdisjoint({"QUANTIZE", "DEQUANTIZE"})
    for row in weight_errors.compare_stored(twin, content)[0]:
        # Nothing is rounded a second time.
        assert row.noise < 1e-3
        assert row.factor_low == row.factor_high == 1 or abs(row.factor_low - 1) < 1e-5


def test_twin_follows_the_float_model_closer_than_the_integers(
    float_tflite, int8_tflite, images
):
    content, arrays = float_tflite.read_bytes(), broken.rightly(images)[:8]
    int8 = int8_tflite.read_bytes()
    integers, twin = (
        layer_errors.compare_layers(content, other, arrays)
        for other in (int8, dequantize.to_float(int8))
    )
    gains = [
        mine.snr_db - theirs.snr_db
        for mine, theirs in zip(twin.layers[1:], integers.layers[1:], strict=True)
    ]
    assert np.median(gains) > 3
    assert twin.layers[-1].cosine > 0.999


def test_twin_of_a_file_from_elsewhere_runs(shared):
    path = shared("models/tf2_mobilenet_v2_1.0_224_ptq.tflite")
    twin = dequantize.to_float(path.read_bytes())
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    scores = [
        interpreter.run(interpreter.open_interpreter(content), image)
        for content in (path, twin)
    ]
    assert scores[0].argmax() == scores[1].argmax()
    assert calibrate.measure_ranges(twin, [image]).images == 1
